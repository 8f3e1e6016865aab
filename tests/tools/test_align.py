"""Alignments from one format into another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem

from spin.__main__ import main
from spin.corpus.abx_item import read_items
from spin.corpus.alignment import read_tsv
from spin.errors import DataError
from spin.runtime.files import write_jsonl
from spin.tools.align import Aligned, read_aligned, write_aligned


def item(symbol: str, start: float, end: float) -> AlignmentItem:
    return AlignmentItem(symbol, start, round(end - start, 6))


UTTERANCES = [
    Aligned(
        "7-1-0000", [item("SIL", 0, 0.1), item("HH", 0.1, 0.2), item("AH", 0.2, 0.35), item("L", 0.35, 0.4), item("OW", 0.4, 0.6)]
    ),
    Aligned("8-1-0000", [item("K", 0, 0.07), item("AE", 0.07, 0.2), item("T", 0.2, 0.25)]),
]
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
"b"
"TextTier"
"clicks"
0
1.5
1
0.4
"click"
"""


def spans(utterance: Aligned) -> list[tuple]:
    return [(one.symbol, round(one.start, 4), round(one.duration, 4)) for one in utterance.phones]


@given(st.lists(st.tuples(st.integers(1, 40), st.sampled_from(["AH", "K", "SIL"])), min_size=1, max_size=12))
def test_phones_without_gaps_survive_every_format(tmp_path_factory, phones):
    ends = (np.cumsum([length for length, _ in phones]) / 100).tolist()
    one = Aligned("u", [item(symbol, start, end) for start, end, (_, symbol) in zip([0.0, *ends], ends, phones)])
    expected = [symbol for length, symbol in phones for _ in range(length)]
    for name in ("a.tsv", "grids"):
        path = tmp_path_factory.getbasetemp() / name
        assert write_aligned(path, [*UTTERANCES, one]) == 3
        again = list(read_aligned(path))
        assert [utterance.id for utterance in again] == ["7-1-0000", "8-1-0000", "u"]
        assert [spans(utterance) for utterance in again[:2]] == [spans(utterance) for utterance in UTTERANCES]
        write_aligned(path.with_name("labels.tsv"), again[2:])
        assert list(read_tsv(path.with_name("labels.tsv"))) == [("u", expected)]


def test_chain_of_formats_from_a_manifest(tmp_path: Path):
    """cuts -> TextGrid -> TSV -> item: the same phones throughout, the words as long as a format holds them."""
    tiers = {"phone": [list(one) for one in UTTERANCES[0].phones], "word": [list(item("HELLO", 0.1, 0.6))]}
    cuts = [
        {"id": "7-1-0000", "supervisions": [{"speaker": "x", "alignment": tiers}]},
        {"id": "without", "supervisions": [{"speaker": "x"}]},
    ]
    source = tmp_path / "cuts_test.jsonl.gz"
    write_jsonl(source, cuts)
    steps = [tmp_path / "grids", tmp_path / "a.tsv", tmp_path / "a.item"]
    for before, after in zip([source, *steps], steps):
        assert main(["align", "--input", str(before), "--output", str(after)]) == 0
    (grid,) = read_aligned(steps[0])
    assert [word.symbol for word in grid.words] == ["HELLO"]
    (triphone, other) = read_items(steps[-1])
    assert (triphone.before, triphone.phone, triphone.after, triphone.speaker) == ("HH", "AH", "L", "7")
    assert (triphone.onset, triphone.offset, other.phone) == (0.1, 0.4, "L")
    main(["align", "--input", str(source), "--output", str(steps[-1]), "--items", "phoneme"])
    (phoneme, _) = read_items(steps[-1])
    assert (phoneme.onset, phoneme.offset, phoneme.speaker) == (0.2, 0.35, "x")


def test_stress_and_names_of_silence(tmp_path: Path):
    """As the Montreal Forced Aligner writes them: folders of speakers, stress, sp, spn and empty intervals."""
    folder = tmp_path / "grids" / "7" / "1"
    phones = [item("sp", 0, 0.1), item("AH0", 0.1, 0.3), item("spn", 0.35, 0.5)]
    write_aligned(folder, [Aligned("7-1-0000", phones, (item("a", 0.1, 0.6),))])
    (plain,) = read_aligned(tmp_path / "grids")
    assert [one.symbol for one in plain.phones] == ["SIL", "AH", "SIL", "SIL", "SIL"]
    (tmp_path / "grids" / "7-1-0000.TextGrid").write_bytes((folder / "7-1-0000.TextGrid").read_bytes())
    with pytest.raises(DataError, match="one file per utterance"):
        list(read_aligned(tmp_path / "grids"))


