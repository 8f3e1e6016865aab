"""Stage 1 on a small corpus: what it writes, what it names, and that a killed run goes on to the same result."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment

from spin import artifacts
from spin.config import Config, CorpusConfig, PerturbationConfig, RuntimeConfig
from spin.errors import DataError
from spin.perturbation import stage
from spin.perturbation.analysis import SILENT, TOO_SHORT, analyse
from spin.perturbation.benchmark import vowels
from spin.perturbation.packed import PackedWriter
from spin.perturbation.parameters import draw_parameters
from spin.perturbation.perturb import synthesise
from spin.perturbation.storage import load_analysis
from spin.runtime.files import read_json, read_jsonl
from spin.runtime.stages import Context

PART, RATE = "train", 16_000
GOOD = 6


def write_corpus(folder, bad: bool = True):
    """Six good utterances of two speakers; with `bad`, also a silent, a short and a missing one."""
    waves = {f"{index:02d}-good": vowels(index, 2.0) for index in range(GOOD)}
    if bad:
        waves |= {"10-silent": np.zeros(RATE), "11-short": vowels(3, 1.0)[:300], "12-missing": vowels(4, 1.0)}
    cuts = []
    for index, (name, wave) in enumerate(waves.items()):
        path = folder / "audio" / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, wave, RATE, subtype="FLOAT")
        recording = Recording.from_file(path, recording_id=name)
        said = SupervisionSegment(name, name, 0.0, recording.duration, text="A", speaker=f"s{index % 2}")
        cuts.append(MonoCut(name, 0.0, recording.duration, 0, recording=recording, supervisions=[said]))
        if name.endswith("missing"):
            path.unlink()
    CutSet.from_cuts(cuts).to_file(artifacts.cuts(folder, PART))
    return waves


def context(folder, nj: int = 1, **corpus) -> Context:
    config = Config(
        corpus=CorpusConfig(spin_train=(PART,), max_bad_share=corpus.pop("max_bad_share", 0.5)),
        perturbation=PerturbationConfig(tensorboard_pairs=1),
        runtime=RuntimeConfig(nj=nj),
    )
    return Context(config, folder / "exp", folder, folder / "tensorboard", False, logging.getLogger("spin.test"), "")


def products(folder) -> dict[str, bytes]:
    paths = [artifacts.pitch_cuts(folder, PART), artifacts.speaker_pitch(folder), *sorted((folder / "pitch").rglob("*.bin"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage1")
    waves = write_corpus(folder)
    stage.analyse_pitch(context(folder))
    return folder, waves


def test_every_usable_utterance_carries_its_analysis(done):
    folder, waves = done
    cuts = list(CutSet.from_file(artifacts.pitch_cuts(folder, PART)))
    assert [cut.id for cut in cuts] == [name for name in waves if not name.endswith("missing")]
    ranges = read_json(artifacts.speaker_pitch(folder))
    assert set(ranges) == {"s0", "s1"} and all(75 <= one["floor"] < one["median"] < one["ceiling"] for one in ranges.values())
    for cut in cuts:
        found = ranges[cut.supervisions[0].speaker]
        expected = analyse(cut.load_audio()[0], RATE, (found["floor"], found["ceiling"]))
        stored = load_analysis(cut)
        assert np.array_equal(stored.pitch, expected.pitch) and np.allclose(stored.pulses, expected.pulses, rtol=0, atol=1e-6)
        for field in dataclasses.fields(stored):
            if field.name not in ("pitch", "pulses"):
                assert getattr(stored, field.name) == getattr(expected, field.name)


def test_bad_and_degenerate_utterances_are_named(done):
    folder, _ = done
    rejected = list(read_jsonl(artifacts.rejects(folder, 1)))
    assert [(one["id"], one["part"], one["reason"].split(":")[0]) for one in rejected] == [("12-missing", PART, "unreadable")]
    named = {one["id"]: one["reason"] for one in read_jsonl(artifacts.pitch_arrays(folder, PART) / "equaliser_only.jsonl")}
    assert named == {"10-silent": SILENT, "11-short": TOO_SHORT}


def test_tensorboard_has_sound_pictures_and_histograms(done):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(done[0] / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert tags["audio"] == [f"{PART}/00-good/original", f"{PART}/00-good/perturbed"] and len(tags["images"]) == 1
    assert {name.split("/")[0] for name in tags["histograms"]} >= {"F0 median in Hz", "formant_ratio", "pitch_range_ratio"}


def test_truncated_cut_loads_the_recordings_analysis(done):
    folder, waves = done
    cut = next(iter(CutSet.from_file(artifacts.pitch_cuts(folder, PART))))
    piece = cut.truncate(offset=0.5, duration=1.0, preserve_id=True)
    crop = load_analysis(piece).crop(8000, 16_000)
    assert np.array_equal(crop.pulses, load_analysis(cut).crop(8000, 16_000).pulses) and len(crop.pulses) > 20
    copy = synthesise(piece.load_audio()[0], RATE, crop, draw_parameters(0, 0, cut.id))
    assert copy.shape == (16_000,)


def test_segment_of_a_longer_recording_is_stored_in_the_recordings_time(tmp_path):
    wave = np.concatenate([np.zeros(RATE, dtype=np.float32), vowels(0, 2.0)])
    soundfile.write(tmp_path / "long.wav", wave, RATE, subtype="FLOAT")
    recording = Recording.from_file(tmp_path / "long.wav", recording_id="long")
    CutSet.from_cuts([MonoCut("piece", 1.0, 2.0, 0, recording=recording)]).to_file(artifacts.cuts(tmp_path, PART))
    stage.analyse_pitch(context(tmp_path))
    (cut,) = CutSet.from_file(artifacts.pitch_cuts(tmp_path, PART))
    whole, piece = load_analysis(cut), load_analysis(cut).crop(RATE, 2 * RATE)
    alone = analyse(wave[RATE:], RATE, (whole.floor, whole.ceiling))
    assert whole.pulses.min() > RATE and np.allclose(piece.pulses, alone.pulses, rtol=0, atol=1e-6)
    assert piece.contour_start == pytest.approx(alone.contour_start) and np.array_equal(piece.pitch, alone.pitch)


def test_number_of_processes_and_a_kill_change_nothing(done, tmp_path, monkeypatch):
    monkeypatch.setattr(stage, "CHUNK", 2)
    write_corpus(tmp_path)
    once = context(tmp_path, nj=2)
    stage.analyse_pitch(once)
    expected = products(tmp_path)
    manifest = artifacts.pitch_cuts(tmp_path, PART)
    manifest.unlink()
    records = sorted((tmp_path / "pitch" / PART).glob("0*.jsonl"))
    records[1].unlink()
    kept = {path: path.stat().st_mtime_ns for path in records[2:]}
    stage.analyse_pitch(context(tmp_path, nj=1))
    assert products(tmp_path) == expected
    assert kept == {path: path.stat().st_mtime_ns for path in kept}  # finished chunks are not analysed again
    for name, fields in ((cut.id, load_analysis(cut)) for cut in CutSet.from_file(manifest)):
        here = next(cut for cut in CutSet.from_file(artifacts.pitch_cuts(done[0], PART)) if cut.id == name)
        assert np.array_equal(load_analysis(here).pulses, fields.pulses)


def test_too_many_bad_utterances_stop_the_stage(tmp_path):
    write_corpus(tmp_path)
    with pytest.raises(DataError, match="unreadable"):
        stage.analyse_pitch(context(tmp_path, max_bad_share=0.01))
    assert not artifacts.pitch_cuts(tmp_path, PART).exists()
    assert len(list(read_jsonl(artifacts.rejects(tmp_path, 1)))) == 1


def test_missing_manifest_and_missing_analysis_are_explained(tmp_path, done):
    with pytest.raises(DataError, match="stage 0"):
        stage.analyse_pitch(context(tmp_path))
    with pytest.raises(DataError, match="stage 1"):
        load_analysis(next(iter(CutSet.from_file(artifacts.cuts(done[0], PART)))))


def test_damaged_arrays_are_explained(tmp_path):
    write_corpus(tmp_path, bad=False)
    stage.analyse_pitch(context(tmp_path))
    arrays = next((tmp_path / "pitch" / PART).glob("*.bin"))
    arrays.write_bytes(arrays.read_bytes()[:10])
    with pytest.raises(DataError, match="damaged"):
        load_analysis(next(iter(CutSet.from_file(artifacts.pitch_cuts(tmp_path, PART)))))


@given(hnp.arrays(st.sampled_from([np.float32, np.float64, np.int16]), st.integers(0, 300)))
def test_packed_arrays_come_back_bit_by_bit(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("packed") / "arrays.bin"
    with open(path, "wb") as stream:
        writer = PackedWriter(stream, path)
        places = [writer.store_array("x", one) for one in (values, values[::2])]
    assert places[0].load().tobytes() == values.tobytes() and places[1].load().tobytes() == values[::2].tobytes()
    assert places[0].load().dtype == values.dtype and places[0].load().flags.writeable
