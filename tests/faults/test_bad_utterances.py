"""Bad utterances: stage 0 lists each with its reason and uses all others.

Every kind spoils the second utterance of a chapter of its own; the first must always stay.
"""

import fnmatch
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spin import artifacts
from spin.data.cuts import read_records
from spin.runtime.files import read_jsonl
from tests.faults.layouts import DATA, OPTIONS, Change, change_bytes, humming, instead, small_corpus, write_audio, write_chapter
from tests.faults.stage_server import StageServer
from tests.rights import without_privilege

ACCEPTED = ""
TEXTS = ["HELLO WORLD", "GOOD MORNING"]


def audio(**keywords) -> Change:
    return lambda path: write_audio(path, **keywords)


def transcripts(change: Callable[[bytes, bytes], bytes]) -> Change:
    """Changes the transcripts of the chapter, given them and the id."""

    def spoil(path: Path) -> None:
        transcripts = next(path.parent.glob("*.trans.txt"))
        transcripts.write_bytes(change(transcripts.read_bytes(), path.stem.encode()))

    return spoil


def line(text: bytes) -> Change:
    """Another line in the place of the transcript; {id} stands for the id."""
    return transcripts(lambda whole, identity: whole.splitlines(keepends=True)[0] + text.replace(b"{id}", identity))


def more(text: bytes) -> Change:
    """A further line after the transcripts."""
    return transcripts(lambda whole, identity: whole + text.replace(b"{id}", identity) + b"\n")


def further(pattern: str) -> Change:
    """A further file next to the good ones."""
    return lambda path: write_audio(path.parent / pattern.replace("{}", path.stem))


