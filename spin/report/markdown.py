"""report.md: the report for a terminal, a repository page or a mail."""

from __future__ import annotations

import re

from spin.report import alignment, metrics, tables
from spin.report.collect import Material
from spin.report.pictures import Picture
from spin.report.story import headline

CODE = ("command", "commit")  # rows of how it was made that are shown as typed
EXAMPLES = "Wrong words stand in lower case, missing ones as dashes, added ones with a plus sign."


def page(material: Material, pictures: list[Picture], figures_folder: str) -> str:
    """The whole Markdown text; pictures are links into `figures_folder`, relative to the report."""
    report = material.report
    answer = headline(report)
    made = tables.making(report)
    blocks = [
        f"# Spin report: {escape(report['name'])}",
        f"**{escape(answer.title)}** {escape(answer.detail)}",
        "## Recognition",
        table(tables.recognition(report)),
        *_links(pictures, ("wer",), figures_folder),
        *(block for item in material.details for block in (f"### {item.title}", table(item))),
        "## Units",
        table(tables.unit_quality(report)),
        *_links(pictures, ("units", "abx", "map_", "speech_"), figures_folder),
        "## Training",
        *(_links(pictures, ("spin_", "asr_"), figures_folder) or ["No training curve was recorded."]),
        "## Recognised text",
        *([EXAMPLES] if material.examples else []),
        *(_example(item) for item in material.examples),
        *([] if material.examples else ["No recognised text was kept."]),
        f"## {made.title}",
        *(f"- {row[0].text}: {(_code if row[0].text in CODE else escape)(row[1].text)}" for row in made.rows),
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


def _links(pictures: list[Picture], prefixes: tuple[str, ...], folder: str) -> list[str]:
    chosen = [picture for picture in pictures if picture.name.startswith(prefixes)]
    return [
        f"![{escape(item.alt)}]({folder}/{item.name}.svg)\n\n*{escape(item.title)}.* {escape(item.caption)}" for item in chosen
    ]


def _example(item: alignment.Example) -> str:
    width = max(len(name) for name in ("reference", *map(metrics.system_title, item.systems)))
    rows = [["reference".ljust(width)], *[[metrics.system_title(name).ljust(width)] for name in item.systems]]
    for column in item.columns:
        words = [column.reference or "\u00b7", *(_marked(word, verdict) for word, verdict in column.words)]
        size = max(map(len, words))
        for row, word in zip(rows, words):
            row.append(word.ljust(size))
    errors = ", ".join(f"{metrics.system_title(name)} {count}" for name, count in zip(item.systems, item.errors))
    text = "\n".join("    " + " ".join(row).rstrip() for row in rows)
    return f"{escape(item.utterance_id)}: {item.why} (word errors: {errors})\n\n{text}"


def _marked(word: str, verdict: str) -> str:
    if verdict == alignment.MISSING:
        return "--"
    if verdict == alignment.ADDED:
        return "+" + word.lower()
    return word.lower() if verdict == alignment.WRONG else word or "\u00b7"
