"""Corpora of lhotse cut manifests: what is used where it lies, what is copied, chunked or rejected."""

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.cut import PaddingCut
from lhotse.supervision import AlignmentItem
from lhotse.utils import fastcopy

from spin import artifacts
from spin.corpus.lhotse_manifests import LhotseManifests, split_cut
from spin.corpus.parts import check_cut
from spin.data.audio import read_audio
from spin.errors import ConfigError, DataError
from spin.runtime.seeding import generator

LOG = logging.getLogger("spin.test")


def tone(seconds: float, rate: int, hertz: float = 440.0) -> np.ndarray:
    return 0.3 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def record(path: Path, seconds: float = 2.0, rate: int = 16_000, channels: int = 1) -> Recording:
    """A tone, quieter in each further channel, with a little noise."""
    noise = generator(path.name).normal(0, 1e-3, (round(seconds * rate), channels))
    soundfile.write(path, tone(seconds, rate)[:, None] / np.arange(1, channels + 1) + noise, rate)
    return Recording.from_file(path)


def supervise(recording: Recording, text: str | None = "HELLO", start: float = 0.0, duration: float | None = None, **keys):
    span = recording.duration - start if duration is None else duration
    keys = {"id": recording.id, "speaker": "spk"} | keys
    channel = list(range(recording.num_channels)) if recording.num_channels > 1 else 0
    return SupervisionSegment(recording_id=recording.id, start=start, duration=span, channel=channel, text=text, **keys)


def cut_of(recording: Recording, *supervisions: SupervisionSegment) -> MonoCut:
    return fastcopy(recording.to_cut(), id=recording.id, supervisions=list(supervisions))


@pytest.fixture
def make_corpus(tmp_path: Path, make_context):
    """make_corpus(cuts, role) -> the corpus of a manifest of these cuts, as part `a`."""

    def make(cuts: list, role: str = "spin_train") -> LhotseManifests:
        manifest = tmp_path / "a.jsonl.gz"
        CutSet.from_cuts(cuts).to_file(manifest)
        roles = {"spin_train": ("a",), "asr_train": (), "valid": (), "test": ()} | {role: ("a",)}
        context = make_context(None, kind="lhotse", manifests={"a": str(manifest)}, **roles)
        return LhotseManifests(context.config, context.corpus)

    return make


def read(corpus: LhotseManifests, nj: int = 1) -> tuple[dict[str, MonoCut], dict[str, str]]:
    """(cuts, reasons) by id."""
    records = list(corpus.read("a", nj))
    cuts = {one["id"]: MonoCut.from_dict(one["cut"]) for one in records if "cut" in one}
    assert all(check_cut(cut) is None for cut in cuts.values())
    return cuts, {one["id"]: one["reason"] for one in records if "reason" in one}


def test_a_whole_recording_of_the_right_kind_is_used_where_it_lies(tmp_path: Path, make_corpus):
    recording = record(tmp_path / "plain.wav")
    corpus = make_corpus([cut_of(recording, supervise(recording, "Hello, world!", gender="F", language="English"))], "test")
    cuts, reasons = read(corpus)
    cut = cuts["plain"]
    assert not reasons and cut.recording.sources[0].source == str(tmp_path / "plain.wav")
    supervision = cut.supervisions[0]
    assert (supervision.text, supervision.speaker, supervision.gender) == ("HELLO WORLD", "spk", "F")
    assert not artifacts.generated_audio(corpus.folder).exists()


@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (44_100, 2), (16_000, 2)])
def test_other_rates_and_channels_are_converted(tmp_path: Path, make_corpus, rate: int, channels: int):
    recording = record(tmp_path / "other.wav", 2.0, rate, channels)
    corpus = make_corpus([cut_of(recording, supervise(recording))])
    cut = read(corpus)[0]["other"]
    assert cut.recording.sources[0].source == str(artifacts.generated_audio(corpus.folder).absolute() / "a/other.flac")
    assert (cut.sampling_rate, cut.num_samples, cut.recording.num_channels) == (16_000, 32_000, 1)
    expected = tone(2.0, 16_000) * np.mean(1 / np.arange(1, channels + 1))
    inner = slice(1000, -1000)  # a resampler rings at both ends
    assert np.abs(read_audio(cut)[inner] - expected[inner]).max() < 0.01


def test_each_supervision_of_a_long_recording_is_an_utterance(tmp_path: Path, make_corpus):
    recording = record(tmp_path / "long.wav", 10.0)
    phones = [AlignmentItem("hh", 3.0, 0.5), AlignmentItem("AH0", 3.5, 1.5)]
    spans = [
        supervise(recording, "ONE", 0.0, 2.0, id="long-0"),
        supervise(recording, "TWO", 3.0, 2.0, id="long-1", alignment={"phone": phones}),
    ]
    cuts, reasons = read(make_corpus([cut_of(recording, *spans)], "asr_train"))
    assert list(cuts) == ["long-0", "long-1"] and not reasons
    assert [cut.duration for cut in cuts.values()] == [2.0, 2.0]
    whole = soundfile.read(tmp_path / "long.wav")[0]
    assert np.abs(read_audio(cuts["long-1"]) - whole[48_000:80_000]).max() < 1e-4
    items = cuts["long-1"].supervisions[0].alignment["phone"]
    assert [(item.symbol, round(item.start, 6), round(item.duration, 6)) for item in items] == [("HH", 0, 0.5), ("AH", 0.5, 1.5)]


