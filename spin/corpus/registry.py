"""CORPORA: the kinds of corpus that stage 0 can prepare. To add one, write a subclass of Corpus and add one line."""

import logging
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from spin.config import Config

CORPORA = {
    "generated": "spin.corpus.generated:GeneratedCorpus",
    "librispeech": "spin.corpus.librispeech:LibriSpeech",
    "lhotse": "spin.corpus.lhotse_manifests:LhotseManifests",
}
ID, CUT, REASON = "id", "cut", "reason"  # keys of a record: an utterance with its cut, or with the reason of its rejection
OFFICIAL_PARTS = ("dev-clean", "dev-other")  # the parts whose alignments the Spin authors publish
_fingerprints: dict[tuple[str, str, str], dict] = {}  # every product of every stage asks for those of its parts


class Rejected(Exception):
    """An utterance that cannot be used. The message is the reason, in which details follow a colon."""


def make_record(identity: str, read: Callable[..., dict], *arguments) -> dict:
    """The record of an utterance, whose cut `read(*arguments)` returns as plain values, or raises Rejected."""
    try:
        return {ID: identity, CUT: read(*arguments)}
    except Rejected as reason:
        return {ID: identity, REASON: str(reason)}


class Corpus(ABC):
    """One corpus: the whole configuration, and its folder data/<corpus>."""

    has_alignments = False  # whether its cuts bring exact phone alignments

    def __init__(self, config: Config, folder: Path):
        self.config, self.folder = config, folder

    @abstractmethod
    def check(self, parts: Sequence[str], log: logging.Logger) -> None:
        """Downloads what is missing; raises a SpinError that names a part that cannot be read, and what to do."""

    @abstractmethod
    def fingerprint(self, part: str) -> dict:
        """JSON values that change when the content of a part changes; cheap, so no recording is decoded."""

    @abstractmethod
    def read(self, part: str, nj: int) -> Iterator[dict]:
        """Yields {ID, CUT: cut.to_dict()} or {ID, REASON: why the utterance is rejected}, each id once.

        What a cut must be: check_cut in spin/corpus/parts.py (16 kHz, one supervision, normalised text).

        Every recording is decoded once, because damage is seldom in the header. `nj` processes do it.
        """

    def lm_sentences(self) -> Iterator[str]:
        """Normalised sentences for the language model beyond the transcripts of asr_train."""
        yield from ()


def open_corpus(config: Config, folder: Path) -> Corpus:
    """The corpus of the configuration."""
    return pkgutil.resolve_name(CORPORA[config.corpus.kind])(config, folder)


def needs_alignment(config: Config, part: str) -> bool:
    """True for a part that stage 0 aligns: by default only the parts that the metrics read."""
    corpus = config.corpus
    if corpus.alignment == "none":
        return False
    if corpus.alignment == "official":
        return part in OFFICIAL_PARTS
    return corpus.align_parts == "all" or part in (*corpus.valid, *corpus.test)


def fingerprint_part(config: Config, folder: Path, part: str) -> dict:
    """JSON values that decide the manifest of a part in data/<corpus>, next to the keys of the corpus section.

    Computed once per process, until forget_fingerprints(). Raises SpinError where corpus or part cannot be read.
    """
    key = (repr(config.corpus), str(folder), part)
    if key not in _fingerprints:
        corpus = open_corpus(config, folder)
        aligned = {} if corpus.has_alignments else {f"alignment of {part}": needs_alignment(config, part)}
        _fingerprints[key] = corpus.fingerprint(part) | aligned
    return _fingerprints[key]


def forget_fingerprints() -> None:
    """To be called where this process itself changed a corpus, for example by a download."""
    _fingerprints.clear()