NOT_A_NUMBER = np.where(np.arange(19_200) % 100 == 7, np.nan, 0.1)
# name -> change of the audio file or its chapter; beginning of the reason of the rejection, or ACCEPTED; and what the rejected
# thing is called, where that is not the utterance's id; {} stands for the id
KINDS: dict[str, tuple] = {
    "zero-byte FLAC": (change_bytes(lambda _: b""), "unreadable audio"),
    "truncated FLAC": (change_bytes(lambda whole: whole[: len(whole) // 2]), "unreadable audio"),
    "FLAC with its header alone": (change_bytes(lambda whole: whole[:60]), "unreadable audio"),
    "damaged in the middle": (change_bytes(lambda whole: whole[:9000] + bytes(200) + whole[9200:]), "unreadable audio"),
    "text file named .flac": (change_bytes(lambda _: b"this is no audio\n" * 100), "unreadable audio"),
    "MP3 header named .flac": (change_bytes(lambda _: b"ID3\x03" + bytes(4000)), "unreadable audio"),
    "WAV named .flac": (audio(kind="WAV"), "not FLAC: WAV"),
    "truncated WAV named .flac": (lambda path: (audio(kind="WAV")(path), os.truncate(path, 900)), "not FLAC"),
    "float WAV with NaN named .flac": (audio(samples=NOT_A_NUMBER, kind="WAV", subtype="FLOAT"), "not FLAC: WAV"),
    "8 kHz": (audio(samples=humming(rate=8000), rate=8000), "wrong rate: 8000 Hz"),
    "stereo": (audio(samples=np.stack([humming()] * 2, axis=1)), "wrong channels: 2"),
    "24-bit": (audio(subtype="PCM_24"), ACCEPTED),
    "every sample the same": (audio(samples=np.zeros(19_200)), "empty audio"),
    "no sample": (audio(samples=np.zeros(0)), "empty audio|unreadable audio"),
    "0.4 s": (audio(samples=humming(0.4)), "too short: 0.400 s"),
    "41 s": (audio(samples=humming(41.0)), "too long: 41.0"),
    "folder named .flac": (instead(Path.mkdir), "unreadable audio"),
    "link to itself": (instead(lambda path: path.symlink_to(path.name)), "unreadable audio"),
    "link to nothing": (instead(lambda path: path.symlink_to("absent")), "unreadable audio"),
    "pipe named .flac": (instead(os.mkfifo), "unreadable audio: not a file"),
    "audio missing": (instead(lambda _: None), "no audio file"),
    "unreadable file": (lambda path: path.chmod(0), "unreadable audio"),
    "transcript missing": (line(b""), "no transcript"),
    "transcript of the id alone": (line(b"{id}\n"), "no transcript"),
    "transcript doubled": (line(b"{id} ONE\n{id} TWO\n"), "transcript: occurs twice"),
    "tabs": (line(b"{id}\tGOOD\tMORNING\t\n"), ACCEPTED),
    "CRLF": (line(b"{id} GOOD MORNING\r\n\r\n"), ACCEPTED),
    "lower case and punctuation": (line(b"{id}  good, morning.\n"), ACCEPTED),
    "no line feed at the end": (line(b"{id} GOOD MORNING"), ACCEPTED),
    "digits": (line(b"{id} GOOD MORNING 12\n"), "text: '1'"),
    "no valid character": (line(b"{id} ... !!\n"), "no transcript"),
    "another alphabet": (line("{id} \u0434\u043e\u0431\u0440\u043e\u0435\n".encode()), "text: "),
    "control characters": (line(b"{id} GOOD\x00MORNING\x07\n"), ACCEPTED),
    "bytes that are not UTF-8": (line(b"{id} GOOD \xff\xfe\n"), "transcript: not UTF-8"),
    "UTF-16": (line("{id} GOOD MORNING\n".encode("utf-16")), "no transcript"),
    "a word of a million letters": (line(b"{id} " + b"A" * 1_000_000 + b"\n"), "text: a word of"),
    "id of another folder": (more(b"104-1-0001 WORDS"), "transcript: the id", "*"),
    "id without a number": (transcripts(lambda whole, identity: whole + identity[:-4] + b" WORDS\n"), "transcript: the id", "*"),
    "id of a longer chapter": (transcripts(lambda whole, name: whole + name[:-5] + b"0-0001 WORDS\n"), "transcript: the id", "*"),
    "id that climbs out": (more(b"../../../../etc/passwd WORDS"), "transcript: the id", "*"),
    "id with a slash": (more(b"{id}/x WORDS"), "transcript: the id", "*"),
    "file name with a space": (further("{} copy.flac"), "no transcript", "{} copy"),
    "file name with a line feed": (further("{}\nx.flac"), "no transcript", "{}\nx"),
    "file name that is not UTF-8": (further("{}\udcff.flac"), "no transcript", "*"),
    "file of another folder": (further("9-9-0001.flac"), "no transcript", "9-9-0001"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> tuple[dict[str, str], dict[str, str]]:
    """(reason by rejected id, text by used id) of one corpus with all kinds."""
    without_privilege()
    folder = tmp_path_factory.mktemp("utterances")
    root = small_corpus(folder)
    for number, (spoil, *_) in enumerate(KINDS.values()):
        ids = write_chapter(root / "train", "200", str(number), TEXTS)
        spoil(root / "train" / "200" / str(number) / f"{ids[1]}.flac")
    with StageServer() as server:
        server.run(0, folder, *OPTIONS, "--set", "corpus.max_bad_share=0.9").check()
    corpus = folder / DATA
    rejected = {record["id"]: record["reason"] for record in read_jsonl(artifacts.rejects(corpus, artifacts.STAGES[0]))}
    return rejected, {cut["id"]: cut["supervisions"][0]["text"] for cut in read_records(artifacts.cuts(corpus, "train"))}


@pytest.mark.parametrize("number", range(len(KINDS)), ids=KINDS)
def test_a_bad_utterance_is_listed_and_nothing_else_is_lost(prepared, number):
    (rejected, texts), (_, expected, *renamed) = prepared, list(KINDS.values())[number]
    good, bad = f"200-{number}-0000", f"200-{number}-0001"
    wanted = renamed[0].replace("{}", bad) if renamed else bad
    own = {name: reason for name, reason in rejected.items() if name.startswith((bad[:-4], f"{number}/")) or name == wanted}
    assert texts.get(good) == TEXTS[0], own
    if expected == ACCEPTED:
        assert texts.get(bad) == TEXTS[1] and not own
        return
    reasons = [reason for name, reason in own.items() if fnmatch.fnmatchcase(name, wanted)]
    assert any(re.match(expected, reason) for reason in reasons), own
    if wanted not in (bad, "*"):  # something next to the good ones
        assert texts.get(bad) == TEXTS[1]
