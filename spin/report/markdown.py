"""report.md: the report's answer, tables and texts for a terminal, a repository page or a mail. Pictures are in report.html."""

from __future__ import annotations

import re

from spin.report import alignment, lookup, tables
from spin.report.collect import Material
from spin.report.headline import headline

EXAMPLES = "Wrong words are in lower case, missing ones are dashes, added ones have a plus sign."


def render_markdown(material: Material) -> str:
    """The whole Markdown text."""
    report, answer = material.report, headline(material.report)
    recognition = [*(tables.recognition(report, source) for source in lookup.SUFFIXES), *material.details]
    by_part = tables.units_by_part(report)
    blocks = [
        f"# Spin report: {escape(report['name'])}",
        f"**{escape(answer.title)}** {escape(answer.detail)}",
        "## Recognition",
        *(block for item in recognition if item for block in (f"### {item.title}", table(item))),
        "## Units",
        table(tables.unit_metrics(report)),
        *([table(by_part)] if by_part else []),
        "## Recognised text",
        EXAMPLES if material.examples else "No recognised text was kept.",
        *(_example(item) for item in material.examples),
        "## How it was made",
        _indented([[name, " ".join(value.split("\n"))] for name, value in tables.provenance(report).items()]),
        table(tables.times(report)),
    ]
    return "\n\n".join(blocks) + "\n"


def table(content: tables.Table) -> str:
    """A table in GitHub's Markdown, its note below."""
    rows = [map(escape, content.header), ("---" if column < content.texts else "---:" for column in range(len(content.header)))]
    rows += [[escape(f"{cell.text} ({cell.below})" if cell.below else cell.text) for cell in row] for row in content.rows]
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return lines + (f"\n\n{escape(content.note)}" if content.note else "")


def escape(text: str) -> str:
    """Text that Markdown shows as it is: nothing in it starts a tag, a link, emphasis or another cell."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", " ".join(text.split("\n")))


def _indented(rows: list[list[str]]) -> str:
    """Cells in columns, as an indented block, which Markdown shows as it is."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("    " + " ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _example(item: alignment.Example) -> str:
    """The words of an utterance, one row per system."""
    rows = [["reference", *(column.reference or "\u00b7" for column in item.columns)]]
    rows += [[title, *(_mark(*column.words[index]) for column in item.columns)] for index, title in enumerate(item.systems)]
    errors = ", ".join(f"{title} {count}" for title, count in zip(item.systems, item.errors))
    return f"{escape(item.utterance_id)}: {item.reason} (word errors: {errors})\n\n{_indented(rows)}"


def _mark(word: str, verdict: str) -> str:
    marks = {alignment.MISSING: "--", alignment.ADDED: f"+{word.lower()}", alignment.WRONG: word.lower()}
    return marks.get(verdict, word or "\u00b7")