def test_untranscribed_speech_is_chunked_for_spin_alone(tmp_path: Path, make_corpus):
    recording = record(tmp_path / "radio.wav", 90.0)
    cuts, reasons = read(make_corpus([cut_of(recording)]))
    assert not reasons and list(cuts) == ["radio-0000", "radio-0001", "radio-0002"]
    assert all(cut.duration == pytest.approx(30.0, abs=1e-3) for cut in cuts.values())
    assert {(cut.supervisions[0].text, cut.supervisions[0].speaker) for cut in cuts.values()} == {("", "radio")}
    spoken = cut_of(recording, supervise(recording, None, start=1.0, duration=3.0))
    assert [cut.supervisions[0].speaker for cut in read(make_corpus([spoken]))[0].values()] == ["spk"]
    for cut in (cut_of(recording), spoken):
        assert set(read(make_corpus([cut], "test"))[1].values()) == {"no transcript"}


@pytest.mark.parametrize(("duration", "pieces"), [(1.0, 1), (40.0, 1), (40.5, 2), (200.0, 5)])
def test_chunks_by_hand(duration: float, pieces: int):
    recording = Recording("r", [], 16_000, round(duration * 16_000), duration, channel_ids=[0])
    chunks = [chunk for chunk, _ in split_cut(recording.to_cut(), 40.0)]
    assert len(chunks) == pieces and sum(chunk.duration for chunk in chunks) == pytest.approx(duration)
    assert max(chunk.duration for chunk in chunks) <= 40.0 + 1e-3


def test_bad_utterances_are_named_and_the_rest_is_kept(tmp_path: Path, make_corpus):
    good = record(tmp_path / "good.wav")
    names = ("digits", "short", "gone", "silent", "overlap")
    recordings = [good, *(record(tmp_path / f"{name}.wav", 0.2 if name == "short" else 2.0) for name in names)]
    cuts = [cut_of(recording, supervise(recording)) for recording in recordings]
    cuts[1].supervisions[0].text = "ROOM 12"
    cuts[5].supervisions[0].alignment = {"phone": [AlignmentItem("A", 0.0, 1.0), AlignmentItem("B", 0.5, 1.0)]}
    (tmp_path / "gone.wav").unlink()
    soundfile.write(tmp_path / "silent.wav", np.zeros(32_000), 16_000)
    cuts += [PaddingCut("padding", 1.0, 16_000, -23.0, num_samples=16_000), cut_of(good, supervise(good)).with_id("a/b")]
    found, reasons = read(make_corpus(cuts, "test"), nj=2)
    assert list(found) == ["good"]
    starts = {
        "digits": "text: '1'",
        "short": "too short",
        "gone": "unreadable audio",
        "silent": "empty audio",
        "overlap": "invalid cut",
        "padding": "not a stretch of one recording",
        "a/b": "id 'a/b'",
    }
    assert reasons.keys() == starts.keys()
    assert all(reasons[name].startswith(start) for name, start in starts.items())


def test_manifest_missing_not_named_or_changed(tmp_path: Path, make_corpus):
    recording = record(tmp_path / "plain.wav")
    corpus = make_corpus([cut_of(recording, supervise(recording))])
    corpus.check(["a"], LOG)
    before = corpus.fingerprint("a")
    assert before["transcripts of a"] is False
    make_corpus([cut_of(recording, supervise(recording, "OTHER"))])
    assert corpus.fingerprint("a") != before
    with pytest.raises(ConfigError, match="corpus.manifests.b"):
        corpus.check(["b"], LOG)
    (tmp_path / "a.jsonl.gz").unlink()
    with pytest.raises(DataError, match="no such file"):
        corpus.check(["a"], LOG)


def test_stage_0_on_manifests(tmp_path: Path, make_context, prepare_data):
    texts = {"train": ["HELLO WORLD", "GOOD MORNING"], "dev": ["ONE LINE"], "test": ["IT IS A TEST"]}
    manifests = {}
    for part, sentences in texts.items():
        recordings = [record(tmp_path / f"{part}{number}.wav", rate=8_000) for number in range(len(sentences))]
        cuts = [cut_of(one, supervise(one, text, speaker=part)) for one, text in zip(recordings, sentences)]
        manifests[part] = str(tmp_path / f"{part}.jsonl")
        CutSet.from_cuts(cuts).to_file(manifests[part])
    context = prepare_data(make_context(None, kind="lhotse", manifests=manifests))
    assert artifacts.lm_text(context.corpus).read_text() == "HELLO WORLD\nGOOD MORNING\n"
    assert [cut.id for cut in CutSet.from_file(artifacts.cuts(context.corpus, "train"))] == ["train0", "train1"]
