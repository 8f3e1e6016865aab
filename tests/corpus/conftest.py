"""Small corpora in LibriSpeech's layout, made on the spot."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from spin import artifacts
from spin.config import Config, CorpusConfig, RuntimeConfig
from spin.corpus import prepare
from spin.runtime.stages import Context
from tests.corpus.layout import write_chapter


@pytest.fixture
def small_corpus(tmp_path: Path) -> Path:
    """<tmp>/LibriSpeech with train, dev and test, 2, 1 and 1 speakers."""
    root = tmp_path / "LibriSpeech"
    write_chapter(root / "train", "103", "1240", ["HELLO WORLD", "GOOD MORNING", "THE CAT SAT"])
    write_chapter(root / "train", "1034", "7", ["A SECOND SPEAKER", "HELLO WORLD"])
    write_chapter(root / "dev", "5", "1", ["ONE LINE", "GOOD MORNING"])
    write_chapter(root / "test", "6", "1", ["IT IS A TEST", "A SECOND TEST"])
    return root


@pytest.fixture
def no_pictures(monkeypatch) -> None:
    """Stage 0 without its TensorBoard log, which takes most of the time on small corpora and has tests of its own."""
    monkeypatch.setattr(prepare, "show_corpus", lambda *_: None)


@pytest.fixture
def make_context(tmp_path: Path):
    """make_context(root, data=..., nj=1, **corpus keys) -> Context of stage 0; parts train, dev, test; no alignment."""

    def make(root: Path | None, data: str = "data", nj: int = 1, **keys) -> Context:
        roles = {"spin_train": ("train",), "asr_train": ("train",), "valid": ("dev",), "test": ("test",)}
        defaults = {"name": "small", "kind": "librispeech", "alignment": "none", "data_dir": str(tmp_path / data)}
        corpus_dir = None if root is None else str(root)
        corpus = CorpusConfig(**{**defaults, **roles, "corpus_dir": corpus_dir, **keys})
        exp = tmp_path / f"exp_{data}"
        return Context(
            config=Config(corpus=corpus, runtime=RuntimeConfig(nj=nj)),
            exp=exp,
            corpus=artifacts.corpus_folder(corpus.data_dir, corpus.name),
            tensorboard=artifacts.tensorboard(exp, 0),
            force=False,
            log=logging.getLogger("spin.test"),
            command="./run.sh",
        )

    return make
