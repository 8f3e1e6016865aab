"""Kinds of bad corpus, each an error of stage 0 that says what and where, or something that must not disturb it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.layouts import remove, small_corpus, write_chapter


@dataclass(frozen=True)
class BadCorpus:
    """A kind.

    Attributes:
        name: for people.
        spoil: changes the corpus of layouts.small_corpus, given its root.
        expected: a regular expression that the message must contain; "" where the stage must end well.
        options: further options of the stage.
    """

    name: str
    spoil: Callable[[Path], object]
    expected: str = ""
    options: tuple[str, ...] = ()


def _empty(root: Path) -> None:
    remove(root)
    root.mkdir()


def _one_speaker(root: Path) -> None:
    for part in ("train", "dev", "test"):
        remove(root / part)
        write_chapter(root / part, "7", {"train": "1", "dev": "2", "test": "3"}[part], ["HELLO", "GOOD DAY"])


def _without_words(root: Path) -> None:
    for path in root.rglob("*.trans.txt"):
        path.write_text("".join(f"{line.split()[0]} ...\n" for line in path.read_text().splitlines()))


def _transcripts(change: Callable[[Path], object]) -> Callable[[Path], object]:
    """Changes the transcript file of one chapter of two utterances."""
    return lambda root: change(root / "train/1034/7/1034-7.trans.txt")


def _instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    return _transcripts(lambda path: (path.unlink(), make(path)))


ALL = ("--set", "corpus.max_bad_share=0.9")
SHARED = ("--set", "corpus.allow_shared_speakers=true")
KINDS = (
    BadCorpus("no such folder", remove, "no such folder[\\s\\S]*--corpus-dir"),
    BadCorpus("a file in its place", lambda root: (remove(root), root.write_text("x")), "no such folder"),
    BadCorpus("empty corpus", _empty, "no parts at all"),
    BadCorpus(
        "part without speakers", lambda root: (remove(root / "dev"), (root / "dev").mkdir()), "no dev; there are: test, train"
    ),
    BadCorpus(
        "part without audio",
        lambda root: [path.unlink() for path in root.glob("dev/*/*/*.flac")],
        "part dev[\\s\\S]*no usable",
        ALL,
    ),
    BadCorpus("one speaker only", _one_speaker, "speaker 7 in train and dev"),
    BadCorpus("no transcript has a word", _without_words, "8 x no transcript"),
    BadCorpus(
        "too many bad utterances",
        lambda root: [path.write_bytes(b"") for path in root.glob("dev/*/*/*.flac")],
        "2 of 8 utterances",
    ),
    BadCorpus(
        "the same id in two parts",
        lambda root: write_chapter(root / "dev", "103", "1240", ["A"]),
        "the same id in part train",
        SHARED,
    ),
    BadCorpus("link to the part itself", lambda root: (root / "train" / "loop").symlink_to("..")),
    BadCorpus("links in a circle", lambda root: ((root / "train/103/a").symlink_to("b"), (root / "train/103/b").symlink_to("a"))),
    BadCorpus("chapter twice by a link", lambda root: (root / "train/103/99").symlink_to("1240"), "", ALL),
    BadCorpus("folders with a space and a line feed", lambda root: write_chapter(root / "train", "10 3", "1\n2", ["A"]), "", ALL),
    BadCorpus(
        "speaker folder with a dash",
        lambda root: write_chapter(root / "train", "spk-0700", "1", ["A", "B"]),
        "2 x a dash in the name of the speaker folder; for example spk-0700-1-0000",
    ),
    BadCorpus("unreadable chapter", lambda root: (root / "train/103/1240").chmod(0), "103/1240[\\s\\S]*Permission denied"),
    BadCorpus("unreadable speaker", lambda root: (root / "train/103").chmod(0), "train/103[\\s\\S]*Permission denied"),
    BadCorpus("unreadable part", lambda root: (root / "train").chmod(0), "Permission denied"),
    BadCorpus("unreadable corpus", lambda root: root.chmod(0), "Permission denied"),
    BadCorpus("unreadable transcripts", _transcripts(lambda path: path.chmod(0)), "2 x transcripts? .*unreadable"),
    BadCorpus("transcripts are a folder", _instead(Path.mkdir), "2 x transcripts? .*unreadable"),
    BadCorpus(
        "transcripts are a link to themselves", _instead(lambda path: path.symlink_to(path.name)), "2 x transcripts? .*unreadable"
    ),
    BadCorpus(
        "transcripts compressed",
        _transcripts(lambda path: path.write_bytes(gzip.compress(path.read_bytes()))),
        "no transcript|not UTF-8",
    ),
    BadCorpus("transcripts empty", _transcripts(lambda path: path.write_bytes(b"")), "2 x no transcript"),
    BadCorpus("transcripts of UTF-8 with BOM", _transcripts(lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()))),
    BadCorpus("data folder is a file", lambda root: (root.parent / "data").write_text("x"), "data"),
    BadCorpus(
        "data folder cannot be written",
        lambda root: ((root.parent / "data").mkdir(), (root.parent / "data").chmod(0o500)),
        "data",
    ),
    BadCorpus(
        "LM text that is no text",
        lambda root: None,
        "passwd|LM text|not UTF-8",
        ("--set", "corpus.lm_text=LibriSpeech/train/103/1240/103-1240-0000.flac"),
    ),
    BadCorpus("LM text is a folder", lambda root: None, "LibriSpeech", ("--set", "corpus.lm_text=LibriSpeech")),
    BadCorpus(
        "alignment file of bytes",
        lambda root: None,
        "flac",
        ("--set", "corpus.alignment=tsv", "--set", "corpus.alignment_tsv=LibriSpeech/train/103/1240/103-1240-0000.flac"),
    ),
)


def make(folder: Path, kind: BadCorpus) -> Path:
    """The spoilt corpus in <folder>; returns its root."""
    root = small_corpus(folder)
    kind.spoil(root)
    return root


def restore_modes(folder: Path) -> None:
    """Restores the permissions that a kind removed, so that the folder can be deleted."""
    folder.chmod(0o755)
    for path in sorted(folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
