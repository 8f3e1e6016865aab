"""The TensorBoard log of stage 0: what is in it, once, and its pictures on odd input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from spin import artifacts
from spin.corpus.alignment import write_tsv
from spin.corpus.board import _some, parts_table, show_corpus, speaker_figure, spectrogram_in_db
from spin.corpus.prepare import prepare_data
from spin.corpus.validate import PartSummary, check_part


def test_log_holds_numbers_sound_and_pictures_once(small_corpus: Path, make_context, no_pictures):
    context = make_context(small_corpus)
    prepare_data(context)
    summaries = {part: check_part(artifacts.cuts(context.corpus, part), part, {}) for part in ("train", "dev")}
    for _ in range(2):  # a run after a kill does not double it
        show_corpus(context.tensorboard, context.corpus, summaries, seed=0)
    assert len(list(context.tensorboard.iterdir())) == 1
    events = EventAccumulator(str(context.tensorboard))
    events.Reload()
    tags = events.Tags()
    assert set(tags["histograms"]) == {
        f"{name}/{part}" for name in ("duration_in_s", "utterances_of_a_speaker") for part in summaries
    }
    assert events.Scalars("speakers/train")[0].value == 2
    assert len(tags["audio"]) == 4 and set(tags["images"]) == {*tags["audio"], "speakers"}
    assert b"| train | 5 | 0.00 | 2 | 1.0 | 0 |" in events.Tensors("parts/text_summary")[0].tensor_proto.string_val[0]


def test_utterances_with_phones_are_shown_first(small_corpus: Path, make_context, no_pictures, tmp_path: Path):
    write_tsv(tmp_path / "a.tsv", [(identity, ["SIL"] * 100) for identity in ("103-1240-0002", "1034-7-0001")])
    context = make_context(small_corpus, alignment="tsv", alignment_tsv=str(tmp_path / "a.tsv"))
    prepare_data(context)
    shown = _some(artifacts.cuts(context.corpus, "train"), seed=0, count=3)
    assert {cut.id for cut in shown[:2]} == {"103-1240-0002", "1034-7-0001"}


def test_table_by_hand():
    part = PartSummary("a", durations=[1800.0, 5400.0], seconds_of={"1": 7200.0}, utterances_of={"1": 2}, aligned=1)
    assert parts_table([part]).splitlines()[-1] == "| a | 2 | 2.00 | 1 | 3600.0 | 1 |"


@pytest.mark.parametrize("speakers", [1, 60, 61, 300])
def test_figure_of_few_and_of_many_speakers(speakers: int):
    part = PartSummary("a", durations=[1.0] * speakers, seconds_of={str(number): 1.0 + number for number in range(speakers)})
    axes = speaker_figure([part]).axes[0]
    assert len(axes.patches) == (speakers if speakers <= 60 else 0)


def test_spectrogram_finds_a_tone_and_takes_silence_and_scraps():
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    picture = spectrogram_in_db(tone)
    assert picture.shape == (201, (16_000 - 400) // 80 + 1)
    assert (picture.argmax(axis=0) == 25).all() and picture.max() == pytest.approx(0, abs=1e-3)  # bins of 40 Hz
    assert np.isfinite(spectrogram_in_db(np.zeros(1000))).all()
    assert spectrogram_in_db(np.ones(3)).shape == (201, 1)
