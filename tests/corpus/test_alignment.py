"""Alignments: labels, items and the TSV by hand, exact round trips, malformed files; and forced alignment of real speech."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.corpus.align import ForcedAligner, Unalignable
from spin.corpus.alignment import TsvIndex, items_from_labels, plain_phone, write_tsv
from spin.corpus.pronunciation import Dictionary
from spin.data.cuts import read_cuts
from spin.errors import DataError
from spin.runtime.files import read_jsonl
from spin.runtime.seeding import generator
from spin.units.units import frame_labels
from tests.corpus.layout import PHONES, read_tsv

LABELS = st.lists(st.sampled_from((*PHONES, "SIL")), min_size=1, max_size=300)


def test_plain_phone():
    symbols = ("AH0", "ow2", "K", " t ", "sil", "spn", "", "+NSN+", "<eps>")
    assert [plain_phone(symbol) for symbol in symbols] == ["AH", "OW", "K", "T", *["SIL"] * 5]


def test_labels_by_hand():
    # Centres lie at 5, 15, 25, 35, 45, 55 ms.
    items = [AlignmentItem("A", 0.006, 0.02), AlignmentItem("B", 0.036, 0.01)]
    assert frame_labels(items, 6) == ["SIL", "A", "A", "SIL", "B", "SIL"]
    assert frame_labels([AlignmentItem("A", 0.0, 9.0)], 2) == ["A", "A"]  # cut at the end
    assert frame_labels([], 3) == ["SIL"] * 3
    assert frame_labels([AlignmentItem("A", 0.0, 1.0)], 0) == []
    items = items_from_labels(["A", "A", "A", "B"])
    assert frame_labels(items, 2, shift=0.02) == ["A", "B"]  # centres at 10 and 30 ms; B starts at 30 ms


@given(LABELS)
def test_labels_to_items_and_back_is_exact(labels: list[str]):
    items = items_from_labels(labels)
    assert frame_labels(items, len(labels)) == labels
    pairs = zip(items, items[1:], strict=False)
    assert all(first.symbol != second.symbol and first.end == second.start for first, second in pairs)


@given(st.lists(st.tuples(st.sampled_from(("A", "B", "C")), st.floats(0, 0.05), st.floats(0.001, 0.2)), max_size=10))
def test_labels_equal_a_slow_oracle(steps: list[tuple[str, float, float]]):
    items, time = [], 0.0
    for symbol, gap, duration in steps:
        items.append(AlignmentItem(symbol, round(time + gap, 4), round(duration, 4)))
        time = items[-1].end
    expected = []
    for frame in range(100):
        centre = round((frame + 0.5) * 0.01, 6)
        expected.append(next((item.symbol for item in items if item.start <= centre < item.end), "SIL"))
    assert frame_labels(items, 100) == expected


@given(st.dictionaries(st.from_regex(r"[0-9]{1,4}-[0-9]{1,3}-[0-9]{4}", fullmatch=True), LABELS, max_size=8))
def test_tsv_round_trip_is_exact(tmp_path_factory, utterances: dict[str, list[str]]):
    path = tmp_path_factory.mktemp("tsv") / "a.tsv"
    assert write_tsv(path, utterances.items()) == len(utterances)
    assert read_tsv(path) == list(utterances.items())


def test_tsv_of_the_authors_loses_stress_and_bom_and_carriage_returns(tmp_path: Path):
    path = tmp_path / "dev-clean.tsv"
    path.write_bytes(b"\xef\xbb\xbf1-2-0000\tsil,AH0,AH0,K\r\n\r\n1-2-0001\tOW1,spn\r\n")
    assert read_tsv(path) == [("1-2-0000", ["SIL", "AH", "AH", "K"]), ("1-2-0001", ["OW", "SIL"])]


BAD_FILES = {
    **{f"1-2-0009\tAH\n{line}\n": "line 2" for line in ("no tab here", "1-2-0000\t", "\tAH,K", "1-2-0000\tAH\tK")},
    "1\tAH\n2\t\udcff\n": "line 2",  # not UTF-8
    "1\tAH\n1\tK\n": "line 2[\\s\\S]*a second time",
    None: "alignment_tsv",  # no file
}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.items())
def test_bad_files_and_lines_are_named(tmp_path: Path, content: str | None, message: str):
    path = tmp_path / "bad.tsv"
    if content is not None:
        path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=rf"bad\.tsv[\s\S]*{message}"):
        TsvIndex(path)


@pytest.mark.parametrize("utterance", [("a\tb", ["K"]), ("a", ["K,L"]), ("a", []), ("", ["K"]), ("a", [""])])
def test_what_a_tsv_cannot_hold_is_refused_and_leaves_no_file(tmp_path: Path, utterance):
    with pytest.raises(DataError):
        write_tsv(tmp_path / "a.tsv", [utterance])
    assert list(tmp_path.iterdir()) == []


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
    context = prepare_data(make_context(librispeech_dir, alignment="auto", alignment_max_utterances=3, **roles))
    tiers = [cut.supervisions[0].alignment for cut in read_cuts(artifacts.cuts(context.corpus, "dev-clean"))]
    assert sum(bool(tier) and all(tier[name] for name in ("phone", "word")) for tier in tiers) == 3
    unaligned = list(read_jsonl(artifacts.unaligned(context.corpus, "dev-clean")))
    assert [record["reason"] for record in unaligned] == ["not among corpus.alignment_max_utterances"] * 5