def test_a_ctm(tmp_path: Path):
    (tmp_path / "a.ctm").write_text("u 1 0.0 0.5 AA1 .9\n\nv 1 0.1 0.2 K\nu 1 0.5 0.25 B\n")
    one, other = read_aligned(tmp_path / "a.ctm")
    assert (one.id, spans(one), spans(other)) == ("u", [("AA", 0, 0.5), ("B", 0.5, 0.25)], [("K", 0.1, 0.2)])


@pytest.mark.parametrize("raw", [SHORT.encode(), SHORT.encode("utf-16"), SHORT.replace("\n", "\r\n").encode()])
def test_short_textgrid_with_a_point_tier(tmp_path: Path, raw: bytes):
    (tmp_path / "a.TextGrid").write_bytes(raw)
    (one,) = read_aligned(tmp_path / "a.TextGrid")
    assert spans(one) == [("AA", 0, 0.7), ("B", 0.7, 0.8)]


@pytest.mark.parametrize("ours", [True, False])
def test_against_praat(tmp_path: Path, ours: bool):
    """Praat reads what is written here, and what Praat writes is read here."""
    parselmouth = pytest.importorskip("parselmouth", reason="Praat (parselmouth) is not installed")
    call = parselmouth.praat.call
    if ours:
        write_aligned(tmp_path, UTTERANCES[:1])
        grid = parselmouth.Data.read(str(tmp_path / "7-1-0000.TextGrid"))
        labels = [call(grid, "Get label of interval", 1, index) for index in range(1, 6)]
        starts = [call(grid, "Get start time of interval", 1, index) for index in range(1, 6)]
        assert labels == [one.symbol for one in UTTERANCES[0].phones]
        assert starts == pytest.approx([one.start for one in UTTERANCES[0].phones])
        return
    grid = call("Create TextGrid", 0, 0.6, "phones clicks", "clicks")
    call(grid, "Insert boundary", 1, 0.25)
    call(grid, "Set interval text", 1, 2, "AH1")
    call(grid, "Save as text file", str(tmp_path / "a.TextGrid"))
    (one,) = read_aligned(tmp_path / "a.TextGrid")
    assert spans(one) == [("SIL", 0, 0.25), ("AH", 0.25, 0.35)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.TextGrid", ""),
        ("a.TextGrid", "hello"),
        ("a.TextGrid", SHORT.replace("phones", "segments")),
        ("a.TextGrid", SHORT[: SHORT.index("AA1") - 2]),
        ("a.TextGrid", SHORT.replace("0.7\n1.5", "0.5\n1.5")),
        ("a.TextGrid", SHORT.replace("0.7\n1.5", "x\n1.5")),
        ("a.ctm", "u1 1 0.0 0.5\n"),
        ("a.ctm", "u1 1 x 0.5 A\n"),
        ("a.ctm", "u1 1 0.0 0.5 A\nu1 1 0.4 0.5 B\n"),
        ("a.tsv", "no tab\n"),
        ("a.jsonl", "{torn"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=name):
        list(read_aligned(tmp_path / name))


def test_bad_paths_and_what_formats_cannot_hold(tmp_path: Path, capsys):
    for bad in ("a.wav", "a.item"):
        with pytest.raises(DataError, match=f"suffix {bad[1:]}"):
            list(read_aligned(bad))
    with pytest.raises(DataError, match="suffix .jsonl"):
        write_aligned("a.jsonl.gz", [])
    with pytest.raises(DataError, match="no TextGrid"):
        list(read_aligned(tmp_path))
    with pytest.raises(DataError, match="slash"):
        write_aligned(tmp_path / "grids", [Aligned("../a", UTTERANCES[0].phones)])
    with pytest.raises(DataError, match="blank"):
        write_aligned(tmp_path / "a.item", [Aligned("a b", UTTERANCES[0].phones)])
    assert main(["align", "--input", str(tmp_path / "no.jsonl"), "--output", str(tmp_path / "b.tsv")]) == 1
    assert "no such file" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.*"))
