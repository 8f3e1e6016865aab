"""report.html from its template: the same bytes for the same material."""

from __future__ import annotations

from pathlib import Path

import jinja2
import yaml
from jinja2.utils import markupsafe

from spin.report import charts, lookup, measures, tables, unit_pictures
from spin.report.collect import Material
from spin.report.headline import headline
from spin.report.svg import Picture, inline_svg
from spin.report.tables import Cell
from spin.units.metrics import Metric, find_metric

TEMPLATES = Path(__file__).parent / "templates"
CARD_METRICS = ("abx_across", "pnmi")


def draw(material: Material) -> dict[str, list[Picture]]:
    """All pictures of a page by section; what was not measured has none."""
    report = material.report
    utterances = enumerate(material.utterances, start=1)
    return {
        "recognition": [chart for source in lookup.SUFFIXES if (chart := charts.error_bars(report, source)) is not None],
        "units": charts.unit_bars(report),
        "maps": unit_pictures.unit_map_pictures(report, material.counts),
        "utterances": [unit_pictures.utterance_picture(report, number, item) for number, item in utterances],
        "training": charts.training_curves(report, material.histories),
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
    environment.filters["svg"] = lambda picture: markupsafe.Markup(inline_svg(picture))  # noqa: S704 - matplotlib escapes
    report = material.report
    text = environment.get_template("report.html.j2").render(
        material=material,
        report=report,
        answer=headline(report),
        cards=cards(report),
        pictures=pictures,
        recognition=[tables.recognition(report, source) for source in lookup.SUFFIXES],
        tables=tables,
        subject=measures.system_titles(report).get(lookup.subject(report), ""),
        config=yaml.safe_dump(report["config"], sort_keys=False, allow_unicode=True),
    )
    return text.lstrip() + "\n"


def cards(report: dict) -> list[tuple[str, str, Cell]]:
    """Name, the baseline's figure and the subject's cell: error rates of the headline's decoding, then ABX and PNMI."""
    where, systems = lookup.primary(report), [report["systems"][0], *filter(None, [lookup.subject(report)])]
    found = []
    if where is not None:
        results = [lookup.result(report, where, name) for name in systems]
        p = lookup.gain(report, where, systems[-1]).get("p_value")
        for measure in measures.error_measures(results[0]):
            found.append(_card(measure, f"{measure.title}, {where.part}", [result[measure.name] for result in results], p))
            p = None  # the test is of the first rate
    for metric in map(find_metric, CARD_METRICS):
        found.append(_card(metric, metric.title, [report["units"][name].get(metric.name) for name in systems]))
    return found


def _card(measure: Metric, name: str, values: list[float | None], p: float | None = None) -> tuple[str, str, Cell]:
    name, text = name[:1].upper() + name[1:], measures.show(measure, values[-1])
    if len(values) < 2 or values == [None, None]:
        return name, "", Cell(text)
    return name, measures.number(values[0], measure.digits), tables.change_cell(measure, text, *values, p)
