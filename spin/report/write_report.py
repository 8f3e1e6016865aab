"""Report half of stage 5: report.json, report.html, report.md, and the error rates on TensorBoard."""

from __future__ import annotations

from spin import artifacts, products
from spin.errors import DataError
from spin.report import lookup
from spin.report.collect import Material, collect
from spin.report.headline import headline
from spin.report.markdown import escape, render_markdown
from spin.report.page import draw, render_page
from spin.report.schema import problems
from spin.runtime.context import Context
from spin.runtime.files import write_json, write_text
from spin.runtime.logs import summary_writer
from spin.runtime.product import Product
from spin.systems import systems_of

PAGES = ("html", "md")


def write_report(context: Context, scores: Product) -> None:
    """Writes the report of an experiment unless it is up to date.

    Args:
        context: context of stage 5.
        scores: the error rates of all decodings.

    Raises:
        DataError: a product of an earlier stage is missing or damaged, or the figures do not fit the report's schema.
    """
    metrics = [products.metrics(context, system) for system in systems_of(context.config, context.exp)]
    product = products.report(context, [scores, *metrics])
    pages = [artifacts.report(context.exp, kind) for kind in PAGES]
    if product.is_stale() or not all(page.exists() for page in pages):
        with product.building() as partial:
            material = collect(context, scores)
            check_report(material.report)
            write_text(pages[0], render_page(material, draw(material)))
            write_text(pages[1], render_markdown(material))
            write_json(partial, material.report)
        write_scalars(context, material)
        answer = headline(material.report)
        context.log.info("%s. %s", answer.title, answer.detail)
    context.log.info("report: %s", pages[0])


def check_report(report: dict) -> None:
    """Raises DataError when a report does not fit its schema."""
    wrong = problems(report)
    if wrong:
        raise DataError(
            "report.json",
            found="; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""),
            expected="figures that fit schema 2 of the report",
            cause="a product of stages 3 to 5 that another tool wrote",
            remedy="./run.sh --stage 3 --stop-stage 5 --force with the same --conf, --set and --exp-dir",
        )


def write_scalars(context: Context, material: Material) -> None:
    """The answer and the error rates for TensorBoard."""
    report, answer = material.report, headline(material.report)
    with summary_writer(context.tensorboard) as writer:
        writer.add_text("report", f"**{escape(answer.title)}**\n\n{escape(answer.detail)}")
        for decoding in lookup.decodings(report):
            for system in report["systems"]:
                result = lookup.result(report, decoding, system)
                name = "wer" if decoding.source == "features" else "wer_from_units"
                writer.add_scalar(f"{name}/{decoding.part}/{decoding.method}/{system}", result["wer"], 0)
