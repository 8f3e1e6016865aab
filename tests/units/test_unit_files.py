"""Units as files: lines of JSON and their faults, units next to a manifest, text for other programs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spin import artifacts
from spin.__main__ import main
from spin.errors import DataError
from spin.runtime.files import read_jsonl, write_jsonl, write_text
from spin.units.unit_files import write_part
from spin.units.units import pair_cuts, read_units

FRAMES = {"b-1": [3, 3, 3, 0], "a-1": [], "a.2": [7], "a-10": [11, 11, 2]}  # bytes: '-' before '.', '1' before '10'
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "Cc", "Cs")), min_size=1, max_size=8)
BAD_RECORDS = {
    '{"id": "", "units": []}': "id ''",
    '{"id": "a", "units": [1, "2"]}': "units",
    '{"id": "a"}': "None",
    '{"id": "a", "units": [-1]}': "-1",
    '{"id": "a", "units": [true]}': "True",
    '{"id": "b-1", "units": []}': "again",
}


def write_lines(path: Path, frames: dict[str, list[int]]) -> Path:
    write_jsonl(path, ({"id": name, "units": units} for name, units in frames.items()))
    return path


@pytest.mark.parametrize("line", BAD_RECORDS)
def test_bad_records_are_named(tmp_path, line):
    path = write_lines(tmp_path / "units.jsonl", FRAMES)
    assert {name: units.tolist() for name, units in read_units(path)} == FRAMES
    write_text(path, path.read_text() + line + "\n")
    with pytest.raises(DataError, match=BAD_RECORDS[line]) as caught:
        list(read_units(path))
    assert "record 5" in caught.value.subject
    with pytest.raises(DataError, match="--stage 3 --stop-stage 3"):
        list(read_units(tmp_path / "absent.jsonl"))


@pytest.mark.parametrize(
    ("change", "found", "expected"),
    [
        (lambda lines: lines[:-1], "14 utterances", "the 15 of "),
        (lambda lines: [*lines, {"id": "one more", "units": [1]}], "16 utterances", "the 15 of "),
        (lambda lines: lines[::-1], "units of test-2-4", "those of test-0-0, as in "),
    ],
)
def test_units_of_other_utterances_than_the_manifest(tmp_path, finished, change, found, expected):
    manifest = artifacts.cuts_in(artifacts.features_folder(finished.exp, "spin", "test"))
    source = artifacts.units_lines(artifacts.units_folder(finished.exp, "spin", "test"))
    assert len(list(pair_cuts(manifest, source))) == 15
    write_jsonl(tmp_path / "units.jsonl", change(list(read_jsonl(source))))
    with pytest.raises(DataError) as caught:
        list(pair_cuts(manifest, tmp_path / "units.jsonl"))
    assert (caught.value.found, caught.value.expected) == (found, f"{expected}{manifest}")
    assert caught.value.remedy.startswith("./run.sh --stage 3 --stop-stage 3 --force")


def test_text_by_hand(tmp_path):
    lines = write_lines(tmp_path / "units.jsonl", FRAMES)
    assert write_part(tmp_path / "runs", lines, True) == write_part(tmp_path / "frames", lines, False) == 4
    texts = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.glob("*/*")}
    assert texts == {
        "runs/text": "a-1\na-10 11 2\na.2 7\nb-1 3 0\n",
        "runs/durations": "a-1\na-10 2 1\na.2 1\nb-1 3 1\n",
        "frames/text": "a-1\na-10 11 11 2\na.2 7\nb-1 3 3 3 0\n",
    }


@settings(max_examples=30)
@given(st.dictionaries(NAMES, st.lists(st.integers(0, 11), max_size=8), max_size=5))
def test_any_names_and_units_are_read_back(frames):
    with tempfile.TemporaryDirectory() as folder:
        write_part(Path(folder), write_lines(Path(folder) / "units.jsonl", frames), False)
        lines = (Path(folder) / "text").read_text(encoding="utf-8").split("\n")[:-1]
    parsed = (line.partition(" ") for line in lines)
    assert {name: [int(word) for word in units.split()] for name, _, units in parsed} == frames and len(lines) == len(frames)


@pytest.mark.parametrize("name", ["a b", "a\u2003b", "a\nb"])
def test_names_with_white_space_are_an_error(tmp_path, name):
    with pytest.raises(DataError, match="white space"):
        write_part(tmp_path / "part", write_lines(tmp_path / "units.jsonl", {"good": [1], name: [2]}), True)
    assert not (tmp_path / "part").exists()


def test_the_command(tmp_path, unit_experiment, capsys):
    words = ["unit-files", "--exp", str(unit_experiment), "--output", str(tmp_path)]
    assert main([*words, "--deduplicate"]) == 0
    assert capsys.readouterr().out.count("30 utterances") == 2
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.glob("*/*")} == {
        f"{part}/{name}" for part in ("train", "test") for name in ("text", "durations")
    }
    assert main([*words, "--part", "absent"]) == 1 and "--stage 3" in capsys.readouterr().err
