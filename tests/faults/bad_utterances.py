"""Kinds of bad utterance: how each is made, and what stage 0 must say of it.

Every kind spoils the second utterance of a chapter of its own; the first must always stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.faults.layouts import humming, remove, write_audio

ACCEPTED = ""


@dataclass(frozen=True)
class BadUtterance:
    """A kind.

    Attributes:
        name: for people.
        spoil: changes <chapter>/<id>.flac or the transcripts, given chapter folder and id.
        expected: the beginning of the reason of the rejection, or ACCEPTED.
        text: of an accepted utterance, as it must be in the manifest.
        renamed: what the rejected thing is called, where that is not the utterance's id; {} stands for the id.
    """

    name: str
    spoil: Callable[[Path, str], object]
    expected: str
    text: str = "GOOD MORNING"
    renamed: str = "{}"


def _audio(**keywords) -> Callable[[Path, str], None]:
    return lambda chapter, identity: write_audio(chapter / f"{identity}.flac", **keywords)


def _bytes(change: Callable[[bytes], bytes]) -> Callable[[Path, str], object]:
    def spoil(chapter: Path, identity: str) -> None:
        path = chapter / f"{identity}.flac"
        path.write_bytes(change(path.read_bytes()))

    return spoil


def _instead(make: Callable[[Path], object]) -> Callable[[Path, str], None]:
    """Something else in the place of the audio file."""

    def spoil(chapter: Path, identity: str) -> None:
        remove(chapter / f"{identity}.flac")
        make(chapter / f"{identity}.flac")

    return spoil


def _line(content: bytes) -> Callable[[Path, str], None]:
    """Another line in the place of the transcript; {id} stands for the id."""

    def spoil(chapter: Path, identity: str) -> None:
        path = next(chapter.glob("*.trans.txt"))
        first = path.read_bytes().splitlines(keepends=True)[0]
        path.write_bytes(first + content.replace(b"{id}", identity.encode()))

    return spoil


def _more(content: str) -> Callable[[Path, str], None]:
    """A further line after the transcripts."""

    def spoil(chapter: Path, identity: str) -> None:
        with open(next(chapter.glob("*.trans.txt")), "a", encoding="utf-8") as stream:
            stream.write(content.replace("{id}", identity) + "\n")

    return spoil


def _renamed(pattern: str) -> Callable[[Path, str], None]:
    """A further file next to the good ones."""
    return lambda chapter, identity: write_audio(chapter / pattern.replace("{}", identity))


def _holes(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(200) + content[middle + 200 :]


def _truncated_wav(chapter: Path, identity: str) -> None:
    _audio(kind="WAV")(chapter, identity)
    _bytes(lambda content: content[:900])(chapter, identity)


_NOT_A_NUMBER = np.where(np.arange(19_200) % 100 == 7, np.nan, 0.1)
_FLOAT = {"kind": "WAV", "subtype": "FLOAT"}

AUDIO = (
    BadUtterance("zero-byte FLAC", _bytes(lambda _: b""), "unreadable audio"),
    BadUtterance("truncated FLAC", _bytes(lambda content: content[: len(content) // 2]), "unreadable audio"),
    BadUtterance("FLAC with its header alone", _bytes(lambda content: content[:60]), "unreadable audio"),
    BadUtterance("damaged in the middle", _bytes(_holes), "unreadable audio"),
    BadUtterance("text file named .flac", _bytes(lambda _: b"this is no audio\n" * 100), "unreadable audio"),
    BadUtterance("MP3 header named .flac", _bytes(lambda _: b"ID3\x03" + bytes(4000)), "unreadable audio"),
    BadUtterance("WAV named .flac", _audio(kind="WAV"), "not FLAC: WAV"),
    BadUtterance(
        "truncated WAV named .flac", lambda c, i: (_audio(kind="WAV")(c, i), _bytes(lambda b: b[:900])(c, i)), "not FLAC"
    ),
    BadUtterance("float WAV named .flac", _audio(**_FLOAT), "not FLAC: WAV"),
    BadUtterance("float WAV with NaN named .flac", _audio(samples=_NOT_A_NUMBER, **_FLOAT), "not FLAC: WAV"),
    BadUtterance("8 kHz", _audio(samples=humming(rate=8000), rate=8000), "wrong rate: 8000 Hz"),
    BadUtterance("stereo", _audio(samples=np.stack([humming()] * 2, axis=1)), "wrong channels: 2"),
    BadUtterance("24-bit", _audio(subtype="PCM_24"), ACCEPTED),
    BadUtterance("every sample the same", _audio(samples=np.zeros(19_200)), "empty audio"),
    BadUtterance("no sample", _audio(samples=np.zeros(0)), "empty audio|unreadable audio"),
    BadUtterance("10 ms", _audio(samples=humming(0.01)), "too short: 0.010 s"),
    BadUtterance("40 minutes", _audio(samples=np.zeros(16_000 * 2400)), "too long: 2400.0 s"),
    BadUtterance("folder named .flac", _instead(Path.mkdir), "unreadable audio"),
    BadUtterance("link to itself", _instead(lambda path: path.symlink_to(path.name)), "unreadable audio"),
    BadUtterance("link to nothing", _instead(lambda path: path.symlink_to("absent")), "unreadable audio"),
    BadUtterance("pipe named .flac", _instead(os.mkfifo), "unreadable audio: not a file"),
    BadUtterance("audio missing", _instead(lambda _: None), "no audio file"),
    BadUtterance("unreadable file", lambda c, i: (c / f"{i}.flac").chmod(0), "unreadable audio"),
)
TRANSCRIPTS = (
    BadUtterance("transcript missing", _line(b""), "no transcript"),
    BadUtterance("transcript of the id alone", _line(b"{id}\n"), "no transcript"),
    BadUtterance("transcript doubled", _line(b"{id} ONE\n{id} TWO\n"), "transcript: occurs twice"),
    BadUtterance("tabs", _line(b"{id}\tGOOD\tMORNING\t\n"), ACCEPTED),
    BadUtterance("CRLF", _line(b"{id} GOOD MORNING\r\n\r\n"), ACCEPTED),
    BadUtterance("lower case and punctuation", _line(b"{id}  good, morning.\n"), ACCEPTED),
    BadUtterance("no line feed at the end", _line(b"{id} GOOD MORNING"), ACCEPTED),
    BadUtterance("digits", _line(b"{id} GOOD MORNING 12\n"), "text: '1'"),
    BadUtterance("no valid character", _line(b"{id} ... !!\n"), "no transcript"),
    BadUtterance("another alphabet", _line("{id} \u0434\u043e\u0431\u0440\u043e\u0435\n".encode()), "text: "),
    BadUtterance("control characters", _line(b"{id} GOOD\x00MORNING\x07\n"), ACCEPTED),
    BadUtterance("bytes that are not UTF-8", _line(b"{id} GOOD \xff\xfe\n"), "transcript: not UTF-8"),
    BadUtterance("UTF-16", _line("{id} GOOD MORNING\n".encode("utf-16")), "no transcript"),
    BadUtterance("a word of a million letters", _line(b"{id} " + b"A" * 1_000_000 + b"\n"), "text: a word of"),
)
IDS = (
    BadUtterance("id of another folder", _more("104-1-0001 WORDS"), "transcript: the id", renamed="*"),
    BadUtterance("id that climbs out", _more("../../../../etc/passwd WORDS"), "transcript: the id", renamed="*"),
    BadUtterance("id with a slash", _more("{id}/x WORDS"), "transcript: the id", renamed="*"),
    BadUtterance("file name with a space", _renamed("{} copy.flac"), "no transcript", renamed="{} copy"),
    BadUtterance("file name with a line feed", _renamed("{}\nx.flac"), "no transcript", renamed="{}\nx"),
    BadUtterance("file name that is not UTF-8", _renamed("{}\udcff.flac"), "no transcript", renamed="*"),
    BadUtterance("file of another folder", _renamed("9-9-0001.flac"), "no transcript", renamed="9-9-0001"),
)
KINDS = (*AUDIO, *TRANSCRIPTS, *IDS)
