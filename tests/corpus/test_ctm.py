"""CTM files: there and back, comments and confidences, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem

from spin.corpus.ctm import read_ctm, write_ctm
from spin.errors import DataError


def test_by_hand(tmp_path: Path):
    path = tmp_path / "a.ctm"
    path.write_text(";; by hand\nu1 1 0.50 0.25 B\nu1 1 0.00 0.50 AA1 0.98\n\nu2 A 1 0.125 K\n")
    assert list(read_ctm(path)) == [
        ("u1", [AlignmentItem("AA1", 0.0, 0.5), AlignmentItem("B", 0.5, 0.25)]),
        ("u2", [AlignmentItem("K", 1.0, 0.125)]),
    ]
    assert write_ctm(tmp_path / "b.ctm", read_ctm(path)) == 2
    assert (tmp_path / "b.ctm").read_text() == "u1 1 0.00 0.50 AA1\nu1 1 0.50 0.25 B\nu2 1 1.00 0.125 K\n"


word = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=5).filter(
    lambda text: not text.startswith(";;")
)


@given(
    st.dictionaries(word, st.lists(st.tuples(st.integers(0, 9), st.integers(1, 99), word), min_size=1, max_size=5), max_size=4)
)
def test_there_and_back(tmp_path_factory, utterances):
    written = []
    for name, spans in utterances.items():
        at, items = 0, []
        for gap, length, symbol in spans:
            items.append(AlignmentItem(symbol, (at + gap) / 100, length / 100))
            at += gap + length
        written.append((name, items))
    path = tmp_path_factory.getbasetemp() / "any.ctm"
    assert write_ctm(path, written) == len(written)
    assert list(read_ctm(path)) == written


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("u1 1 0.0 0.5\n", "line 1"),
        ("u1 1 0.0 0.5 A 1 2\n", "line 1"),
        ("u1 1 0.0 0.5 A\nu1 1 x 0.5 A\n", "line 2"),
        ("u1 1 -1 0.5 A\n", "0 or more"),
        ("u1 1 0 nan A\n", "0 or more"),
        ("u1 1 0 inf A\n", "0 or more"),
        ("u1 1 0.0 0.5 A\nu1 1 0.4 0.5 B\n", "one after the other"),
        ("u1 1 0.0 0.5 A\nu1 2 0.5 0.5 B\n", "one channel"),
        ("u1 1 0.0 0.5 A\nu2 1 0 1 B\nu1 1 0.5 0.5 B\n", "two places"),
    ],
)
def test_damaged_files(tmp_path: Path, content: str, message: str):
    path = tmp_path / "bad.ctm"
    path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        list(read_ctm(path))
    assert "bad.ctm" in str(caught.value)


def test_no_file_and_other_encodings(tmp_path: Path):
    with pytest.raises(DataError, match="No such file"):
        list(read_ctm(tmp_path / "absent.ctm"))
    (tmp_path / "latin.ctm").write_bytes("u1 1 0 1 \u00e9\n".encode("latin-1"))
    with pytest.raises(DataError, match="utf-8"):
        list(read_ctm(tmp_path / "latin.ctm"))


@pytest.mark.parametrize(
    ("name", "item"),
    [
        ("a b", AlignmentItem("A", 0, 1)),
        ("", AlignmentItem("A", 0, 1)),
        (";;a", AlignmentItem("A", 0, 1)),
        ("a", AlignmentItem("", 0, 1)),
        ("a", AlignmentItem("A", -1, 1)),
        ("a", AlignmentItem("A", 0, float("nan"))),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, name: str, item: AlignmentItem):
    with pytest.raises(DataError):
        write_ctm(tmp_path / "a.ctm", [(name, [item])])
    assert not list(tmp_path.iterdir())
