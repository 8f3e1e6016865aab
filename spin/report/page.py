"""report.html from its template: the same bytes for the same material."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import jinja2
import yaml

from spin.report import bars, curves, formatting, lookup, measures, tables, unit_pictures
from spin.report.collect import Material
from spin.report.headline import headline
from spin.report.svg import Picture, inline_svg
from spin.report.tables import Cell
from spin.units.metrics import find_metric

TEMPLATES = Path(__file__).parent / "templates"
CARD_METRICS = ("abx_across", "pnmi")


@dataclass(frozen=True)
class Card:
    """One of the figures that a reader compares first."""

    name: str
    start: str
    end: str
    change: Cell


def draw(material: Material) -> dict[str, list[Picture]]:
    """All pictures of a page by section; what was not measured has none."""
    report = material.report
    return {
        "recognition": [chart for source in lookup.SUFFIXES if (chart := bars.error_bars(report, source)) is not None],
        "units": bars.unit_bars(report),
        "maps": unit_pictures.unit_map_pictures(report, material.counts),
        "utterances": unit_pictures.utterance_pictures(report, material.utterances),
        "training": [
            *curves.training_curves(report, material.training_history),
            *curves.recogniser_curves(report, material.asr_histories),
        ],
    }


def render_page(material: Material, pictures: dict[str, list[Picture]]) -> str:
    """The whole page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    report = material.report
    return (
        environment.get_template("report.html.j2")
        .render(
            report=report,
            css=_trusted((TEMPLATES / "style.css").read_text(encoding="utf-8")),
            answer=headline(report),
            cards=cards(report),
            pictures={section: [_element(picture) for picture in chosen] for section, chosen in pictures.items()},
            recognition=[tables.recognition(report, source) for source in lookup.SUFFIXES],
            details=material.details,
            unit_metrics=tables.unit_metrics(report),
            units_by_part=tables.units_by_part(report),
            examples=material.examples,
            subject=formatting.system_titles(report).get(lookup.subject(report), ""),
            provenance=tables.provenance(report),
            times=tables.times(report),
            config=yaml.safe_dump(report.get("config", {}), sort_keys=False, allow_unicode=True),
        )
        .lstrip()
        + "\n"
    )


def _element(picture: Picture) -> dict:
    words = {"name": picture.name, "title": picture.title, "alt": picture.alt, "caption": picture.caption}
    return {**words, "svg": _trusted(inline_svg(picture))}


def _trusted(text: str):
    """Text that the template does not escape; matplotlib escapes what it writes into an SVG."""
    return jinja2.utils.markupsafe.Markup(text)  # noqa: S704


def cards(report: dict) -> list[Card]:
    """Error rates of the headline's decoding, then ABX and PNMI: the baseline and the subject."""
    where, system = lookup.primary(report), lookup.subject(report)
    baseline, found = report["systems"][0], []
    if where is not None:
        results = [lookup.result(report, where, name) for name in (baseline, system) if name is not None]
        p = lookup.gain(report, where, system).get("p_value")
        for number, measure in enumerate(measures.error_measures(*results)):
            values = [result[measure.name] for result in results]
            found.append(_card(measure, f"{measure.title}, {where.part}", values, p if number == 0 else None))
    for metric in map(find_metric, CARD_METRICS):
        values = [report["units"][name].get(metric.name) for name in (baseline, system) if name is not None]
        found.append(_card(metric, metric.title, values))
    return found


def _card(measure, name: str, values: list[float | None], p: float | None = None) -> Card:
    name = name[:1].upper() + name[1:]
    if len(values) < 2 or all(value is None for value in values):
        return Card(name, "", measures.show(measure, values[0]), Cell(""))
    before, after = values
    change = tables.change_cell(measure, before, after, p)
    return Card(name, formatting.number(before, measure.digits), measures.show(measure, after), change)
