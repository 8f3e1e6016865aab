"""Unit files, ours and those of other programs: by hand, any names and units, what a format cannot hold."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spin import artifacts
from spin.__main__ import main
from spin.data.cuts import read_cuts, write_cuts
from spin.errors import DataError
from spin.runtime.files import write_jsonl, write_text
from spin.units.unit_files import FORMATS, read_entries, write_entries, write_fairseq_manifest
from spin.units.units import read_units

FRAMES = {"b-1": [3, 3, 3, 0], "a-1": [], "a.2": [7], "a-10": [11, 11, 2]}  # bytes: '-' before '.', '1' before '10'
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Z", "Cc", "Cs"), exclude_characters="|"), min_size=1, max_size=8
)
SEPARATORS = {"kaldi": ("/text", " "), "s3prl": (".txt", "|")}


def test_files_by_hand(tmp_path):
    write_jsonl(tmp_path / "units.jsonl", ({"id": name, "units": units} for name, units in FRAMES.items()))
    entries = read_entries(tmp_path / "units.jsonl", deduplicate=True)
    out = tmp_path / "out"
    for kind in FORMATS:
        write_entries(out / kind, entries, kind)
    texts = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*") if path.is_file()}
    first = json.loads(texts.pop("jsonl.jsonl").splitlines()[0])
    assert first == {"id": "b-1", "units": [3, 0], "durations": [3, 1]}
    assert texts == {
        "kaldi/text": "a-1\na-10 11 2\na.2 7\nb-1 3 0\n",
        "kaldi/durations": "a-1\na-10 2 1\na.2 1\nb-1 3 1\n",
        "s3prl.txt": "b-1|3 0\na-1|\na.2|7\na-10|11 2\n",
        "s3prl.durations.txt": "b-1|3 1\na-1|\na.2|1\na-10|2 1\n",
        "fairseq.km": "3 0\n\n7\n11 2\n",
        "fairseq.durations": "3 1\n\n1\n2 1\n",
    }


@pytest.mark.parametrize("kind", SEPARATORS)
@settings(max_examples=30)
@given(st.dictionaries(NAMES, st.lists(st.integers(0, 11), max_size=8), max_size=5))
def test_any_names_and_units_are_read_back(kind, frames):
    ending, separator = SEPARATORS[kind]
    with tempfile.TemporaryDirectory() as folder:
        write_entries(Path(folder) / "part", [(name, units, None) for name, units in frames.items()], kind)
        lines = Path(f"{folder}/part{ending}").read_text(encoding="utf-8").split("\n")[:-1]
    parsed = (line.partition(separator) for line in lines)
    assert {name: [int(word) for word in units.split()] for name, _, units in parsed} == frames and len(lines) == len(frames)


@pytest.mark.parametrize(("kind", "name"), [("kaldi", "a b"), ("kaldi", "a\u2003b"), ("s3prl", "a|b"), ("s3prl", "a\nb")])
def test_names_that_a_format_cannot_hold(tmp_path, kind, name):
    with pytest.raises(DataError, match="in a name"):
        write_entries(tmp_path / "part", [("good", [1], None), (name, [2], None)], kind)
    assert not list(tmp_path.iterdir())


def test_fairseq_manifest_names_the_audio_of_whole_files(tmp_path, small_corpus):
    cuts = artifacts.cuts(small_corpus, "test")
    write_fairseq_manifest(tmp_path / "test", cuts, 3)
    root, *lines = (tmp_path / "test.tsv").read_text().splitlines()
    for line, cut in zip(lines, read_cuts(cuts), strict=True):
        name, samples = line.split("\t")
        assert (Path(root) / name).samefile(cut.recording.sources[0].source) and int(samples) == cut.num_samples
    assert (tmp_path / "dict.km.txt").read_text() == "0 1\n1 1\n2 1\n"
    write_cuts(tmp_path / "cuts.jsonl.gz", [next(read_cuts(cuts)).truncate(duration=0.5)])
    with pytest.raises(DataError, match="whole audio file"):
        write_fairseq_manifest(tmp_path / "test", tmp_path / "cuts.jsonl.gz", 3)


BAD_RECORDS = {
    '{"id": "", "units": []}': "id ''",
    '{"id": "a", "units": [1, "2"]}': "units",
    '{"id": "a"}': "None",
    '{"id": "a", "units": [-1]}': "-1",
    '{"id": "a", "units": [true]}': "True",
    '{"id": "b-1", "units": []}': "again",
}


@pytest.mark.parametrize("line", BAD_RECORDS)
def test_bad_records_are_named(tmp_path, line):
    path = tmp_path / "units.jsonl"
    write_jsonl(path, ({"id": name, "units": units} for name, units in FRAMES.items()))
    assert {name: units.tolist() for name, units in read_units(path)} == FRAMES
    write_text(path, path.read_text() + line + "\n")
    with pytest.raises(DataError, match=BAD_RECORDS[line]) as caught:
        list(read_units(path))
    assert "record 5" in caught.value.subject
    with pytest.raises(DataError, match="run stage 3"):
        list(read_units(tmp_path / "absent.jsonl"))


@pytest.mark.parametrize("kind", ["jsonl", "kaldi", "s3prl"])
def test_the_command(tmp_path, unit_experiment, kind, capsys):
    words = ["unit-files", "--exp", str(unit_experiment), "--format", kind, "--output", str(tmp_path / "out")]
    assert main([*words, "--deduplicate"]) == 0
    assert capsys.readouterr().out.count("30 utterances") == 2
    assert {path.stem.split(".")[0] for path in (tmp_path / "out").iterdir()} == {"train", "test"}
    assert main([*words, "--part", "absent"]) == 1 and "run stage 3" in capsys.readouterr().err
