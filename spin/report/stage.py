"""Stage 5: decode, score, and write the report."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from spin import artifacts
from spin.errors import DataError
from spin.report import curves, figures, html, markdown, speech, story, tables, unit_map
from spin.report.collect import Material, collect
from spin.report.pictures import Picture, on_white, pixels
from spin.report.schema import problems
from spin.runtime.files import write_json, write_text
from spin.runtime.logs import board


def decode_and_report(context) -> None:
    """Decodes and scores the test parts with both systems, then writes the reports and TensorBoard's copy.

    Args:
        context: of the stage (spin.runtime.stages.Context).

    Raises:
        DataError: an earlier stage's product is missing or damaged, or the result does not fit the report's schema.
    """
    begun = time.monotonic()
    from spin.asr.decoding_stage import decode  # needs k2, which a page does not

    decode(context)
    material = collect(
        context.config, context.exp, context.corpus, context.command, getattr(context, "device", None), time.monotonic() - begun
    )
    pictures = write_report(material, context.exp)
    write_board(material, pictures, context.tensorboard)
    answer = story.headline(material.report)
    context.log.info("%s. %s", answer.title, answer.detail)
    context.log.info("report: %s", artifacts.report(context.exp, "html"))


def draw(material: Material) -> list[Picture]:
    """All pictures of a report; what was not measured has none."""
    report = material.report
    bars = figures.error_bars(report)
    return [
        *([bars] if bars is not None else []),
        *figures.unit_bars(report),
        *unit_map.unit_pictures(material.phones, material.counts, report),
        *speech.speech_pictures(material.speeches),
        *curves.spin_curves(material.spin_history, report["units"]["spin"]["K"]),
        *curves.recogniser_curves(material.asr_history),
    ]


def write_report(material: Material, exp: Path) -> list[Picture]:
    """Writes the reports and the folder of pictures, which it returns; report.json, which other tools wait for, comes last."""
    wrong = problems(material.report)
    if wrong:
        raise DataError(
            str(artifacts.report(exp, "json")),
            found="; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""),
            expected="figures that fit schema 1 of the report",
            cause="a product of stages 3 to 5 that an older version or another tool wrote",
            remedy="./run.sh --stage 3 --stop-stage 5 --force with the same --conf, --set and --exp-dir",
        )
    pictures = draw(material)
    folder = artifacts.report(exp, "figures")
    shutil.rmtree(folder, ignore_errors=True)  # pictures of an older report must not stay among the new ones
    for picture in pictures:
        write_text(folder / f"{picture.name}.svg", on_white(picture))
    write_text(artifacts.report(exp, "md"), markdown.page(material, pictures, folder.name))
    write_text(artifacts.report(exp, "html"), html.page(material, pictures))
    write_json(artifacts.report(exp, "json"), material.report)
    return pictures


def write_board(material: Material, pictures: list[Picture], folder: Path) -> None:
    """The answer, the tables and the pictures in TensorBoard."""
    report = material.report
    answer = story.headline(report)
    writer = board(folder)
    try:
        words = [f"**{markdown.escape(answer.title)}**", markdown.escape(answer.detail)]
        texts = [*words, markdown.table(tables.recognition(report)), markdown.table(tables.unit_quality(report))]
        writer.add_text("report", "\n\n".join(texts))
        for picture in pictures:
            writer.add_image(f"report/{picture.name}", pixels(picture), dataformats="HWC")
        for system, parts in report["asr"].items():
            for part, methods in parts.items():
                for method, result in methods.items():
                    writer.add_scalar(f"wer/{part}/{method}/{system}", result["wer"])
    finally:
        writer.close()
