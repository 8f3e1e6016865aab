"""Items, labels every 10 ms and the TSV: hand-computed cases, exact round trips, and malformed files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem

from spin.corpus.alignment import PHONES, TsvIndex, items_from_labels, plain_phone, read_tsv, write_tsv
from spin.errors import DataError
from spin.units.units import frame_labels

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
    assert list(read_tsv(path)) == list(utterances.items())
    index = TsvIndex(path)
    assert all(identity in index and index.labels(identity) == labels for identity, labels in utterances.items())


def test_tsv_of_the_authors_loses_stress_and_bom_and_carriage_returns(tmp_path: Path):
    path = tmp_path / "dev-clean.tsv"
    path.write_bytes(b"\xef\xbb\xbf1-2-0000\tsil,AH0,AH0,K\r\n\r\n1-2-0001\tOW1,spn\r\n")
    assert list(read_tsv(path)) == [("1-2-0000", ["SIL", "AH", "AH", "K"]), ("1-2-0001", ["OW", "SIL"])]
    assert TsvIndex(path).labels("1-2-0000") == ["SIL", "AH", "AH", "K"]
    assert TsvIndex(path).labels("1-2-0001") == ["OW", "SIL"]


@pytest.mark.parametrize("line", ["no tab here", "1-2-0000\t", "\tAH,K", "1-2-0000\tAH\tK"])
def test_malformed_line_is_named(tmp_path: Path, line: str):
    path = tmp_path / "bad.tsv"
    path.write_text(f"1-2-0009\tAH\n{line}\n")
    with pytest.raises(DataError, match=r"bad\.tsv line 2"):
        list(read_tsv(path))


def test_bad_files(tmp_path: Path):
    with pytest.raises(DataError, match="alignment_tsv"):
        list(read_tsv(tmp_path / "absent.tsv"))
    (tmp_path / "latin.tsv").write_bytes(b"1\tAH\n2\t\xff\n")
    with pytest.raises(DataError, match="line 2"):
        TsvIndex(tmp_path / "latin.tsv")
    (tmp_path / "twice.tsv").write_text("1\tAH\n1\tK\n")
    with pytest.raises(DataError, match="a second time"):
        TsvIndex(tmp_path / "twice.tsv")


@pytest.mark.parametrize("utterance", [("a\tb", ["K"]), ("a", ["K,L"]), ("a", []), ("", ["K"]), ("a", [""])])
def test_what_a_tsv_cannot_hold_is_refused_and_leaves_no_file(tmp_path: Path, utterance):
    with pytest.raises(DataError):
        write_tsv(tmp_path / "a.tsv", [utterance])
    assert list(tmp_path.iterdir()) == []
