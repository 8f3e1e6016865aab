"""Stage 1 on a small corpus: what it writes, what it names, and that an interrupted run resumes to the same result."""

import dataclasses
import runpy
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import MonoCut

from spin import artifacts, products
from spin.config import Config, CorpusConfig, PerturbationConfig, RuntimeConfig
from spin.data.audio import read_audio
from spin.data.cuts import read_cuts, write_cuts
from spin.errors import DataError
from spin.perturbation import analyse_corpus
from spin.perturbation.analyse_corpus import choose_utterances, estimate_ranges, spread
from spin.perturbation.analysis import SILENT, TOO_SHORT, analyse
from spin.perturbation.analysis_io import load_analysis
from spin.runtime.files import read_json, read_jsonl
from spin.runtime.logs import get_logger
from spin.runtime.product import Context, claim_folder
from spin.tools.benchmark_perturb import vowels
from tests.data.synthetic import prepare_part
from tests.data.test_audio import cut_of

PART, RATE = "train", 16_000
SPEAKERS = {"speaker0", "speaker1", "speaker2"}
BAD = SILENT_ONE, SHORT_ONE, MISSING_ONE = ("train-0006", "train-0007", "train-0008")
analyse_pitch = runpy.run_path(str(Path(__file__).resolve().parents[2] / "local" / "1_analyse_pitch.py"))["analyse_pitch"]


def write_corpus(folder, bad: bool = True) -> None:
    """Six good utterances of three speakers; with `bad`, also a silent, a short and a missing one."""
    claim_folder(folder)
    prepare_part(context(folder), PART, [2.0] * 6 + [1.0, 0.02, 1.0] * bad)
    if bad:
        silent, _, missing = (folder / "written" / "audio" / f"{name}.wav" for name in BAD)
        soundfile.write(silent, np.zeros(RATE), RATE, subtype="PCM_16")
        missing.unlink()


def context(folder, nj: int = 1, max_bad_share: float = 0.5) -> Context:
    corpus = CorpusConfig(spin_train=(PART,), max_bad_share=max_bad_share, kind="lhotse", manifests={PART: str(folder / "audio")})
    config = Config(corpus=corpus, perturbation=PerturbationConfig(), runtime=RuntimeConfig(nj=nj))
    return Context(config, folder / "exp", folder, 1, get_logger("test"))


def contents(folder) -> dict[str, bytes]:
    paths = [artifacts.pitch_cuts(folder, PART), artifacts.speaker_pitch(folder), *sorted((folder / "pitch").rglob("*.bin"))]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stage1")
    write_corpus(folder)
    analyse_pitch(context(folder))
    return folder


def test_every_usable_utterance_carries_its_analysis(done):
    cuts = list(read_cuts(artifacts.pitch_cuts(done, PART)))
    assert [cut.id for cut in cuts] == [f"train-{index:04d}" for index in range(8)]
    ranges = read_json(artifacts.speaker_pitch(done))
    assert set(ranges) == SPEAKERS
    assert all(75 <= one["floor"] < one["median"] < one["ceiling"] for one in ranges.values())
    for cut in cuts:
        found = ranges[cut.supervisions[0].speaker]
        expected = analyse(read_audio(cut), RATE, (found["floor"], found["ceiling"]))
        stored = load_analysis(cut)
        assert np.array_equal(stored.pitch, expected.pitch) and np.allclose(stored.pulses, expected.pulses, rtol=0, atol=1e-6)
        for field in dataclasses.fields(stored):
            if field.name not in ("pitch", "pulses"):
                assert getattr(stored, field.name) == getattr(expected, field.name)


def test_bad_and_degenerate_utterances_are_named(done):
    folder = artifacts.pitch_folder(done, PART)
    rejected = list(read_jsonl(artifacts.rejects(folder, PART)))
    found = [(one["id"], one["part"], one["reason"].split(":")[0]) for one in rejected]
    assert found == [(MISSING_ONE, PART, "unreadable audio")]
    named = {one["id"]: one["reason"] for one in read_jsonl(folder / "equaliser_only.jsonl")}
    assert named == {SILENT_ONE: SILENT, SHORT_ONE: TOO_SHORT}


