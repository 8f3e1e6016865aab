"""report.html: one file without network, scripts or foreign fonts; the answer on top, the evidence below."""

from __future__ import annotations

import html

import yaml

from spin.report import alignment, metrics, story, tables
from spin.report.collect import Material
from spin.report.metrics import UNIT_METRICS, Metric
from spin.report.page_style import CSS
from spin.report.pictures import Picture, inline_svg

# Nothing may be loaded and nothing may run, whatever text a transcript or a name holds.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
SECTIONS = (
    ("recognition", "Recognition"),
    ("units", "Units"),
    ("training", "Training"),
    ("text", "Recognised text"),
    ("making", "How it was made"),
)


def page(material: Material, pictures: list[Picture]) -> str:
    """The whole page; the same bytes for the same material."""
    report = material.report
    body = [
        _top(report),
        "<main>",
        _answer(report),
        _cards(report),
        _section("recognition", _recognition(material, pictures)),
        _section("units", _units(report, pictures)),
        _section("training", _training(pictures)),
        _section("text", _texts(material.examples)),
        _section("making", _making(report)),
        "</main>",
        '<footer><p>Written by stage 5. For programs: <a href="report.json">report.json</a>.</p></footer>',
    ]
    title = _text(f"Spin report: {report['name']}")
    head = (
        '<meta charset="utf-8">\n<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n<title>{title}</title>\n<style>{CSS}</style>'
    )
    content = '<div class="page">\n' + "\n".join(body) + "\n</div>"
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{head}\n</head>\n<body>\n{content}\n</body>\n</html>\n'


def _text(text) -> str:
    return html.escape(str(text), quote=True)


def _top(report: dict) -> str:
    links = "".join(f'<a href="#{name}">{_text(title)}</a>' for name, title in SECTIONS)
    made = f"Spin report: {_text(report['name'])} \u00b7 commit {_text(report['commit'])} \u00b7 {_text(report['device'])}"
    return f'<header class="top"><p>{made}</p><nav aria-label="Sections">{links}</nav></header>'


def _section(name: str, content: str) -> str:
    title = dict(SECTIONS)[name]
    return (
        f'<section id="{name}" aria-labelledby="{name}-title">\n<h2 id="{name}-title">{_text(title)}</h2>\n{content}\n</section>'
    )


def _answer(report: dict) -> str:
    answer = story.headline(report)
    figure = f'<p class="figure" aria-hidden="true">{_text(answer.figure)}</p>' if answer.figure else ""
    words = f'<div class="words"><h1>{_text(answer.title)}</h1><p>{_text(answer.detail)}</p></div>'
    return f'<div class="answer {answer.verdict}">{figure}{words}</div>'


def _cards(report: dict) -> str:
    """The four figures that a reader compares first."""
    items = []
    where = story.primary(report)
    if where is not None:
        part, method = where
        scores = [report["asr"][system][part][method] for system in ("baseline", "spin")]
        tested, *others = metrics.recognition_metrics(*scores)
        for metric in (tested, *others):
            name = f"{metric.title}, {part}"
            p = report["gain"].get(part, {}).get(method, {}).get("p_value") if metric is tested else None
            items.append(_card(metric, name, *(score[metric.key] for score in scores), p))
    for metric in UNIT_METRICS:
        if metric.key in ("abx_across", "pnmi"):
            items.append(
                _card(metric, metric.title, *(report["units"][system].get(metric.key) for system in ("baseline", "spin")))
            )
    return f'<ul class="cards">{"".join(items)}</ul>'


def _card(metric: Metric, name: str, before: float | None, after: float | None, p: float | None = None) -> str:
    label = f'<span class="name">{_text(name[:1].upper() + name[1:])}</span>'
    if before is None and after is None:
        return f'<li>{label}<span class="values from">{metrics.NOT_MEASURED}</span></li>'
    cell = tables.change_cell(metric, before, after, p)
    start = metrics.number(before, metric.decimals)
    values = f'<span class="values"><span class="from">{_text(start)} \u2192</span> {_text(metric.show(after))}</span>'
    return f"<li>{label}{values}{_toned(cell, 'change')}</li>"


def _toned(cell: tables.Cell, name: str = "") -> str:
    kinds = " ".join(kind for kind in (name, f"{cell.tone}-text" if cell.tone else "") if kind)
    return f'<span class="{kinds}">{_text(cell.text)}</span>' if kinds else _text(cell.text)


def table(content: tables.Table, prose: tuple[int, ...] = ()) -> str:
    """A table in a box that scrolls sideways by itself on a narrow screen, its note below; columns in `prose` hold sentences."""

    def kind(column: int) -> str:
        return ' class="number"' if column in content.numeric else ' class="prose"' if column in prose else ""

    head = "".join(f'<th scope="col"{kind(column)}>{_text(text)}</th>' for column, text in enumerate(content.header))
    rows = []
    for row in content.rows:
        cells = [f'<th scope="row">{_text(row[0].text)}</th>']
        cells += [f"<td{kind(column)}>{_toned(cell)}</td>" for column, cell in enumerate(row) if column > 0]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    note = f'\n<p class="note">{_text(content.note)}</p>' if content.note else ""
    body = "\n".join(rows)
    title = _text(content.title)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}"><table>\n<caption>{title}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>{note}"
    )


