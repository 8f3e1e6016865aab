"""The filterbank as a third system: frames joined by hand, features of a tone, stages with three systems."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, Fbank, FbankConfig, Recording

from spin import artifacts
from spin.asr.decoding_stage import decode
from spin.asr.fbank import MEL_BINS, FbankJob, extract_part, filterbank, joined
from spin.asr.features import frames_of
from spin.asr.training_stage import check_systems, train_asr
from spin.errors import ConfigError, DataError
from spin.runtime.files import read_json


def test_joined_by_hand():
    frames = np.array([[1.0], [2.0], [3.0], [4.0], [5.0]])
    assert joined(frames, 2).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert joined(frames, 4).tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 5.0], [5.0, 5.0]]
    assert joined(frames, 3).dtype == np.float16


def with_audio(folder, part: str) -> None:
    """Gives the cuts of a part a recording each: a tone whose pitch is that of no letter."""
    for system in artifacts.SYSTEMS:
        path = artifacts.units_cuts(folder / "exp", system, part)
        cuts = []
        for number, cut in enumerate(CutSet.from_file(path)):
            wave = folder / "audio" / f"{cut.id}.wav"
            wave.parent.mkdir(exist_ok=True)
            seconds = np.arange(round(cut.duration * artifacts.SAMPLE_RATE)) / artifacts.SAMPLE_RATE
            soundfile.write(wave, 0.3 * np.sin(2 * np.pi * (500 + 10 * number) * seconds), artifacts.SAMPLE_RATE)
            cut.recording = Recording.from_file(wave, recording_id=cut.id)
            cuts.append(cut)
        CutSet.from_cuts(cuts).to_file(path)


@pytest.fixture
def with_tones(work_folder):
    """An experiment whose cuts have audio."""
    import shutil

    units = work_folder / "exp" / "units"
    target = units.resolve()
    units.unlink()
    shutil.copytree(target, units)
    for part in ("train", "dev", "eval"):
        with_audio(work_folder, part)
    return work_folder


def test_stages_with_three_systems(with_tones, tools):
    config = tools.config(max_steps=4, valid_every_steps=4, systems=("baseline", "spin", "fbank"))
    context = tools.context(with_tones, config)
    train_asr(context)
    cuts = list(CutSet.from_file(artifacts.features_cuts(context.exp, "fbank", "eval")))
    theirs = list(CutSet.from_file(artifacts.features_cuts(context.exp, "spin", "eval")))
    assert [cut.id for cut in cuts] == [cut.id for cut in theirs]
    for cut, other in zip(cuts, theirs):
        assert frames_of(cut) == frames_of(other)
        features = cut.load_custom(artifacts.HIDDEN_FIELD)
        assert features.shape == (frames_of(cut), 2 * MEL_BINS) and np.isfinite(features.astype(np.float32)).all()
        middle = features[len(features) // 2, :MEL_BINS].argmax()
        assert 15 < middle < 30  # 500 Hz lies in the lower half of the mel scale
    decode(context)
    scores = read_json(artifacts.scores(context.exp))
    assert set(scores["asr"]) == {"baseline", "spin", "fbank"}
    assert set(scores["asr"]["fbank"]["eval"]) == {"ctc_1best", "hlg"}
    assert extract_part(FbankJob(context.exp, "eval")) == 0  # there already


def test_lost_audio_is_an_error(with_tones):
    cut = next(iter(CutSet.from_file(artifacts.units_cuts(with_tones / "exp", "baseline", "eval"))))
    (with_tones / "audio" / f"{cut.id}.wav").unlink()
    with pytest.raises(DataError, match=cut.id):
        filterbank(cut, Fbank(FbankConfig(num_mel_bins=MEL_BINS)))


def test_both_encoders_must_be_there(tools):
    with pytest.raises(ConfigError, match="asr.systems"):
        check_systems(("baseline", "fbank"))
    check_systems(dataclasses.replace(tools.config()).asr.systems)
