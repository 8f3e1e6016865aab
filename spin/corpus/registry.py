"""CORPORA: the kinds of corpus that stage 0 can prepare. To add one, write a subclass of Corpus and add one line."""

from __future__ import annotations

import importlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from spin.config import Config
from spin.errors import ConfigError

CORPORA = {
    "generated": "spin.corpus.generated.corpus:GeneratedCorpus",
    "librispeech": "spin.corpus.librispeech:LibriSpeech",
    "lhotse": "spin.corpus.lhotse_manifests:LhotseManifests",
}
ID, CUT, REASON = "id", "cut", "reason"  # keys of a record: an utterance with its cut, or with the reason of its rejection
OFFICIAL_PARTS = ("dev-clean", "dev-other")  # the parts whose alignments the Spin authors publish


class Corpus(ABC):
    """One corpus.

    Args:
        config: the whole configuration.
        folder: data/<corpus>.
    """

    has_alignments = False  # whether its cuts bring exact phone alignments

    def __init__(self, config: Config, folder: Path):
        self.config, self.folder = config, folder

    @abstractmethod
    def check(self, parts: Sequence[str], log: logging.Logger) -> None:
        """Checks that the parts can be read, and downloads what is missing.

        Raises:
            SpinError: names what is missing and what to do.
        """

    @abstractmethod
    def fingerprint(self, part: str) -> dict:
        """JSON values that change when the content of a part changes; cheap, so no recording is decoded."""

    @abstractmethod
    def read(self, part: str, nj: int) -> Iterator[dict]:
        """Yields {ID, CUT: cut as plain values} or {ID, REASON: why the utterance is rejected}, each id once.

        Every recording is decoded once, because damage is seldom in the header.

        Args:
            nj: number of processes.
        """

    def lm_sentences(self) -> Iterator[str]:
        """Normalised sentences for the language model beyond the transcripts of asr_train."""
        yield from ()


def open_corpus(config: Config, folder: Path) -> Corpus:
    """The corpus of the configuration.

    Raises:
        ConfigError: an unknown corpus.kind.
    """
    kind = config.corpus.kind
    if kind not in CORPORA:
        remedy = f"--set corpus.kind={next(iter(CORPORA))}"
        raise ConfigError("corpus.kind", found=repr(kind), expected=" | ".join(CORPORA), remedy=remedy)
    module, name = CORPORA[kind].split(":")
    return getattr(importlib.import_module(module), name)(config, folder)


def needs_alignment(config: Config, part: str) -> bool:
    """True for a part that stage 0 aligns: by default only the parts that the metrics read."""
    corpus = config.corpus
    if corpus.alignment == "none":
        return False
    if corpus.alignment == "official":
        return part in OFFICIAL_PARTS
    return corpus.align_parts == "all" or part in (*corpus.valid, *corpus.test)
