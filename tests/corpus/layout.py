"""Writers of LibriSpeech's layout: <part>/<speaker>/<chapter>/{<id>.flac, <speaker>-<chapter>.trans.txt}."""

from pathlib import Path

import numpy as np
import soundfile
from lhotse import MonoCut

from spin import artifacts
from spin.config import CorpusConfig
from spin.corpus.alignment import TsvIndex
from spin.corpus.librispeech import read_chapter
from spin.runtime.product import Context
from spin.runtime.seeding import generator

# The 39 phones of the CMU dictionary, without stress.
PHONES = "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()

RATE = 16_000


def write_flac(path: Path, seconds: float = 1.0) -> None:
    """Quiet noise."""
    samples = generator("noise", path.stem).normal(0, 0.05, (round(seconds * RATE), 1))
    soundfile.write(str(path), np.clip(samples, -1, 1), RATE)


def write_chapter(part: Path, speaker: str, chapter: str, texts: list[str], write=write_flac) -> list[str]:
    """Audio (by `write(path)`) and transcripts <speaker>-<chapter>-0000 and so on; returns the ids."""
    folder = part / speaker / chapter
    folder.mkdir(parents=True)
    ids = [f"{speaker}-{chapter}-{number:04d}" for number in range(len(texts))]
    for identity in ids:
        write(folder / f"{identity}.flac")
    lines = "".join(f"{identity} {text}\n" for identity, text in zip(ids, texts, strict=True))
    (folder / f"{speaker}-{chapter}.trans.txt").write_text(lines, encoding="utf-8")
    return ids


def chapter_cuts(chapter: Path) -> list[MonoCut]:
    """The usable cuts of a chapter."""
    records = read_chapter(chapter, CorpusConfig())
    return [MonoCut.from_dict(record["cut"]) for record in records if "cut" in record]


def lm_text(context: Context) -> list[str]:
    """The sentences that stage 0 wrote for the language model."""
    return artifacts.lm_text(context.corpus).read_text().splitlines()


def read_tsv(path: Path) -> list[tuple[str, list[str]]]:
    """(utterance id, plain phones every 10 ms) of every line of a TSV."""
    index = TsvIndex(path)
    return [(identity, index.labels(identity)) for identity in index]
