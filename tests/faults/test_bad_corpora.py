"""Bad corpora: each is an error of stage 0 that says what and where, or something that must not disturb it."""

import gzip
from pathlib import Path

import pytest

from tests.faults.layouts import OPTIONS, Change, change_bytes, each, instead, remove, restore_modes, small_corpus, write_chapter
from tests.faults.stage_server import StageServer
from tests.rights import without_privilege


def one_speaker(root: Path) -> None:
    for chapter, part in enumerate(("train", "dev", "test")):
        remove(root / part)
        write_chapter(root / part, "7", str(chapter), ["HELLO", "GOOD DAY"])


def without_words(root: Path) -> None:
    for path in root.rglob("*.trans.txt"):
        path.write_text("".join(f"{line.split()[0]} ...\n" for line in path.read_text().splitlines()))


def transcripts(change: Change) -> Change:
    """Changes the transcript file of one chapter of two utterances."""
    return each("train/1034/7/1034-7.trans.txt", change)


ALL, SHARED = "corpus.max_bad_share=0.9", "corpus.allow_shared_speakers=true"
A_FLAC = "LibriSpeech/train/103/1240/103-1240-0000.flac"
# name -> change of small_corpus, a regular expression that the message must contain ("" where the stage must end well), settings
KINDS: dict[str, tuple] = {
    "no such folder": (remove, "no such folder[\\s\\S]*--corpus-dir"),
    "a file in its place": (instead(Path.touch), "no such folder"),
    "empty corpus": (instead(Path.mkdir), "parts there: none"),
    "part without speakers": (each("dev", instead(Path.mkdir)), "no dev; parts there: test, train"),
    "part without audio": (each("dev/*/*/*.flac", Path.unlink), "part dev[\\s\\S]*no usable", ALL),
    "one speaker only": (one_speaker, "speaker 7 in train and dev"),
    "no transcript has a word": (without_words, "8 x no transcript"),
    "too many bad utterances": (each("dev/*/*/*.flac", change_bytes(lambda _: b"")), "2 of 8 utterances[\\s\\S]*--stop-stage 0"),
    "an id in two parts": (lambda root: write_chapter(root / "dev", "103", "1240", ["A"]), "the same id in part train", SHARED),
    "link to the part itself": (lambda root: (root / "train/loop").symlink_to(".."), ""),
    "links in a circle": (lambda root: [(root / f"train/103/{a}").symlink_to(b) for a, b in ("xy", "yx")], ""),
    "chapter twice by a link": (lambda root: (root / "train/103/99").symlink_to("1240"), "", ALL),
    "folders with a space and a line feed": (lambda root: write_chapter(root / "train", "10 3", "1\n2", ["A"]), "", ALL),
    "speaker folder with a dash": (
        lambda root: write_chapter(root / "train", "spk-0700", "1", ["A", "B"]),
        "2 x a dash in the name of the speaker folder; for example spk-0700-1-0000",
    ),
    "chapter folder with a dash": (
        lambda root: write_chapter(root / "train", "7", "a-1", ["A", "B"]),
        "2 x a dash in the name of the chapter folder; for example 7-a-1-0000",
    ),
    "unreadable chapter": (lambda root: (root / "train/103/1240").chmod(0), "103/1240[\\s\\S]*Permission denied"),
    "unreadable part": (lambda root: (root / "train").chmod(0), "Permission denied"),
    "unreadable corpus": (lambda root: root.chmod(0), "Permission denied"),
    "unreadable transcripts": (transcripts(lambda path: path.chmod(0)), "2 x transcripts? .*unreadable"),
    "transcripts are a folder": (transcripts(instead(Path.mkdir)), "2 x transcripts? .*unreadable"),
    "transcripts are a link to themselves": (
        transcripts(instead(lambda path: path.symlink_to(path.name))),
        "2 x transcripts? .*unreadable",
    ),
    "transcripts compressed": (transcripts(change_bytes(gzip.compress)), "no transcript|not UTF-8"),
    "transcripts empty": (transcripts(change_bytes(lambda _: b"")), "2 x no transcript"),
    "transcripts of UTF-8 with BOM": (transcripts(change_bytes(lambda text: b"\xef\xbb\xbf" + text)), ""),
    "data folder is a file": (lambda root: (root.parent / "data").touch(), "data"),
    "data folder cannot be written": (lambda root: (root.parent / "data").mkdir(0o500), "data"),
    "LM text that is no text": (lambda _: None, "passwd|LM text|not UTF-8", f"corpus.lm_text={A_FLAC}"),
    "LM text is a folder": (lambda _: None, "LibriSpeech", "corpus.lm_text=LibriSpeech"),
    "alignment file of bytes": (lambda _: None, "flac", "corpus.alignment=tsv", f"corpus.alignment_tsv={A_FLAC}"),
}


@pytest.fixture(scope="module")
def server():
    without_privilege()
    with StageServer() as running:
        yield running


# What ends well takes a whole stage, seconds each.
@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if KINDS[name][1] else pytest.mark.slow) for name in KINDS])
def test_a_bad_corpus(server, tmp_path, name):
    spoil, expected, *settings = KINDS[name]
    spoil(small_corpus(tmp_path))
    try:
        ended = server.run(0, tmp_path, *OPTIONS, *(word for setting in settings for word in ("--set", setting)))
    finally:
        restore_modes(tmp_path)
    ended.check(expected)