def _figures(pictures: list[Picture], prefixes: tuple[str, ...], kind: str = "") -> str:
    chosen = [picture for picture in pictures if picture.name.startswith(prefixes)]
    boxes = [
        f'<figure>\n<h3>{_text(item.title)}</h3>\n<span class="hidden" id="{item.name}-alt">{_text(item.alt)}</span>\n'
        f"{inline_svg(item)}\n<figcaption><p>{_text(item.caption)}</p></figcaption>\n</figure>"
        for item in chosen
    ]
    return f'<div class="pictures {kind}">\n' + "\n".join(boxes) + "\n</div>" if boxes else ""


def _recognition(material: Material, pictures: list[Picture]) -> str:
    details = "\n".join(f"<details><summary>{_text(item.title)}</summary>{table(item)}</details>" for item in material.details)
    return f"{_figures(pictures, ('wer',), 'wide')}\n{table(tables.recognition(material.report))}\n{details}"


def _units(report: dict, pictures: list[Picture]) -> str:
    content = tables.unit_quality(report)
    maps = _figures(pictures, ("map_",)) or '<p class="note">No phone alignment: there is no picture of units and phones.</p>'
    bars, speech = _figures(pictures, ("units", "abx")), _figures(pictures, ("speech_",), "wide")
    return f"{bars}\n{table(content, (len(content.header) - 1,))}\n{maps}\n{speech}"


def _training(pictures: list[Picture]) -> str:
    return _figures(pictures, ("spin_", "asr_"), "small") or '<p class="note">No training curve was recorded.</p>'


def _texts(examples: list[alignment.Example]) -> str:
    if not examples:
        return '<p class="note">No recognised text was kept.</p>'
    note = (
        "Chosen by rule: where Spin helps most, where it changes nothing (utterances near its mean), and where it hurts most. "
        "Underlined words are wrong, \u2205 stands for a missing word, + for an added one."
    )
    return f'<p class="note">{note}</p>\n' + "\n".join(map(_example, examples))


def _example(item: alignment.Example) -> str:
    counts = ", ".join(f"{metrics.system_title(name)} {count}" for name, count in zip(item.systems, item.errors))
    why = f"<span><strong>{_text(item.why)}</strong> \u00b7 word errors: {_text(counts)}</span>"
    header = f"<header>{why}<span>{_text(item.utterance_id)}</span></header>"
    labels = "".join(f"<span>{_text(name)}</span>" for name in ("reference", *map(metrics.system_title, item.systems)))
    columns = [f'<span class="labels">{labels}</span>']
    for column in item.columns:
        words = "".join(_word(word, verdict) for word, verdict in column.words)
        columns.append(f'<span><span class="reference">{_text(column.reference) or "&nbsp;"}</span>{words}</span>')
    spoken = "".join(f"<p>{_text(name)}: {_text(text)}</p>" for name, text in _sentences(item))
    gloss = f'<div class="gloss" aria-hidden="true">{"".join(columns)}</div>'
    return f'<article class="example">{header}<div class="hidden">{spoken}</div>{gloss}</article>'


def _sentences(item: alignment.Example) -> list[tuple[str, str]]:
    """What is read aloud in place of the word columns."""
    lines = [("reference", " ".join(column.reference for column in item.columns if column.reference))]
    for index, name in enumerate(item.systems):
        lines.append(
            (metrics.system_title(name), " ".join(column.words[index][0] for column in item.columns if column.words[index][0]))
        )
    return lines


def _word(word: str, verdict: str) -> str:
    if verdict == alignment.SAME:
        return f"<span>{_text(word) or '&nbsp;'}</span>"
    shown = {alignment.MISSING: "\u2205", alignment.ADDED: f"+{word}"}.get(verdict, word)
    return f'<span><span class="{verdict}">{_text(shown)}</span></span>'


def _making(report: dict) -> str:
    items = []
    for row in tables.making(report).rows:
        value = f"<code>{_text(row[1].text)}</code>" if row[0].text in ("command", "commit") else _text(row[1].text)
        items.append(f"<dt>{_text(row[0].text)}</dt><dd>{value}</dd>")
    settings = yaml.safe_dump(report.get("config", {}), sort_keys=False, allow_unicode=True)
    details = f'<details><summary>Configuration</summary><pre tabindex="0">{_text(settings)}</pre></details>'
    return f'<dl class="making">{"".join(items)}</dl>\n<div class="narrow">{table(tables.times(report))}</div>\n{details}'
