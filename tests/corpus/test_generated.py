"""The embedded corpus: the same bytes every time, sentences of one pool only, phones that cover the audio."""

import collections
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from lhotse import MonoCut

from spin import artifacts
from spin.config import Config, CorpusConfig, GeneratedPart
from spin.corpus.generated import GeneratedCorpus, pool_of
from spin.corpus.grammar import POOLS, draw_sentence
from spin.corpus.parts import check_cut
from spin.corpus.text import is_normal
from spin.corpus.voices import FOLD, PHONES_OF, Engine, draw_voice, fold, segments, transmit
from spin.errors import ConfigError, DataError

PARTS = {"asr_train": GeneratedPart(500, 2, 3), "test": GeneratedPart(700, 2, 2)}  # the voice of 701 breathes: noise
CONFIG = Config(corpus=CorpusConfig(parts=PARTS, lm_sentences=5))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """(folder, cuts of each part)."""
    folder = tmp_path_factory.mktemp("corpus")
    return folder, {part: speak(folder, part, 2) for part in PARTS}


def speak(folder, part, nj) -> list[MonoCut]:
    return [MonoCut.from_dict(record["cut"]) for record in GeneratedCorpus(CONFIG, folder).read(part, nj)]


def audio(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*.flac"))}


def test_same_bytes_whatever_the_processes_the_other_speakers_and_interruptions(corpus, tmp_path):
    speak(tmp_path, "test", 1)
    again = audio(tmp_path)
    assert len(again) == 4
    assert all(audio(corpus[0])[path] == content for path, content in again.items())
    victim = artifacts.generated_audio(tmp_path) / "test" / "g0701.json"
    victim.unlink()  # the speaker's record is written last: without it the speaker is spoken again
    next(victim.parent.glob("g0701/*.flac")).write_bytes(b"half")
    speak(tmp_path, "test", 1)
    assert audio(tmp_path) == again


def test_manifest_keeps_the_contract(corpus):
    cuts = corpus[1]["test"]
    assert [cut.id for cut in cuts] == ["g0700-test-0000", "g0700-test-0001", "g0701-test-0000", "g0701-test-0001"]
    for cut in cuts:
        (supervision,) = cut.supervisions
        assert check_cut(cut) is None and supervision.text and supervision.speaker == cut.id.split("-")[0]
        samples, info = cut.load_audio(), soundfile.info(cut.recording.sources[0].source)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert samples.shape == (1, cut.num_samples)
        assert 0.01 < np.sqrt(np.mean(samples**2)) < 0.3 and np.abs(samples).max() < 1.0
        phones = supervision.alignment[artifacts.PHONE_TIER]
        assert phones[0].start == 0.0 and phones[-1].end == pytest.approx(cut.duration, abs=1e-4)
        for one, two in zip(phones, phones[1:]):
            assert one.end == pytest.approx(two.start, abs=1e-4)
        assert {phone.symbol for phone in phones} <= set(PHONES_OF)
        assert phones[0].symbol == phones[-1].symbol == artifacts.SILENCE


def test_speech_is_where_the_phones_say(corpus):
    """Frames labelled silence are at least 10 dB quieter than the rest, in every recording."""
    for cut in corpus[1]["asr_train"]:
        samples = cut.load_audio()[0]
        speech = np.ones(len(samples), bool)
        for phone in cut.supervisions[0].alignment[artifacts.PHONE_TIER]:
            if phone.symbol == artifacts.SILENCE:
                speech[int(phone.start * 16_000) : int(phone.end * 16_000)] = False
        level = 10 * np.log10(np.mean(samples[speech] ** 2) / np.mean(samples[~speech] ** 2))
        assert level > 10


def test_sentences_of_the_lm_are_training_text(corpus):
    sentences = list(GeneratedCorpus(CONFIG, corpus[0]).lm_sentences())
    assert len(sentences) == 5
    assert not set(sentences) & {cut.supervisions[0].text for cut in corpus[1]["test"]}


@given(st.integers(0, 10_000), st.integers(0, 1000))
def test_no_sentence_is_in_two_pools(speaker, number):
    drawn = {pool: draw_sentence(speaker, number, pool) for pool in POOLS}
    assert len(set(drawn.values())) == len(POOLS)
    assert all(drawn[pool] == draw_sentence(speaker, number, pool) for pool in POOLS)
    assert all(is_normal(text) for text in drawn.values())


def test_parts_get_the_pool_of_their_role_which_counts():
    assert GeneratedCorpus(CONFIG, None).fingerprint("test")["sentences of test"] == "test"
    pools = [pool_of(CONFIG, part) for part in ("test", "valid", "pretrain_valid", "asr_train", "spin_train", "pretrain")]
    assert pools == ["test", "valid", "valid", *["train"] * 3]


def test_voices_differ_and_depend_on_their_number_alone():
    voices = [draw_voice(index) for index in range(60)]
    assert len({voice.variant for voice in voices}) == 60 and len({voice.accent for voice in voices}) == 8
    assert draw_voice(7) == voices[7]
    assert collections.Counter(voice.gender for voice in voices).most_common()[-1][1] > 15


def test_undefined_part_and_unknown_mnemonic_are_named():
    with pytest.raises(ConfigError, match="corpus.parts.dev"):
        GeneratedCorpus(CONFIG, None).check(["test", "dev"], None)
    with pytest.raises(DataError, match="'Q5'"):
        fold("Q5")


def test_a_temporary_folder_that_programs_cannot_be_run_from_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.copy", lambda source, folder: (folder / "engine.so").write_bytes(b"") or folder / "engine.so")
    with pytest.raises(DataError, match="TMPDIR"):
        Engine(draw_voice(0), tmp_path)


def test_segments_by_hand():
    events = [("_:", 0), ("'E", 10), (";", 15), ("t#", 20), ("n", 20), ("_", 30), ("_:", 35)]
    assert segments(events, 40) == [("SIL", 0, 10), ("EH", 10, 20), ("N", 20, 30), ("SIL", 30, 40)]
    assert segments([], 5) == []
    assert len(PHONES_OF) == 40 and len(FOLD) == sum(len(names.split()) for names in PHONES_OF.values())  # each name once


@given(st.integers(1, 400), st.integers(0, 50), st.integers(0, 50), st.floats(0.0, 1.0))
def test_channel_keeps_length_and_range(samples, before, after, tilt):
    voice = replace(draw_voice(0), noise_tilt=tilt, level=0.9)
    spoken = np.random.default_rng(0).integers(-32768, 32767, samples).astype(np.int16)
    sent = transmit(spoken, 16_000, voice, np.random.default_rng(1), before, after)
    assert sent.dtype == np.int16 and len(sent) == samples + before + after and np.abs(sent.astype(int)).max() < 32768
