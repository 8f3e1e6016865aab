"""TextGrids of the Montreal Forced Aligner as a TSV."""

import pytest

from spin.__main__ import main
from spin.errors import DataError
from spin.tools.align import read_folder, read_phones
from tests.corpus.layout import read_tsv

TIERS = """0 0.06 <exists> 2
"IntervalTier" "phones" 0 0.06 4
0 0.01 "sp" 0.01 0.03 "AA1" 0.03 0.05 "" 0.05 0.06 "b"
"TextTier" "clicks" 0 0.06 1
0.04 "click"
"""
GRID = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\n' + TIERS.replace(" ", "\n")


def test_a_folder_becomes_a_tsv(tmp_path, capsys):
    """By hand; folders of speakers, stress, sp, empty intervals, point tiers, and the encodings that Praat writes."""
    (tmp_path / "7" / "1").mkdir(parents=True)
    with pytest.raises(DataError, match="no TextGrid"):
        list(read_folder(tmp_path))
    raw = {"7-1-0000": GRID.encode(), "7-1-0001": GRID.encode("utf-16"), "7-1-0002": GRID.replace("\n", "\r\n").encode()}
    for name, content in raw.items():
        (tmp_path / "7" / "1" / f"{name}.TextGrid").write_bytes(content)
    assert main(["align", "--input", str(tmp_path), "--output", str(tmp_path / "a.tsv")]) == 0
    assert "3 utterance(s)" in capsys.readouterr().out
    assert list(read_tsv(tmp_path / "a.tsv")) == [(name, ["SIL", "AA", "AA", "SIL", "SIL", "B"]) for name in raw]
    (tmp_path / "7-1-0000.TextGrid").write_bytes(GRID.encode())
    with pytest.raises(DataError, match="one file per utterance"):
        list(read_folder(tmp_path))


def test_what_praat_writes(tmp_path):
    parselmouth = pytest.importorskip("parselmouth", reason="Praat (parselmouth) is not installed")
    call = parselmouth.praat.call
    grid = call("Create TextGrid", 0, 0.6, "phones clicks", "clicks")
    call(grid, "Insert boundary", 1, 0.25)
    call(grid, "Set interval text", 1, 2, "AH1")
    call(grid, "Save as text file", str(tmp_path / "a.TextGrid"))
    assert [tuple(phone[:3]) for phone in read_phones(tmp_path / "a.TextGrid")] == [("SIL", 0, 0.25), ("AH", 0.25, 0.35)]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "hello",
        GRID.replace("phones", "segments"),
        GRID[: GRID.index("0.05\n0.06")],
        GRID.replace("0.03\n0.05", "0.02\n0.05"),
        GRID.replace("0.03\n0.05", "x\n0.05"),
    ],
)
def test_damaged_files_are_named_and_nothing_is_written(tmp_path, capsys, content):
    (tmp_path / "a.TextGrid").write_text(content)
    assert main(["align", "--input", str(tmp_path), "--output", str(tmp_path / "a.tsv")]) == 1
    assert "a.TextGrid" in capsys.readouterr().err and not (tmp_path / "a.tsv").exists()
