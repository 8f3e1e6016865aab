"""Units in the formats of others: what is written is read back the same, and damaged files are named."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spin import artifacts
from spin.__main__ import main
from spin.config import Config, CorpusConfig, SpinConfig
from spin.errors import DataError
from spin.runtime.files import write_jsonl, write_text
from spin.runtime.settings import dump_config
from spin.units.sequences import Entry, expand, read_entries, runs
from spin.units.shards import read_cuts
from spin.units.unit_export import restored, transformed
from spin.units.unit_files import read_entries_of, write_entries

FORMATS = ("jsonl", "kaldi", "s3prl", "fairseq")
UNITS = st.lists(st.integers(0, 11), max_size=30)


def entry(name: str, *symbols: int, durations: list[int] | None = None) -> Entry:
    return Entry(name, list(symbols), durations, (f"/corpus/{name}.flac", 1000 + len(symbols)))


ENTRIES = [entry("b-1", 3, 3, 3, 0), entry("a-1"), entry("a.2", 7), entry("a-10", 11, 11, 2)]


def by_name(entries, audio: bool = False) -> dict:
    return {one.id: (one.symbols, one.durations, *([one.audio] if audio else [])) for one in entries}


def test_runs_by_hand():
    assert runs([5, 5, 5, 2, 5]) == ([5, 2, 5], [3, 1, 1])
    assert runs([0]) == ([0], [1]) and runs([]) == ([], [])
    for units, durations in (([1, 2], [1]), ([], [1]), ([1], [0])):
        with pytest.raises(DataError, match="durations? "):
            expand("utterance", units, durations)


@given(UNITS)
def test_runs_are_lossless_and_as_short_as_can_be(units):
    values, durations = runs(units)
    assert expand("utterance", values, durations) == units
    assert all(one != other for one, other in zip(values, values[1:], strict=False)) and all(d >= 1 for d in durations)


@pytest.mark.parametrize("deduplicate", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_round_trip(tmp_path, kind, deduplicate):
    written = list(transformed(ENTRIES, deduplicate, None))
    assert write_entries(kind, tmp_path / "part", lambda: written, 12) == 4
    back = list(read_entries_of(kind, tmp_path / "part"))
    audio = kind == "fairseq"
    assert by_name(back, audio) == by_name(written, audio)
    if kind != "kaldi":
        assert [one.id for one in back] == [one.id for one in ENTRIES]
    assert by_name(restored(back, None)) == by_name(ENTRIES)


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Z", "Cc", "Cs"), exclude_characters="|"), min_size=1, max_size=8
)


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=30)
@given(st.dictionaries(NAMES, UNITS, max_size=5), st.booleans())
def test_any_names_and_units(kind, units, deduplicate):
    entries = [Entry(name, values, None, ("/x/y.wav", 5)) for name, values in units.items()]
    with tempfile.TemporaryDirectory() as folder:
        stem = Path(folder) / "part"
        write_entries(kind, stem, lambda: transformed(entries, deduplicate, None), 12)
        assert by_name(restored(read_entries_of(kind, stem), None)) == by_name(entries)


def test_files_by_hand(tmp_path):
    for kind in FORMATS:
        write_entries(kind, tmp_path / kind, lambda: transformed(ENTRIES, True, None), 12)
    assert (
        tmp_path / "kaldi" / "text"
    ).read_text() == "a-1\na-10 11 2\na.2 7\nb-1 3 0\n"  # bytes: '-' before '.', '1' before '10'
    assert (tmp_path / "kaldi" / "durations").read_text() == "a-1\na-10 2 1\na.2 1\nb-1 3 1\n"
    assert (tmp_path / "s3prl.txt").read_text() == "b-1|3 0\na-1|\na.2|7\na-10|11 2\n"
    assert (tmp_path / "s3prl.durations.txt").read_text() == "b-1|3 1\na-1|\na.2|1\na-10|2 1\n"
    assert (tmp_path / "fairseq.km").read_text() == "3 0\n\n7\n11 2\n"
    manifest = "/corpus\nb-1.flac\t1004\na-1.flac\t1000\na.2.flac\t1001\na-10.flac\t1003\n"
    assert (tmp_path / "fairseq.tsv").read_text() == manifest
    assert (tmp_path / "dict.km.txt").read_text() == "".join(f"{unit} 1\n" for unit in range(12))
    first = json.loads((tmp_path / "jsonl.jsonl").read_text().splitlines()[0])
    assert first == {"id": "b-1", "units": [3, 0], "durations": [3, 1]}


def test_fairseq_of_others_is_named_by_its_audio(tmp_path):
    write_entries("fairseq", tmp_path / "part", lambda: ENTRIES, 12)
    (tmp_path / "part.ids").unlink()
    assert by_name(read_entries_of("fairseq", tmp_path / "part")) == by_name(ENTRIES)


def test_frames_written_over_runs_are_read_as_frames(tmp_path):
    for kind in FORMATS:
        write_entries(kind, tmp_path / "part", lambda: transformed(ENTRIES, True, None), 12)
        write_entries(kind, tmp_path / "part", lambda: ENTRIES, 12)
        assert by_name(restored(read_entries_of(kind, tmp_path / "part"), None)) == by_name(ENTRIES)


@pytest.mark.parametrize(
    ("kind", "bad", "words"),
    [
        ("kaldi", entry("a b"), "' ' in a name"),
        ("kaldi", entry("a\u2003b"), "in a name"),
        ("s3prl", entry("a|b"), "'|' in a name"),
        ("fairseq", Entry("a\nb", [1], None, ("/x.wav", 5)), "in a name"),
        ("fairseq", Entry("x", [1]), "no audio file"),
        ("fairseq", Entry("x", [1], None, ("/a\tb.wav", 5)), "tab"),
        ("s3prl", entry("a", 12), "0 to 11"),
        ("jsonl", entry("a", 12), "0 to 11"),
        ("kaldi", entry("a", 1, durations=[1]), "some utterances only"),
    ],
)
def test_what_a_format_cannot_hold(tmp_path, kind, bad, words):
    with pytest.raises(DataError, match=words.replace("|", r"\|")):
        write_entries(kind, tmp_path / "part", lambda: [ENTRIES[0], bad], 12)
    assert not list(tmp_path.rglob(".tmp-*"))


BAD_LINES = {
    "jsonl": {"{": "JSON", "[]": "'id' None", '{"id": "", "units": []}': "'id' ''", '{"id": "a", "units": [1, "2"]}': "'2'",
              '{"id": "a"}': "None in 'units'", '{"id": "a", "units": [-1]}': "-1", '{"id": "a", "units": [true]}': "True",
              '{"id": "a", "units": [], "durations": 3}': "'durations'", '{"id": "b-1", "units": []}': "again"},
    "kaldi": {"a 1 x": "'x'", " 1 2": "utterance units", "": "utterance units", "b-1 4": "again", "a -1": "'-1'", "a ²": "'²'"},
    "s3prl": {"a 1 2": "utterance", "|1": "utterance", "a|1.5": "'1.5'", "b-1|1": "again"},
    "fairseq": {"1 x": "'x'", "1 2": "fewer lines"},
}  # fmt: skip
FILES = {"jsonl": "part.jsonl", "kaldi": "part/text", "s3prl": "part.txt", "fairseq": "part.km"}


@pytest.mark.parametrize(("kind", "line"), [(kind, line) for kind, lines in BAD_LINES.items() for line in lines])
def test_bad_lines_are_named(tmp_path, kind, line):
    write_entries(kind, tmp_path / "part", lambda: ENTRIES, 12)
    path = tmp_path / FILES[kind]
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DataError, match=BAD_LINES[kind][line]) as caught:
        list(read_entries_of(kind, tmp_path / "part"))
    assert path.stem in caught.value.subject and ("line 5" in caught.value.subject or kind == "fairseq")


@pytest.mark.parametrize("kind", FORMATS)
def test_missing_and_unreadable_files(tmp_path, kind):
    with pytest.raises(DataError, match="no such file"):
        list(read_entries_of(kind, tmp_path / "part"))
    path = tmp_path / FILES[kind]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=path.name):
        list(read_entries_of(kind, tmp_path / "part"))


@pytest.mark.parametrize("ending", [".tsv", ".ids", ".durations"])
@pytest.mark.parametrize("change", ["fewer", "more", "other"])
def test_fairseq_files_of_two_exports(tmp_path, ending, change):
    write_entries("fairseq", tmp_path / "part", lambda: transformed(ENTRIES, True, None), 12)
    path = tmp_path / f"part{ending}"
    lines = path.read_text().splitlines()
    lines = {"fewer": lines[:-1], "more": [*lines, "x.wav\t3" if ending == ".tsv" else "1"], "other": lines[1:2]}[change]
    write_text(path, "\n".join(lines) + "\n")
    with pytest.raises(DataError):
        list(restored(read_entries_of("fairseq", tmp_path / "part"), None))


def test_durations_of_other_units(tmp_path):
    write_entries("kaldi", tmp_path / "part", lambda: transformed(ENTRIES, True, None), 12)
    durations = tmp_path / "part" / "durations"
    durations.write_text(durations.read_text().replace("b-1", "c-1"))
    with pytest.raises(DataError, match="'c-1'"):
        list(read_entries_of("kaldi", tmp_path / "part"))


@pytest.fixture
def exp(tmp_path, small_corpus) -> Path:
    """An experiment after stage 3: units of both systems and both parts."""
    corpus = CorpusConfig(name="small", spin_train=("spin_train",), asr_train=("spin_train",), valid=(), test=("test",))
    config = Config(name="small", corpus=corpus, spin=SpinConfig(codebook_size=12))
    exp = tmp_path / "exp"
    write_text(artifacts.config_file(exp), dump_config(config))
    for system in artifacts.SYSTEMS:
        for part in ("spin_train", "test"):
            cuts = artifacts.units_cuts(exp, system, part)
            cuts.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(artifacts.cuts(small_corpus, part), cuts)
            lines = [
                {"id": cut.id, "units": [(i * 7 + len(system)) % 12 for i in range(20) for _ in range(i % 4)]}
                for cut in read_cuts(cuts)
            ]
            write_jsonl(artifacts.units_lines(exp, system, part), lines)
    return exp


@pytest.mark.parametrize("options", [[], ["--deduplicate"], ["--pieces", "20"]], ids=["frames", "runs", "pieces"])
@pytest.mark.parametrize("kind", FORMATS)
def test_the_command_and_back(tmp_path, exp, kind, options):
    folder, back = tmp_path / "files", tmp_path / "back.jsonl"
    assert main(["unit-files", "--exp", str(exp), "--format", kind, "--output", str(folder), *options]) == 0
    for system in artifacts.SYSTEMS:
        model = ["--pieces-model", str(folder / system / "pieces.model")] if "--pieces" in options else []
        words = ["unit-files", "--restore", str(folder / system / "test"), "--format", kind, "--output", str(back), *model]
        assert main(words) == 0
        assert by_name(read_entries(back)) == by_name(read_entries(artifacts.units_lines(exp, system, "test")))
        assert not model or len((folder / system / "pieces.model").read_bytes()) > 100


def test_the_command_on_a_file_of_units(tmp_path, exp):
    units = artifacts.units_lines(exp, "spin", "test")
    cuts = artifacts.units_cuts(exp, "spin", "test")
    words = ["unit-files", "--units", str(units), "--output", str(tmp_path), "--format"]
    assert main([*words, "s3prl", "--pieces", "15"]) == 0
    model = str(tmp_path / "pieces.model")
    assert main([*words, "kaldi", "--pieces-model", model]) == 0
    assert main([*words, "fairseq", "--cuts", str(cuts)]) == 0
    assert by_name(read_entries_of("fairseq", tmp_path / "units_test")) == by_name(read_entries(units))
    assert len(read_cut_lines(tmp_path / "units_test.tsv")) == len(list(read_cuts(cuts)))


def read_cut_lines(path: Path) -> list[Path]:
    root, *lines = path.read_text().splitlines()
    audio = [Path(root) / line.split("\t")[0] for line in lines]
    assert all(one.is_file() for one in audio)
    return audio


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--exp", "EXP", "--format", "kaldi", "--part", "dev"], "no part of this experiment"),
        (["--exp", "EXP", "--format", "kaldi", "--pieces", "12"], "more than 12"),
        (["--exp", "EXP", "--format", "kaldi", "--pieces-model", "EXP/config.yaml"], "config.yaml"),
        (["--exp", "EXP", "--format", "kaldi", "--pieces-model", "EXP/no.model"], "no such file"),
        (["--exp", "NO", "--format", "kaldi"], "NO"),
        (["--units", "EXP/no.jsonl", "--format", "kaldi"], "no such file"),
        (["--units", "UNITS", "--format", "fairseq"], "--cuts"),
        (["--units", "UNITS", "--format", "fairseq", "--cuts", "OTHER"], "made from"),
        (["--units", "UNITS", "--format", "fairseq", "--cuts", "EXP/no.gz"], "no such file"),
        (["--units", "UNITS", "--format", "kaldi", "--codebook-size", "3"], "0 to 2"),
        (["--restore", "EXP/none", "--format", "s3prl"], "no such file"),
    ],
)
def test_errors_of_the_command(tmp_path, exp, capsys, options, words):
    names = {
        "EXP": exp,
        "UNITS": artifacts.units_lines(exp, "spin", "test"),
        "OTHER": artifacts.units_cuts(exp, "spin", "spin_train"),
    }
    options = [
        next((option.replace(key, str(path)) for key, path in names.items() if option.startswith(key)), option)
        for option in options
    ]
    assert main(["unit-files", *options, "--output", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err


def test_units_of_a_part_that_stage_3_did_not_write(tmp_path, exp, capsys):
    artifacts.units_lines(exp, "baseline", "test").unlink()
    assert main(["unit-files", "--exp", str(exp), "--format", "jsonl", "--output", str(tmp_path / "out")]) == 1
    assert "run stage 3" in capsys.readouterr().err


@pytest.mark.parametrize("extra", [["--pieces", "9", "--pieces-model", "x"], ["--system", "other"], ["--units", "x"]])
def test_wrong_usage(exp, extra):
    with pytest.raises(SystemExit):
        main(["unit-files", "--exp", str(exp), "--format", "jsonl", "--output", "x", *extra])
