"""Stage 1 on a small corpus: what it writes, what it names, and that an interrupted run resumes to the same result."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil

import numpy as np
import pytest
import soundfile
from lhotse import MonoCut, Recording, SupervisionSegment

from spin import artifacts, products
from spin.config import Config, CorpusConfig, PerturbationConfig, RuntimeConfig
from spin.data.audio import read_audio
from spin.data.cuts import read_cuts, write_cuts
from spin.errors import DataError
from spin.perturbation import analyse_part
from spin.perturbation.analysis import SILENT, TOO_SHORT, analyse
from spin.perturbation.analysis_io import load_analysis
from spin.perturbation.perturb import draw_parameters, synthesise
from spin.perturbation.speakers import choose_utterances, estimate_ranges, spread
from spin.runtime.context import Context
from spin.runtime.files import read_json, read_jsonl
from spin.runtime.logs import get_logger
from spin.runtime.product import claim_folder
from spin.tools.benchmark_perturb import vowels

PART, RATE = "train", 16_000
GOOD = 6


@pytest.fixture(scope="module")
def stage(repository):
    """The stage script as a module."""
    spec = importlib.util.spec_from_file_location("analyse_pitch", repository / "local" / "1_analyse_pitch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    write_manifest(folder, cuts)
    return waves


def write_manifest(folder, cuts) -> None:
    claim_folder(folder)
    with products.manifest(context(folder), PART).building() as partial:
        write_cuts(partial, cuts)


def context(folder, nj: int = 1, max_bad_share: float = 0.5) -> Context:
    corpus = CorpusConfig(spin_train=(PART,), max_bad_share=max_bad_share, kind="lhotse", manifests={PART: str(folder / "audio")})
    config = Config(corpus=corpus, perturbation=PerturbationConfig(), runtime=RuntimeConfig(nj=nj))
    return Context(config, folder / "exp", folder, 1, get_logger("test"))


def contents(folder) -> dict[str, bytes]:
    paths = [artifacts.pitch_cuts(folder, PART), artifacts.speaker_pitch(folder), *sorted((folder / "pitch").rglob("*.bin"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def done(tmp_path_factory, stage):
    folder = tmp_path_factory.mktemp("stage1")
    waves = write_corpus(folder)
    stage.analyse_pitch(context(folder))
    return folder, waves


def test_every_usable_utterance_carries_its_analysis(done):
    folder, waves = done
    cuts = list(read_cuts(artifacts.pitch_cuts(folder, PART)))
    assert [cut.id for cut in cuts] == [name for name in waves if not name.endswith("missing")]
    ranges = read_json(artifacts.speaker_pitch(folder))
    assert set(ranges) == {"s0", "s1"} and all(75 <= one["floor"] < one["median"] < one["ceiling"] for one in ranges.values())
    for cut in cuts:
        found = ranges[cut.supervisions[0].speaker]
        expected = analyse(read_audio(cut), RATE, (found["floor"], found["ceiling"]))
        stored = load_analysis(cut)
        assert np.array_equal(stored.pitch, expected.pitch) and np.allclose(stored.pulses, expected.pulses, rtol=0, atol=1e-6)
        for field in dataclasses.fields(stored):
            if field.name not in ("pitch", "pulses"):
                assert getattr(stored, field.name) == getattr(expected, field.name)


def test_bad_and_degenerate_utterances_are_named(done):
    folder = artifacts.pitch_folder(done[0], PART)
    rejected = list(read_jsonl(artifacts.rejects(folder, PART)))
    assert [(one["id"], one["part"], one["reason"].split(":")[0]) for one in rejected] == [
        ("12-missing", PART, "unreadable audio")
    ]
    named = {one["id"]: one["reason"] for one in read_jsonl(folder / "equaliser_only.jsonl")}
    assert named == {"10-silent": SILENT, "11-short": TOO_SHORT}


def test_tensorboard_has_sound_pictures_and_histograms(done):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(context(done[0]).tensorboard))
    events.Reload()
    tags = events.Tags()
    assert tags["audio"][:2] == [f"{PART}/00-good/original", f"{PART}/00-good/perturbed"] and len(tags["images"]) == 4
    assert {name.split("/")[0] for name in tags["histograms"]} >= {"F0 median in Hz", "formant_ratio", "pitch_range_ratio"}


def test_a_finished_stage_does_nothing_and_a_copied_folder_reads_its_own_arrays(done, tmp_path, stage):
    folder, _ = done
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    stage.analyse_pitch(context(folder))
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    shutil.copytree(folder / "pitch", tmp_path / "pitch")
    cut = next(read_cuts(artifacts.pitch_cuts(tmp_path, PART)))
    assert cut.pitch.array.storage_path.startswith(str(tmp_path)) and len(load_analysis(cut).pulses) > 20


def test_truncated_cut_loads_the_recordings_analysis(done):
    cut = next(read_cuts(artifacts.pitch_cuts(done[0], PART)))
    piece = cut.truncate(offset=0.5, duration=1.0, preserve_id=True)
    crop = load_analysis(piece).crop(8000, 16_000)
    assert np.array_equal(crop.pulses, load_analysis(cut).crop(8000, 16_000).pulses) and len(crop.pulses) > 20
    assert synthesise(read_audio(piece), RATE, crop, draw_parameters(0, 0, cut.id)).shape == (16_000,)


def test_segment_of_a_longer_recording_is_stored_in_the_recordings_time(tmp_path, stage):
    wave = np.concatenate([np.zeros(RATE, dtype=np.float32), vowels(0, 2.0)])
    (tmp_path / "audio").mkdir()
    soundfile.write(tmp_path / "audio" / "long.wav", wave, RATE, subtype="FLOAT")
    recording = Recording.from_file(tmp_path / "audio" / "long.wav", recording_id="long")
    write_manifest(tmp_path / "corpus", [MonoCut("piece", 1.0, 2.0, 0, recording=recording)])
    stage.analyse_pitch(context(tmp_path / "corpus"))
    (cut,) = read_cuts(artifacts.pitch_cuts(tmp_path / "corpus", PART))
    whole, piece = load_analysis(cut), load_analysis(cut).crop(RATE, 2 * RATE)
    alone = analyse(wave[RATE:], RATE, (whole.floor, whole.ceiling))
    assert whole.pulses.min() > RATE and np.allclose(piece.pulses, alone.pulses, rtol=0, atol=1e-6)
    assert piece.contour_start == pytest.approx(alone.contour_start) and np.array_equal(piece.pitch, alone.pitch)


def test_number_of_processes_and_an_interruption_change_nothing(done, tmp_path, monkeypatch, stage):
    monkeypatch.setattr(analyse_part, "CHUNK", 2)
    write_corpus(tmp_path / "one")
    stage.analyse_pitch(context(tmp_path / "one", nj=2))
    expected, run, analysed = contents(tmp_path / "one"), analyse_part._analyse_chunk, []

    def stopping(chunk):
        if len(analysed) == 3:
            raise KeyboardInterrupt
        analysed.append(chunk.name)
        return run(chunk)

    write_corpus(tmp_path / "two")
    monkeypatch.setattr(analyse_part, "_analyse_chunk", stopping)
    with pytest.raises(KeyboardInterrupt):
        stage.analyse_pitch(context(tmp_path / "two"))
    assert not artifacts.pitch_cuts(tmp_path / "two", PART).exists() and len(analysed) == 3
    monkeypatch.setattr(analyse_part, "_analyse_chunk", lambda chunk: (analysed.append(chunk.name), run(chunk))[1])
    stage.analyse_pitch(context(tmp_path / "two"))
    assert len(analysed) == len(set(analysed)) == 5  # finished chunks are not analysed again
    found = contents(tmp_path / "two")
    manifest = f"pitch/{PART}/cuts.jsonl.gz"  # names the recordings of its own folder
    assert found.pop(manifest) and expected.pop(manifest) and found == expected
    for here, there in zip(*(read_cuts(artifacts.pitch_cuts(folder, PART)) for folder in (done[0], tmp_path / "two"))):
        assert here.id == there.id and np.array_equal(load_analysis(here).pulses, load_analysis(there).pulses)
    assert not list(artifacts.pitch_folder(tmp_path / "two", PART).glob("chunk-*"))


def test_too_many_bad_utterances_stop_the_stage(tmp_path, stage):
    write_corpus(tmp_path)
    with pytest.raises(DataError, match="unreadable"):
        stage.analyse_pitch(context(tmp_path, max_bad_share=0.01))
    assert not artifacts.pitch_cuts(tmp_path, PART).exists()
    assert len(list(tmp_path.rglob("rejects_*.jsonl"))) == 1
    stage.analyse_pitch(context(tmp_path, max_bad_share=0.5))  # the remedy that the error names
    assert artifacts.pitch_cuts(tmp_path, PART).exists()


def test_missing_manifest_missing_analysis_and_damaged_arrays_are_explained(tmp_path, done, stage):
    with pytest.raises(DataError, match="stage 0"):
        stage.analyse_pitch(context(tmp_path / "nothing"))
    with pytest.raises(DataError, match="stage 1"):
        load_analysis(next(read_cuts(artifacts.cuts(done[0], PART))))
    shutil.copytree(done[0] / "pitch", tmp_path / "pitch")
    for arrays in (tmp_path / "pitch" / PART).glob("*.bin"):
        arrays.write_bytes(arrays.read_bytes()[:10])
    with pytest.raises(DataError, match="damaged"):
        load_analysis(next(read_cuts(artifacts.pitch_cuts(tmp_path, PART))))


def test_a_speakers_utterances_are_chosen_at_even_distances(tmp_path):
    assert spread(3, 1.0, 600.0) == {0, 1, 2} and spread(5, 1e6, 1.0) == {0}
    write_corpus(tmp_path, bad=False)
    manifest = artifacts.cuts(tmp_path, PART)
    assert choose_utterances([manifest, manifest]) == {"s0": set(range(6)), "s1": set(range(6))}
    ranges = [estimate_ranges([manifest] * times, PerturbationConfig(), 1) for times in (1, 2)]
    assert list(ranges[0]) == ["s0", "s1"] and ranges[0] == ranges[1]  # quantiles of the same values twice
