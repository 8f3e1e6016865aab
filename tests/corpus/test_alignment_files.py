"""Alignments from one format into another, and the two commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.__main__ import main
from spin.corpus import align_cli
from spin.corpus.alignment import read_tsv
from spin.corpus.alignment_files import Aligned, Writing, format_of, read_aligned, write_aligned
from spin.corpus.item import read_items
from spin.corpus.textgrid import Tier, read_textgrid, write_textgrid
from spin.errors import DataError
from spin.runtime.files import read_jsonl, write_jsonl


def item(symbol: str, start: float, end: float) -> AlignmentItem:
    return AlignmentItem(symbol, start, round(end - start, 6))


UTTERANCES = [
    Aligned(
        "7-1-0000", [item("SIL", 0, 0.1), item("HH", 0.1, 0.2), item("AH", 0.2, 0.35), item("L", 0.35, 0.4), item("OW", 0.4, 0.6)]
    ),
    Aligned("8-1-0000", [item("K", 0, 0.07), item("AE", 0.07, 0.2), item("T", 0.2, 0.25)]),
]


@pytest.mark.parametrize("kind", ["tsv", "ctm", "textgrid"])
def test_there_and_back(tmp_path: Path, kind: str):
    path = tmp_path / {"tsv": "a.tsv", "ctm": "a.ctm", "textgrid": "grids"}[kind]
    assert format_of(path) == kind
    assert write_aligned(path, kind, UTTERANCES) == 2
    assert list(read_aligned(path, kind)) == UTTERANCES


def test_chain_of_formats_from_a_manifest(tmp_path: Path):
    """cuts -> TextGrid -> CTM -> TSV -> item: the same phones throughout, the words as long as a format holds them."""
    words = [item("HELLO", 0.1, 0.6)]
    cuts = [
        {
            "id": one.id,
            "supervisions": [
                {"speaker": "x", "alignment": {"phone": [list(i) for i in one.phones], "word": [list(i) for i in words]}}
            ],
        }
        for one in UTTERANCES[:1]
    ]
    cuts.append({"id": "without", "supervisions": [{"speaker": "x"}]})
    source = tmp_path / "cuts_test.jsonl.gz"
    write_jsonl(source, cuts)
    steps = [tmp_path / "grids", tmp_path / "a.ctm", tmp_path / "a.tsv", tmp_path / "a.item"]
    for before, after in zip([source, *steps], steps):
        assert main(["convert-alignments", "--input", str(before), "--output", str(after)]) == 0
    assert [tier.name for tier in read_textgrid(steps[0] / "7-1-0000.TextGrid")] == ["phones", "words"]
    (triphone, other) = read_items(steps[-1])
    assert (triphone.before, triphone.phone, triphone.after, triphone.speaker) == ("HH", "AH", "L", "7")
    assert (triphone.onset, triphone.offset, other.phone) == (0.1, 0.4, "L")
    main(["convert-alignments", "--input", str(source), "--output", str(steps[-1]), "--items", "phoneme"])
    (phoneme, _) = read_items(steps[-1])
    assert (phoneme.onset, phoneme.offset, phoneme.speaker) == (0.2, 0.35, "x")


def test_stress_and_names_of_silence(tmp_path: Path):
    """As the Montreal Forced Aligner writes them: folders of speakers, stress, sp, spn and empty intervals."""
    folder = tmp_path / "grids" / "7" / "1"
    folder.mkdir(parents=True)
    phones = (item("sp", 0, 0.1), item("AH0", 0.1, 0.3), item("spn", 0.35, 0.5))
    write_textgrid(folder / "7-1-0000.TextGrid", [Tier("phones", phones), Tier("words", ())], 0.6)
    (plain,) = read_aligned(tmp_path / "grids", "textgrid")
    assert [one.symbol for one in plain.phones] == ["SIL", "AH", "SIL", "SIL", "SIL"] and plain.words == ()
    (kept,) = read_aligned(tmp_path / "grids", "textgrid", keep_stress=True)
    assert [one.symbol for one in kept.phones] == ["SIL", "AH0", "SIL", "SIL", "SIL"]
    with pytest.raises(DataError, match="'segments'"):
        list(read_aligned(tmp_path / "grids", "textgrid", tier="segments"))
    (tmp_path / "grids" / "7-1-0000.TextGrid").write_bytes((folder / "7-1-0000.TextGrid").read_bytes())
    with pytest.raises(DataError, match="one file an utterance"):
        list(read_aligned(tmp_path / "grids", "textgrid"))


def test_bad_paths_and_formats(tmp_path: Path, capsys):
    with pytest.raises(DataError, match=r"\.wav"):
        format_of("a.wav")
    with pytest.raises(DataError, match="format item"):
        list(read_aligned("a.item", "item"))
    with pytest.raises(DataError, match="format cuts"):
        write_aligned("a.jsonl.gz", "cuts", [])
    with pytest.raises(DataError, match="no TextGrid"):
        list(read_aligned(tmp_path, "textgrid"))
    with pytest.raises(DataError, match="slashes"):
        write_aligned(tmp_path / "grids", "textgrid", [Aligned("../a", UTTERANCES[0].phones)])
    with pytest.raises(DataError, match="blank"):
        write_aligned(tmp_path / "a.item", "item", UTTERANCES[:1], Writing(lambda identity: ""))
    (tmp_path / "cuts.jsonl").write_text('{"id": "a"}\n')
    assert main(["convert-alignments", "--input", str(tmp_path / "cuts.jsonl"), "--output", str(tmp_path / "b.tsv")]) == 1
    assert "manifest of stage 0" in capsys.readouterr().err
    assert main(["convert-alignments", "--input", str(tmp_path / "no.jsonl"), "--output", str(tmp_path / "b.tsv")]) == 1
    assert "no such file" in capsys.readouterr().err
    assert not (tmp_path / "b.tsv").exists()


def test_texts(tmp_path: Path):
    path = tmp_path / "text"
    path.write_text("a  one two\n\nb\n")
    assert align_cli.read_texts(path) == {"a": "one two", "b": ""}
    path.write_text("a one\na two\n")
    with pytest.raises(DataError, match="second time"):
        align_cli.read_texts(path)
    with pytest.raises(DataError, match="No such file"):
        align_cli.read_texts(tmp_path / "absent")


def test_align_real_speech(librispeech_dir: Path, tmp_path: Path, capsys):
    """Two utterances of real speech, one at another rate and in stereo; a text with a digit and one that is absent are named."""
    spoken = [
        (*line.split(maxsplit=1), path.parent)
        for path in sorted((librispeech_dir / "dev-clean").rglob("*.trans.txt"))
        for line in path.read_text().splitlines()
    ]
    found = sorted(spoken, key=lambda one: len(one[1]))[:2]
    for name, _, folder in found:
        audio, rate = soundfile.read(folder / f"{name}.flac")
        soundfile.write(tmp_path / f"{name}.wav", np.repeat(np.stack([audio, audio], 1), 2, axis=0), 2 * rate)
    soundfile.write(tmp_path / "digit.wav", np.zeros(16_000), 16_000)
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    (tmp_path / "text").write_text(
        "".join(f"{name} {words.capitalize()}.\n" for name, words, _ in found) + "digit 5\nbroken hello\n"
    )
    files = [str(tmp_path / f"{name}.wav") for name in (found[0][0], "digit", found[1][0], "broken")]
    arguments = ["align", "--text", str(tmp_path / "text"), "--rejects", str(tmp_path / "rejects.jsonl"), "--audio"]
    assert main([*arguments, *files, "--output", str(tmp_path / "a.tsv")]) == 0
    assert [name for name, _ in read_tsv(tmp_path / "a.tsv")] == [found[0][0], found[1][0]]
    rejects = {record[artifacts.REJECT_ID]: record[artifacts.REJECT_REASON] for record in read_jsonl(tmp_path / "rejects.jsonl")}
    assert set(rejects) == {"digit", "broken"} and "'5'" in rejects["digit"] and "audio" in rejects["broken"]
    assert "digit" in capsys.readouterr().err
    assert main([*arguments, files[0], "--output", str(tmp_path / "grids")]) == 0
    _, words = read_textgrid(tmp_path / "grids" / f"{found[0][0]}.TextGrid")
    assert " ".join(one.symbol for one in words.items if one.symbol) == found[0][1].strip()
    assert main([*arguments, files[1], "--output", str(tmp_path / "none.tsv")]) == 1
    assert not (tmp_path / "none.tsv").exists() and json.loads((tmp_path / "rejects.jsonl").read_text())
    assert main([*arguments, str(tmp_path / "other.wav"), "--output", str(tmp_path / "none.tsv")]) == 1
    assert "no line of other" in capsys.readouterr().err
