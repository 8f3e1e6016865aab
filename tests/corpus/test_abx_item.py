"""ZeroSpeech .item files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem

from spin.corpus.abx_item import HEADER, Item, items_of, read_items, write_items
from spin.errors import DataError

WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp")), min_size=1, max_size=8)
MICROSECONDS = st.integers(0, 10**10)


@st.composite
def any_item(draw) -> Item:
    onset, length = draw(MICROSECONDS), draw(st.integers(1, 10**9))
    words = [draw(WORDS) for _ in range(5)]
    return Item(words[0], onset / 10**6, (onset + length) / 10**6, *words[1:])


def test_a_line_of_libri_light(tmp_path: Path):
    path = tmp_path / "dev-clean.item"
    path.write_text(HEADER + "\n6295-244435-0009 0.2925 0.4725 IH L NG 6295\n\n", encoding="utf-8")
    assert list(read_items(path)) == [Item("6295-244435-0009", 0.2925, 0.4725, "IH", "L", "NG", "6295")]
    copy = tmp_path / "copy.item"
    assert write_items(copy, read_items(path)) == 1
    assert copy.read_text() == HEADER + "\n6295-244435-0009 0.2925 0.4725 IH L NG 6295\n"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(any_item(), max_size=8))
def test_round_trip(tmp_path: Path, items: list[Item]):
    path = tmp_path / "any.item"
    assert write_items(path, items) == len(items)
    assert list(read_items(path)) == items


def test_columns_are_found_by_their_names(tmp_path: Path):
    """Other programs swap the neighbours, name the file otherwise, or add a column."""
    path = tmp_path / "a.item"
    path.write_text("\ufeff#file_ID onset offset #phone next-phone prev-phone speaker dur\nu 0.1 0.2 B c a s 0.1\r\n")
    assert list(read_items(path)) == [Item("u", 0.1, 0.2, "B", "a", "c", "s")]


BAD_FILES = {
    b"": "an empty line",
    b"u 0.1 0.2 B a c s\n": "line 1",  # no header
    b"#file onset offset #phone context talker\n": "context talker",
    b"\xff\xfe\x00": "UTF-8",
}
BAD_LINES = {
    "u 0.1 0.2 B a c": "line 2",
    "u 0.1 later B a c s": "0.1 later",
    "u 0.2 0.1 B a c s": "onset 0.2",
    "u 0.2 0.2 B a c s": "onset 0.2",
    "u -0.2 0.1 B a c s": "onset -0.2",
    "u nan 0.1 B a c s": "onset nan",
    "u 0.1 inf B a c s": "offset inf",
}
BAD_FILES |= {f"{HEADER}\n{line}\n".encode(): message for line, message in BAD_LINES.items()}


@pytest.mark.parametrize(("content", "message"), BAD_FILES.items())
def test_bad_files_are_named(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "bad.item"
    with pytest.raises(DataError, match="No such file"):
        list(read_items(path))
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        list(read_items(path))
    assert "bad.item" in error.value.subject


@pytest.mark.parametrize(("file", "offset", "phone"), [("a b", 1, "B"), ("u", 1, ""), ("u", 1e-7, "B")])
def test_what_cannot_be_written_leaves_no_file(tmp_path: Path, file: str, offset: float, phone: str):
    items = [Item("u", 0, 1, "B", "a", "c", "s"), Item(file, 0, offset, phone, "a", "c", "s")]
    with pytest.raises(DataError, match="item of"):
        write_items(tmp_path / "x.item", items)
    assert list(tmp_path.iterdir()) == []


def test_items_of_an_alignment():
    """K AE T silence, and S AH with a gap before it and N: one item of either kind."""
    spans = [("K", 0.0, 0.1), ("AE", 0.1, 0.05), ("T", 0.15, 0.1), ("SIL", 0.25, 0.1), ("S", 0.35, 0.1), ("AH", 0.5, 0.1)]
    alignment = [AlignmentItem(*span) for span in [*spans, ("N", 0.6, 0.1)]]
    (triphone,) = items_of("u", "s", alignment)
    assert triphone == Item("u", 0.0, 0.25, "AE", "K", "T", "s")
    (phoneme,) = items_of("u", "s", reversed(alignment), "phoneme")
    assert (phoneme.onset, round(phoneme.offset, 6)) == (0.1, 0.15)
    assert list(items_of("u", "s", alignment[:2])) == list(items_of("u", "s", [])) == []
