"""Forced alignment on real speech: continuous, independent of order, resumable; and what cannot be aligned is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from spin import artifacts
from spin.corpus import align
from spin.corpus.align import ForcedAligner, Unalignable
from spin.corpus.alignment import PHONES
from spin.corpus.pronunciation import Dictionary, default_model
from spin.runtime.files import read_jsonl
from spin.runtime.seeding import generator


@pytest.fixture(scope="module")
def aligner() -> ForcedAligner:
    return ForcedAligner()


@pytest.fixture(scope="module")
def utterances(librispeech_dir: Path) -> list[tuple[np.ndarray, str]]:
    found = []
    for path in sorted((librispeech_dir / "dev-clean").rglob("*.trans.txt")):
        for line in path.read_text().splitlines():
            identity, text = line.split(maxsplit=1)
            found.append((soundfile.read(str(path.parent / f"{identity}.flac"), dtype="int16")[0], text))
    return sorted(found, key=lambda utterance: len(utterance[0]))[:4]


def test_phones_cover_the_utterance_and_spell_its_words(aligner: ForcedAligner, utterances):
    for samples, text in utterances:
        phones, words = aligner.align(samples, text)
        assert [word.symbol for word in words] == text.split()
        assert {phone.symbol for phone in phones} <= {*PHONES, artifacts.SILENCE}
        assert phones[0].start == 0.0 and abs(phones[-1].end - len(samples) / 16_000) <= 0.03
        assert all(abs(first.end - second.start) < 1e-6 for first, second in zip(phones, phones[1:], strict=False))
        spoken = [phone for phone in phones if phone.symbol != artifacts.SILENCE]
        assert all(phone.duration >= 0.03 for phone in spoken)  # three states of a frame each
        assert {word.start for word in words} <= {phone.start for phone in spoken}
        # Silence is quieter than speech: a check of the times that knows nothing of the model.
        silent = np.ones(len(samples), bool)
        for phone in spoken:
            silent[int(phone.start * 16_000) : int(phone.end * 16_000)] = False
        energy = samples.astype(np.float64) ** 2
        assert energy[silent].mean() < 0.1 * energy[~silent].mean()


def test_result_does_not_depend_on_what_came_before(aligner: ForcedAligner, utterances):
    forwards = [aligner.align(*utterance) for utterance in utterances]
    fresh = ForcedAligner()
    backwards = [fresh.align(*utterance) for utterance in reversed(utterances)]
    assert forwards == backwards[::-1]


def test_unknown_word_is_named():
    """Without the letters: a dictionary and its rules alone."""
    with pytest.raises(Unalignable, match="no pronunciation: QXZZY RONICKY"):
        ForcedAligner(Dictionary()).align(np.zeros(16_000, np.int16), "HELLO RONICKY AND QXZZY")


@pytest.mark.skipif(default_model() is None, reason="gruut_lang_en or python-crfsuite is not installed")
def test_guessed_word_is_aligned(utterances):
    """A dictionary that lacks a word of real speech: its letters give it phones, within the time of the whole dictionary's."""
    samples, text = utterances[0]
    word = max(text.split(), key=len)
    whole = ForcedAligner().align(samples, text)[1]
    dictionary = Dictionary(g2p=default_model())
    aligner = ForcedAligner(dictionary)
    renamed = text.replace(word, f"{word}QXZ")  # of no dictionary
    dictionary.guess = lambda other: (default_model()(word),) if other == f"{word}QXZ" else ()
    phones, words = aligner.align(samples, renamed)
    assert [item.symbol for item in words] == renamed.split()
    index = text.split().index(word)
    assert abs(words[index].start - whole[index].start) < 0.1
    assert {item.symbol for item in phones} <= {*PHONES, artifacts.SILENCE}


@pytest.mark.parametrize("seconds", [0.01, 0.1])
def test_too_little_audio_for_the_text(aligner: ForcedAligner, utterances, seconds: float):
    samples = generator("noise").normal(0, 500, int(seconds * 16_000)).astype(np.int16)
    with pytest.raises(Unalignable, match="finds no alignment"):
        aligner.align(samples, "HELLO WORLD AND ALL THAT IS IN IT")
    aligner.align(*utterances[0])  # a failure leaves the decoder in order


def test_killed_alignment_goes_on_where_it_was(librispeech_dir: Path, make_context, prepare_data, monkeypatch):
    roles = {"spin_train": ("test-clean",), "asr_train": ("test-clean",), "valid": ("dev-clean",), "test": ("test-other",)}
    keys = {**roles, "alignment": "auto", "align_parts": "all", "alignment_max_utterances": 3}
    monkeypatch.setattr(align, "_PER_LINE", 1)
    whole, broken = make_context(librispeech_dir, "whole", **keys), make_context(librispeech_dir, "broken", **keys)
    prepare_data(whole)
    append, appended = align.append_jsonl, []

    def append_then_die(path, record):
        if len(appended) == 2:
            with open(path, "ab") as stream:
                stream.write(b'{"utterances": [{"id": "torn')
            raise KeyboardInterrupt
        appended.append(path)
        append(path, record)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(align, "append_jsonl", append_then_die)
        prepare_data(broken)
    prepare_data(broken)
    for part in ("test-clean", "dev-clean", "test-other"):
        assert artifacts.cuts(broken.corpus, part).read_bytes() == artifacts.cuts(whole.corpus, part).read_bytes()
    unaligned = list(read_jsonl(artifacts.unaligned(whole.corpus, "dev-clean")))
    assert [record["reason"] for record in unaligned] == ["not among corpus.alignment_max_utterances"] * 5
