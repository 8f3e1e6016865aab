"""Spectrogram, phones and units of a few utterances."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from lhotse import MonoCut, Recording, SupervisionSegment
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.report import html, markdown
from spin.report.pictures import inline_svg
from spin.report.speech import BANDS, LONGEST_IN_S, MOST_PICTURES, Speech, read_speech, spectrogram, speech_pictures, unit_spans
from spin.runtime.files import read_jsonl, write_jsonl

SPEECH = Speech(
    "utt", "A <TEST>", np.random.default_rng(0).normal(size=8000), [(0.0, 0.2, "AA"), (0.2, 0.5, "S")], {"spin": [3, 3, 1]}
)


def test_runs_by_hand():
    assert unit_spans([]) == []
    assert [(round(a, 3), round(b, 3), label) for a, b, label in unit_spans([7, 7, 2])] == [(0, 0.04, "7"), (0.04, 0.06, "2")]


@given(st.lists(st.integers(0, 3), max_size=40))
def test_runs_cover_every_frame(units):
    spans = unit_spans(units)
    back = [int(label) for a, b, label in spans for _ in range(round((b - a) / artifacts.FRAME_SHIFT_IN_S))]
    assert back == units and all(one[2] != two[2] for one, two in zip(spans, spans[1:]))


def test_a_tone_is_in_its_band():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / artifacts.SAMPLE_RATE)
    shades = spectrogram(tone)
    assert shades.shape == (BANDS, 98) and set(shades.argmax(0)) <= {7, 8}  # bands are 125 Hz wide
    assert shades.max() == 1 and shades[40:].max() == 0


@pytest.mark.parametrize("samples", [1, 399, 401])
def test_silence_and_very_short_audio_have_numbers(samples):
    shades = spectrogram(np.zeros(samples))
    assert shades.shape == (BANDS, 1) and np.isfinite(shades).all()


def test_the_picture_says_what_it_shows():
    (picture,) = speech_pictures([SPEECH])
    assert picture.name == "speech_1" and "2 phones" in picture.alt and "2 runs of units Spin" in picture.alt
    text = inline_svg(picture)
    assert ">AA<" in text and "var(--spin)" in text
    assert inline_svg(speech_pictures([SPEECH])[0]) == text


def test_the_report_holds_it(material):
    pictures = speech_pictures([SPEECH])
    page = html.page(material, pictures)
    assert 'id="speech_1-alt"' in page and "A &lt;TEST&gt;" in page and "A <TEST>" not in page
    assert "figures/speech_1.svg" in markdown.page(material, pictures, "figures")


@pytest.fixture
def spoken(context, tmp_path):
    """The experiment with manifests and units of three utterances, the third of 3 s."""
    part, cuts = context.config.corpus.test[0], []
    for number, samples in enumerate((16_000, 8000, 48_000)):
        path = tmp_path / f"u{number}.wav"
        soundfile.write(path, 0.1 * np.random.default_rng(number).normal(size=samples), artifacts.SAMPLE_RATE)
        recording = Recording.from_file(path)
        items = {artifacts.PHONE_TIER: [AlignmentItem("AA", 0.0, 0.3), AlignmentItem("S", 0.3, 2.7)]} if number != 1 else None
        supervision = SupervisionSegment(f"u{number}", recording.id, 0, recording.duration, text="HELLO", alignment=items)
        cuts.append(MonoCut(f"u{number}", 0, recording.duration, 0, [supervision], recording=recording))
    for system in artifacts.SYSTEMS:
        artifacts.units_cuts(context.exp, system, part).parent.mkdir(parents=True, exist_ok=True)
        write_jsonl(artifacts.units_cuts(context.exp, system, part), (cut.to_dict() for cut in cuts))
        lines = [{"id": cut.id, "units": [5] * int(cut.duration / 0.02)} for cut in cuts]
        write_jsonl(artifacts.units_lines(context.exp, system, part), lines)
    return context, tmp_path


def test_reading(spoken):
    context, _ = spoken
    speeches = read_speech(context.config, context.exp)
    assert [speech.name for speech in speeches] == ["u0", "u1"] and MOST_PICTURES == 2
    assert len(speeches[0].audio) == 16_000 and speeches[0].phones == [(0.0, 0.3, "AA"), (0.3, 1.0, "S")]
    assert speeches[1].phones == [] and speeches[1].units["baseline"] == [5] * 25
    assert len(speech_pictures(speeches)) == 2


def test_long_utterances_are_cut(spoken):
    context, _ = spoken
    part = context.config.corpus.test[0]
    for system in artifacts.SYSTEMS:
        for path in (artifacts.units_cuts(context.exp, system, part), artifacts.units_lines(context.exp, system, part)):
            write_jsonl(path, [record for record in list(read_jsonl(path)) if record["id"] == "u2"])
    (speech,) = read_speech(context.config, context.exp)
    assert len(speech.audio) == LONGEST_IN_S * artifacts.SAMPLE_RATE and len(speech.units["spin"]) == LONGEST_IN_S * 50
    assert speech.phones[-1][1] == LONGEST_IN_S


def test_audio_that_is_gone_is_named_and_left_out(spoken, caplog, capsys):
    context, folder = spoken
    (folder / "u0.wav").unlink()
    with caplog.at_level(logging.WARNING):
        assert [speech.name for speech in read_speech(context.config, context.exp)] == ["u1"]
    assert "no picture of u0" in caplog.text + capsys.readouterr().out  # where the log goes, other tests may have changed


def test_no_manifests_or_no_pictures_wanted(context, spoken):
    assert read_speech(context.config, context.exp.parent / "nothing") == []
    config = dataclasses.replace(context.config, units=dataclasses.replace(context.config.units, pictures=0))
    assert read_speech(config, spoken[0].exp) == []
