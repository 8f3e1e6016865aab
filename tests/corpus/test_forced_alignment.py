"""Forced alignment on real speech: continuous, independent of order, resumable; and what cannot be aligned is said."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from spin import artifacts
from spin.corpus.align import ForcedAligner, Unalignable
from spin.corpus.alignment import PHONES
from spin.corpus.pronunciation import Dictionary
from spin.data.cuts import read_cuts
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


@pytest.mark.parametrize("seconds", [0.01, 0.1])
def test_too_little_audio_for_the_text(aligner: ForcedAligner, utterances, seconds: float):
    samples = generator("noise").normal(0, 500, int(seconds * 16_000)).astype(np.int16)
    with pytest.raises(Unalignable, match="finds no alignment"):
        aligner.align(samples, "HELLO WORLD AND ALL THAT IS IN IT")
    aligner.align(*utterances[0])  # a failure leaves the decoder in order


def test_stage_0_aligns_as_many_utterances_as_it_may(librispeech_dir: Path, make_context, prepare_data):
    """Interruptions: tests/corpus/test_prepare.py."""
    roles = {"spin_train": ("test-clean",), "asr_train": (), "valid": ("dev-clean",), "test": ()}
    context = make_context(librispeech_dir, alignment="auto", alignment_max_utterances=3, **roles)
    prepare_data(context)
    tiers = [cut.supervisions[0].alignment for cut in read_cuts(artifacts.cuts(context.corpus, "dev-clean"))]
    assert sum(bool(tier) and all(tier[name] for name in ("phone", "word")) for tier in tiers) == 3
    unaligned = list(read_jsonl(artifacts.unaligned(context.corpus, "dev-clean")))
    assert [record["reason"] for record in unaligned] == ["not among corpus.alignment_max_utterances"] * 5
