"""TextGrid files: both formats and encodings, there and back; files of Praat's own writing; what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem

from spin.corpus.textgrid import Tier, read_textgrid, tier_named, write_textgrid
from spin.errors import DataError

PHONES = Tier(
    "phones", (AlignmentItem("HH", 0.1, 0.05), AlignmentItem("AH0", 0.15, 0.1), AlignmentItem('a "quoted" \u0259', 0.3, 0.2))
)
WORDS = Tier("words", (AlignmentItem("hello ! <there> 3", 0.1, 0.4),))
SHORT = """File type = "ooTextFile"
Object class = "TextGrid"

0
1.5
<exists>
2
"IntervalTier"
"phones"
0
1.5
2
0
0.7
"AA1"
0.7
1.5
"a ""b"" c"
"TextTier"
"clicks"
0
1.5
1
0.4
"click"
"""


def spoken(tier: Tier) -> list[tuple]:
    return [(item.symbol, round(item.start, 6), round(item.duration, 6)) for item in tier.items if item.symbol]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("short", [True, False])
def test_there_and_back(tmp_path: Path, short: bool, encoding: str):
    path = tmp_path / "a.TextGrid"
    write_textgrid(path, [PHONES, WORDS], 0.6, short=short, encoding=encoding)
    phones, words = read_textgrid(path)
    assert (phones.name, words.name) == ("phones", "words")
    assert spoken(phones) == spoken(PHONES) and spoken(words) == spoken(WORDS)
    assert phones.items[0].symbol == "" and phones.items[-1].end == pytest.approx(0.6)  # gaps are intervals without text
    assert path.read_bytes().startswith(b"\xff\xfe" if encoding == "utf-16" else b"File")


@pytest.mark.parametrize(
    "raw", [SHORT.encode(), SHORT.encode("utf-8-sig"), SHORT.encode("utf-16"), SHORT.replace("\n", "\r\n").encode()]
)
def test_short_file_with_a_point_tier(tmp_path: Path, raw: bytes):
    path = tmp_path / "a.TextGrid"
    path.write_bytes(raw)
    (tier,) = read_textgrid(path)
    assert tier == Tier("phones", (AlignmentItem("AA1", 0, 0.7), AlignmentItem('a "b" c', 0.7, 0.8)))


@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("ours", [True, False])
def test_against_praat(tmp_path: Path, ours: bool, short: bool):
    """Praat reads what is written here, and what Praat writes is read here."""
    parselmouth = pytest.importorskip("parselmouth", reason="Praat (parselmouth) is not installed")
    call, path = parselmouth.praat.call, tmp_path / "a.TextGrid"
    if ours:
        write_textgrid(path, [PHONES, WORDS], 0.6, short=short)
        grid = parselmouth.Data.read(str(path))
        for number, tier in enumerate((PHONES, WORDS), 1):
            count = call(grid, "Get number of intervals", number)
            labels = [call(grid, "Get label of interval", number, index) for index in range(1, count + 1)]
            starts = [call(grid, "Get start time of interval", number, index) for index in range(1, count + 1)]
            assert [label for label in labels if label] == [item.symbol for item in tier.items]
            assert [start for start, label in zip(starts, labels) if label] == pytest.approx([item.start for item in tier.items])
        return
    grid = call("Create TextGrid", 0, 0.6, "phones clicks", "clicks")
    call(grid, "Insert boundary", 1, 0.25)
    call(grid, "Set interval text", 1, 2, 'schwa "\u0259"')
    call(grid, "Insert point", 2, 0.3, "click")
    call(grid, "Save as short text file" if short else "Save as text file", str(path))
    (tier,) = read_textgrid(path)
    assert spoken(tier) == [('schwa "\u0259"', 0.25, 0.35)] and tier.items[0].symbol == ""


symbols = st.text(st.characters(codec="utf-8", exclude_characters="\r", exclude_categories=("Cs",)), min_size=1, max_size=6)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50), symbols), max_size=8),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-16"]),
)
def test_any_texts_and_gaps(tmp_path_factory, intervals, short, encoding):
    at, items = 0, []
    for gap, length, symbol in intervals:
        items.append(AlignmentItem(symbol, (at + gap) / 100, length / 100))
        at += gap + length
    path = tmp_path_factory.getbasetemp() / "any.TextGrid"
    tier = Tier('a "tier"', tuple(items))
    write_textgrid(path, [tier], at / 100 + 0.5, short=short, encoding=encoding)
    (found,) = read_textgrid(path)
    assert found.name == tier.name and spoken(found) == spoken(tier)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "end of the file"),
        ("hello", "end of the file"),
        ('File type = "ooTextFile"\nObject class = "Sound"\n', "Sound"),
        (SHORT[: SHORT.index("AA1") - 2], "a text of 'phones'"),
        (SHORT[:-2], "closing quote"),
        (SHORT.replace("0.7\n1.5", "0.5\n1.5"), "one after the other"),
        (SHORT.replace("0.7\n1.5", "0.7\n0.6"), "one after the other"),
        (SHORT.replace("0\n1.5\n2\n0", "0\n1.5\n1000000000000\n0"), "number"),
        (SHORT.replace("0\n1.5\n2\n0", "0\n1.5\n-2\n0"), "whole number"),
        (SHORT.replace("0\n1.5\n2\n0", "0\n1.5\n1.5\n0"), "whole number"),
        (SHORT.replace("IntervalTier", "PitchTier"), "PitchTier"),
        (SHORT.replace("0.7\n1.5", "0.7\n1e999"), "one after the other"),
    ],
)
def test_damaged_files(tmp_path: Path, content: str, message: str):
    path = tmp_path / "bad.TextGrid"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message) as caught:
        read_textgrid(path)
    assert "bad.TextGrid" in str(caught.value)


def test_no_file_and_other_encodings(tmp_path: Path):
    with pytest.raises(DataError, match="No such file"):
        read_textgrid(tmp_path / "absent.TextGrid")
    path = tmp_path / "latin.TextGrid"
    path.write_bytes(SHORT.replace("AA1", "\u00e9").encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        read_textgrid(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-16"):
        read_textgrid(path)


def test_file_without_tiers(tmp_path: Path):
    path = tmp_path / "none.TextGrid"
    path.write_text('File type = "ooTextFile"\nObject class = "TextGrid"\n0\n1\n<absent>\n')
    assert read_textgrid(path) == []
    with pytest.raises(DataError, match="none"):
        tier_named([], "phones", path)
    assert tier_named([PHONES, WORDS], "Words", path) is WORDS
    with pytest.raises(DataError, match="'phones' 'phones'"):
        tier_named([PHONES, PHONES], "phones", path)


@pytest.mark.parametrize(
    ("items", "end"),
    [
        ([AlignmentItem("A", 0.0, 0.5), AlignmentItem("B", 0.4, 0.5)], 1.0),
        ([AlignmentItem("A", 0.0, 1.5)], 1.0),
        ([AlignmentItem("A", 0.5, 0.0)], 1.0),
        ([], 0.0),
        ([], float("nan")),
    ],
)
def test_what_cannot_be_written(tmp_path: Path, items, end):
    with pytest.raises(DataError):
        write_textgrid(tmp_path / "a.TextGrid", [Tier("phones", tuple(items))], end)
    assert not list(tmp_path.iterdir())
