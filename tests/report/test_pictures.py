"""Pictures: the same bytes every time, colours of the page, nothing drawn that was not measured."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from spin.report import curves, figures
from spin.report.pictures import COLOURS, inline_svg, on_white, pixels


def test_all_pictures_of_a_whole_run(drawn):
    pictures = drawn[1]
    names = [picture.name for picture in pictures]
    assert names == [
        "wer", "units", "abx", "map_baseline", "map_spin", "spin_loss", "spin_pnmi", "spin_perplexity", "asr_loss", "asr_wer",
    ]  # fmt: skip
    for picture in pictures:
        ElementTree.fromstring(picture.document)
        assert picture.alt and picture.caption and picture.title


def test_the_same_bytes_again(drawn, material):
    picture, first = figures.error_bars(material.report), drawn[1][0]
    assert picture.document == first.document
    for old in drawn[1]:
        assert not re.search(r"20\d\d-\d\d-\d\d|Matplotlib v", old.document)


def test_inline_pictures_share_no_identifier_and_no_fixed_colour(drawn):
    texts = [inline_svg(picture) for picture in drawn[1]]
    identifiers = [name for text in texts for name in re.findall(r' id="([^"]+)"', text)]
    assert len(identifiers) == len(set(identifiers))
    for text in texts:
        ElementTree.fromstring(text)
        assert "<metadata" not in text and "<?xml" not in text
        assert set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text)) <= set(identifiers)
        assert not any(value in text for value in COLOURS.values())
        assert "var(--ink)" in text or "var(--muted)" in text
        assert 'role="img"' in text and not re.search(r'<svg[^>]* (width|height)="', text)


def test_alone_on_white(drawn):
    picture = drawn[1][0]
    assert on_white(picture).count('style="background: white"') == 1
    image = pixels(picture)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    assert (image[0, 0] == 255).all() and (image < 128).any()


def test_error_bars_name_every_figure(material):
    alt = figures.error_bars(material.report).alt.replace("\u00a0", " ")
    assert "test, HLG with n-gram LM: baseline 41.2 %, Spin 36.1 %" in alt
    material.report["asr"] = {"baseline": {}, "spin": {}}
    assert figures.error_bars(material.report) is None


def test_an_interval_that_leaves_out_its_rate_is_drawn(material):
    material.report["asr"]["spin"]["test"]["hlg"]["ci95"] = [36.5, 37.0]
    assert "36.1" in figures.error_bars(material.report).document


def test_quality_that_was_not_measured(material):
    for system in ("baseline", "spin"):
        material.report["units"][system] |= {"abx_within": None, "abx_across": None}
    material.report["units"]["spin"]["pnmi"] = None
    pictures = figures.unit_bars(material.report)
    assert [picture.name for picture in pictures] == ["units"]
    assert "PNMI, Spin: not measured" in pictures[0].alt


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], ([], [])),
        ([{"step": 2, "loss": 1.0}, {"step": 1, "loss": 2.0}, {"step": 2, "loss": 0.5}], ([1, 2], [2.0, 0.5])),
        ([{"step": 1, "loss": None}, {"loss": 1.0}, {"step": 3, "loss": float("nan")}, {"step": 4, "loss": True}], ([], [])),
        ([{"step": 1, "train_loss": 4.0}], ([1], [4.0])),
    ],
)
def test_points_of_a_history(records, expected):
    assert curves.points(records, "loss", "train_loss") == expected


def test_no_curves_without_history():
    assert curves.spin_curves([], 128) == []
    assert curves.recogniser_curves({"baseline": {0: []}, "spin": {0: []}}) == []
    assert [item.name for item in curves.spin_curves([{"step": 1, "loss": 3.0, "pnmi": None}], None)] == ["spin_loss"]
