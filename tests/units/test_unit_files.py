"""Unit files in the formats of other programs: by hand, any names and units, what a format cannot hold."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spin import artifacts
from spin.__main__ import main
from spin.data.cuts import read_cuts
from spin.errors import DataError
from spin.runtime.files import write_jsonl, write_text
from spin.units.runs import find_runs, read_sequences
from spin.units.unit_files import WRITERS, read_entries, write_fairseq_manifest

FRAMES = {"b-1": [3, 3, 3, 0], "a-1": [], "a.2": [7], "a-10": [11, 11, 2]}  # bytes: '-' before '.', '1' before '10'
UNITS = st.lists(st.integers(0, 11), max_size=8)


def entries(frames: dict, deduplicate: bool) -> list:
    return [(name, *find_runs(units)) if deduplicate else (name, units, None) for name, units in frames.items()]


@given(UNITS)
def test_runs_are_undone_by_repeating(units):
    runs, durations = find_runs(units)
    assert [unit for unit, count in zip(runs, durations, strict=True) for _ in range(count)] == units
    assert all(a != b for a, b in zip(runs, runs[1:])) and all(count >= 1 for count in durations)


def test_files_by_hand(tmp_path):
    for kind, write in WRITERS.items():
        write(tmp_path / kind, entries(FRAMES, True))
    texts = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
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


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Z", "Cc", "Cs"), exclude_characters="|"), min_size=1, max_size=8
)
PARSERS = {
    "kaldi": ("/text", lambda line: line.partition(" ")),
    "s3prl": (".txt", lambda line: line.partition("|")),
}


@pytest.mark.parametrize("kind", PARSERS)
@settings(max_examples=30)
@given(st.dictionaries(NAMES, UNITS, max_size=5))
def test_any_names_and_units_are_read_back(kind, frames):
    ending, parse = PARSERS[kind]
    with tempfile.TemporaryDirectory() as folder:
        WRITERS[kind](Path(folder) / "part", entries(frames, False))
        lines = Path(f"{folder}/part{ending}").read_text(encoding="utf-8").split("\n")[:-1]
    parsed = {name: [int(word) for word in units.split()] for name, _, units in map(parse, lines)}
    assert parsed == frames and len(lines) == len(frames)


@pytest.mark.parametrize(("kind", "name"), [("kaldi", "a b"), ("kaldi", "a\u2003b"), ("s3prl", "a|b"), ("s3prl", "a\nb")])
def test_names_that_a_format_cannot_hold(tmp_path, kind, name):
    with pytest.raises(DataError, match="in a name"):
        WRITERS[kind](tmp_path / "part", entries({"good": [1], name: [2]}, False))
    assert not list(tmp_path.iterdir())


def test_fairseq_manifest_names_the_audio(tmp_path, small_corpus):
    cuts = artifacts.cuts(small_corpus, "test")
    write_fairseq_manifest(tmp_path / "test", cuts, 3)
    root, *lines = (tmp_path / "test.tsv").read_text().splitlines()
    for line, cut in zip(lines, read_cuts(cuts), strict=True):
        name, samples = line.split("\t")
        assert (Path(root) / name).samefile(cut.recording.sources[0].source) and int(samples) == cut.num_samples
    assert (tmp_path / "dict.km.txt").read_text() == "0 1\n1 1\n2 1\n"


def test_fairseq_needs_whole_files(tmp_path, small_corpus):
    from spin.data.cuts import write_cuts

    cut = next(read_cuts(artifacts.cuts(small_corpus, "test"))).truncate(duration=0.5)
    write_cuts(tmp_path / "cuts.jsonl.gz", [cut])
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
    assert dict(read_sequences(path)) == FRAMES and next(read_entries(path, True)) == ("b-1", [3, 0], [3, 1])
    write_text(path, path.read_text() + line + "\n")
    with pytest.raises(DataError, match=BAD_RECORDS[line]) as caught:
        list(read_sequences(path))
    assert "record 5" in caught.value.subject


@pytest.mark.parametrize("kind", ["jsonl", "kaldi", "s3prl"])
def test_the_command(tmp_path, unit_experiment, kind, capsys):
    words = ["unit-files", "--exp", str(unit_experiment), "--format", kind, "--output", str(tmp_path / "out")]
    assert main([*words, "--deduplicate"]) == 0
    assert capsys.readouterr().out.count("30 utterances") == 2
    assert {path.stem.split(".")[0] for path in (tmp_path / "out").iterdir()} == {"train", "test"}
    assert main([*words, "--part", "absent"]) == 1 and "run stage 3" in capsys.readouterr().err
