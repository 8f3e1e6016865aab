"""report.md: the report's answer, tables and texts for a terminal, a repository page or a mail. Pictures are in report.html."""

from __future__ import annotations

import re

from spin.report import alignment, lookup, tables
from spin.report.collect import Material
from spin.report.headline import headline

CODE = ("command", "commit")  # rows of the provenance that are shown as typed
EXAMPLES = "Wrong words are in lower case, missing ones are dashes, added ones have a plus sign."


def render_markdown(material: Material) -> str:
    """The whole Markdown text."""
    report, answer = material.report, headline(material.report)
    provenance = tables.provenance(report)
    recognition = [tables.recognition(report, source) for source in lookup.SUFFIXES]
    blocks = [
        f"# Spin report: {escape(report['name'])}",
        f"**{escape(answer.title)}** {escape(answer.detail)}",
        "## Recognition",
        *(block for item in [*recognition, *material.details] if item for block in (f"### {item.title}", table(item))),
        "## Units",
        table(tables.unit_metrics(report)),
        *([table(by_part)] if (by_part := tables.units_by_part(report)) else []),
        "## Recognised text",
        *([EXAMPLES] if material.examples else ["No recognised text was kept."]),
        *(_example(item) for item in material.examples),
        f"## {provenance.title}",
        "\n".join(f"- {key.text}: {(_code if key.text in CODE else escape)(value.text)}" for key, value in provenance.rows),
        table(tables.times(report)),
    ]
    return "\n\n".join(blocks) + "\n"


def table(content: tables.Table) -> str:
    """A table in GitHub's Markdown, its note below."""
    lines = [_row([escape(text) for text in content.header])]
    lines.append(_row(["---:" if column in content.numeric else "---" for column in range(len(content.header))]))
    lines += [_row([escape(cell.text) for cell in row]) for row in content.rows]
    return "\n".join(lines) + (f"\n\n{escape(content.note)}" if content.note else "")


def escape(text: str) -> str:
    """Text that Markdown shows as it is: nothing in it starts a tag, a link, emphasis or another cell."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split("\n")))


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _code(text: str) -> str:
    text = " ".join(text.split("\n"))
    fence = "`" * (max((len(run) for run in re.findall(r"`+", text)), default=0) + 1)
    space = " " if "`" in text else ""
    return f"{fence}{space}{text}{space}{fence}"


def _example(item: alignment.Example) -> str:
    """The words of an utterance in columns, as an indented block."""
    width = max(len(name) for name in ("reference", *item.systems))
    rows = [[name.ljust(width)] for name in ("reference", *item.systems)]
    for column in item.columns:
        words = [column.reference or "\u00b7", *(_mark(word, verdict) for word, verdict in column.words)]
        size = max(map(len, words))
        for row, word in zip(rows, words):
            row.append(word.ljust(size))
    errors = ", ".join(f"{title} {count}" for title, count in zip(item.systems, item.errors))
    text = "\n".join("    " + " ".join(row).rstrip() for row in rows)
    return f"{escape(item.utterance_id)}: {item.reason} (word errors: {errors})\n\n{text}"


def _mark(word: str, verdict: str) -> str:
    if verdict == alignment.MISSING:
        return "--"
    if verdict == alignment.ADDED:
        return "+" + word.lower()
    return word.lower() if verdict == alignment.WRONG else word or "\u00b7"
