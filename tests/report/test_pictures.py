"""Pictures: the same bytes every time, colours of the page, nothing drawn that was not measured."""

import re

import numpy as np
import pytest

from spin.report import pictures
from tests.report.made_up_run import phone_counts, plain


def test_all_pictures_of_a_whole_run(five):
    drawn = [picture for chosen in five[1].values() for picture in chosen]
    maps = [f"map_{index}" for index in range(5)]
    training = ["training_loss", "training_pnmi", "training_perplexity", "features_loss", "features_valid_wer"]
    assert [picture.name for picture in drawn] == ["wer", "units", "abx", *maps, "utterance_0", *training]
    for picture in drawn:
        assert picture.alt and picture.caption and picture.title
        assert not re.search(r"20\d\d-\d\d-\d\d|Matplotlib v", picture.document)
        text = picture.inline  # in the colours of the page; see test_pages.py for its identifiers
        assert "<metadata" not in text and "<?xml" not in text and not any(value in text for value in pictures.VARIABLES.values())
        assert 'role="img"' in text and not re.search(r'<svg[^>]* (width|height)="', text)
    assert all(f"var(--system{index})" in drawn[0].inline for index in range(5))


def test_bars_name_every_figure_and_leave_out_what_was_not_measured(report):
    assert "WER, test, HLG with n-gram LM: baseline 41.2 %, Spin 36.1 %" in plain(pictures.error_bars(report).alt)
    report["asr"]["spin"]["test"]["hlg"]["ci95"] = [36.5, 37.0]  # an interval that leaves out its rate
    assert "36.1" in pictures.error_bars(report).document
    assert pictures.error_bars({**report, "asr": {"baseline": {}, "spin": {}}}) is None
    for system in ("baseline", "spin"):
        report["units"][system] |= {"abx_within": None, "abx_across": None}
    report["units"]["spin"]["pnmi"] = None
    (picture,) = pictures.unit_bars(report)
    assert picture.name == "units" and "PNMI: baseline 0.409, Spin not measured" in picture.alt


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([], ([], [])),
        ([{"step": 2, "loss": 1.0}, {"step": 1, "loss": 2.0}, {"step": 2, "loss": 0.5}], ([1, 2], [2.0, 0.5])),
        ([{"step": 1, "loss": None}, {"step": 2}, {"step": 3, "loss": float("nan")}, {"step": 4, "loss": 0}], ([4], [0])),
    ],
)
def test_points_of_a_history(records, expected):
    assert pictures.points(records, "loss") == expected


def test_a_system_without_frames_has_no_map(report):
    counts = {"baseline": (["AA", "SIL"], np.zeros((2, 4), np.int64)), "spin": phone_counts(1)}
    (drawn,) = pictures.unit_maps(report, counts)
    assert drawn.name == "map_1" and "PNMI 0.426" in drawn.alt and "Units without a frame: 1." in drawn.caption
