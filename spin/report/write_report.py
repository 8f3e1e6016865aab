"""Report half of stage 5: report.json, report.html, report.md, and the error rates on TensorBoard."""

from __future__ import annotations

from spin import artifacts, products
from spin.report import lookup
from spin.report.collect import Material, collect
from spin.report.headline import headline
from spin.report.markdown import escape, render_markdown
from spin.report.page import draw, render_page
from spin.runtime.context import Context
from spin.runtime.files import write_json, write_text
from spin.runtime.logs import summary_writer
from spin.runtime.product import Product
from spin.systems import systems_of


def write_report(context: Context, scores: Product | None) -> None:
    """Writes the report of an experiment unless it is up to date.

    Args:
        context: context of stage 5.
        scores: the error rates of all decodings; None for a run without recognisers, which gets pages but no report.json.

    Raises:
        DataError: a product of an earlier stage is missing or damaged, or the figures do not fit the report's schema.
    """
    metrics = [products.metrics(context, system) for system in systems_of(context.config, context.exp)]
    product = products.report(context, metrics if scores is None else [scores, *metrics], "html" if scores is None else "json")
    page, text = (artifacts.report(context.exp, kind) for kind in ("html", "md"))
    if product.is_stale() or not page.exists() or not text.exists():
        with product.building() as partial:
            material = collect(context, scores)
            write_text(text, render_markdown(material))
            write_text(page if scores else partial, render_page(material, draw(material)))
            if scores:
                write_json(partial, material.report)
        write_scalars(context, material)
        answer = headline(material.report)
        context.log.info("%s. %s", answer.title, answer.detail)
    context.log.info("report: %s", page)


def write_scalars(context: Context, material: Material) -> None:
    """The answer and the error rates for TensorBoard."""
    report, answer = material.report, headline(material.report)
    with summary_writer(context.tensorboard) as writer:
        writer.add_text("report", f"**{escape(answer.title)}**\n\n{escape(answer.detail)}")
        for decoding in lookup.decodings(report):
            for system in report["systems"]:
                name = "wer" if decoding.source == "features" else "wer_from_units"
                rate = lookup.result(report, decoding, system)["wer"]
                writer.add_scalar(f"{name}/{decoding.part}/{decoding.method}/{system}", rate, 0)