def test_segment_of_a_longer_recording_is_stored_in_the_recordings_time(tmp_path):
    wave = np.concatenate([np.zeros(RATE, dtype=np.float32), vowels(0, 2.0)])
    recording = cut_of(tmp_path / "long.wav", wave).recording
    claim_folder(tmp_path / "corpus")
    with products.manifest(context(tmp_path / "corpus"), PART).building() as partial:
        write_cuts(partial, [MonoCut("piece", 1.0, 2.0, 0, recording=recording)])
    analyse_pitch(context(tmp_path / "corpus"))
    (cut,) = read_cuts(artifacts.pitch_cuts(tmp_path / "corpus", PART))
    whole, piece = load_analysis(cut), load_analysis(cut).crop(RATE, 2 * RATE)
    alone = analyse(wave[RATE:], RATE, (whole.floor, whole.ceiling))
    assert whole.pulses.min() > RATE and np.allclose(piece.pulses, alone.pulses, rtol=0, atol=1e-6)
    assert piece.contour_start == pytest.approx(alone.contour_start) and np.array_equal(piece.pitch, alone.pitch)


def test_number_of_processes_and_an_interruption_change_nothing(done, tmp_path, monkeypatch):
    monkeypatch.setattr(analyse_corpus, "CHUNK", 2)
    write_corpus(tmp_path / "one")
    analyse_pitch(context(tmp_path / "one", nj=2))
    expected, run, analysed = contents(tmp_path / "one"), analyse_corpus._analyse_chunk, []

    def stopping(job):
        if len(analysed) == 3:
            raise KeyboardInterrupt
        analysed.append(job[0])
        return run(job)

    write_corpus(tmp_path / "two")
    monkeypatch.setattr(analyse_corpus, "_analyse_chunk", stopping)
    with pytest.raises(KeyboardInterrupt):
        analyse_pitch(context(tmp_path / "two"))
    assert not artifacts.pitch_cuts(tmp_path / "two", PART).exists() and len(analysed) == 3
    monkeypatch.setattr(analyse_corpus, "_analyse_chunk", lambda job: (analysed.append(job[0]), run(job))[1])
    analyse_pitch(context(tmp_path / "two"))
    assert len(analysed) == len(set(analysed)) == 5  # finished chunks are not analysed again
    found = contents(tmp_path / "two")
    manifest = f"pitch/{PART}/cuts.jsonl.gz"  # names the recordings of its own folder
    assert found.pop(manifest) and expected.pop(manifest) and found == expected
    for here, there in zip(*(read_cuts(artifacts.pitch_cuts(folder, PART)) for folder in (done, tmp_path / "two"))):
        assert here.id == there.id and np.array_equal(load_analysis(here).pulses, load_analysis(there).pulses)
    assert not list(artifacts.pitch_folder(tmp_path / "two", PART).glob("chunk-*"))


def test_too_many_bad_utterances_stop_the_stage(tmp_path):
    write_corpus(tmp_path)
    with pytest.raises(DataError, match="unreadable"):
        analyse_pitch(context(tmp_path, max_bad_share=0.01))
    assert not artifacts.pitch_cuts(tmp_path, PART).exists() and list(tmp_path.rglob("rejects_*.jsonl"))


def test_a_missing_analysis_is_explained(done):
    with pytest.raises(DataError, match="stage 1"):
        load_analysis(next(read_cuts(artifacts.cuts(done, PART))))


def test_a_speakers_utterances_are_chosen_at_even_distances(tmp_path):
    assert spread(3, 1.0, 600.0) == {0, 1, 2} and spread(5, 1e6, 1.0) == {0}
    write_corpus(tmp_path, bad=False)
    manifest = artifacts.cuts(tmp_path, PART)
    assert choose_utterances([manifest, manifest]) == dict.fromkeys(SPEAKERS, set(range(4)))
    ranges = [estimate_ranges([manifest] * times, PerturbationConfig(), 1) for times in (1, 2)]
    assert ranges[0].keys() == SPEAKERS and ranges[0] == ranges[1]  # quantiles of the same values twice
