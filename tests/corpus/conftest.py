"""Small corpora in LibriSpeech's layout, made on the spot, and stage 0 as a function."""

import logging
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

from spin import artifacts
from spin.config import Config, CorpusConfig, RuntimeConfig
from spin.corpus.registry import forget_fingerprints
from spin.runtime.product import Context
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
def prepare_data(repository, monkeypatch) -> Callable[[Context], Context]:
    """Stage 0, which returns its context; without TensorBoard, which takes most of the time and has tests of its own."""
    monkeypatch.setattr("spin.corpus.prepare.show_parts", lambda *_: None)

    stage = runpy.run_path(str(repository / "local" / "0_prepare_data.py"))

    def run(context: Context) -> Context:
        forget_fingerprints()
        context.corpus.mkdir(parents=True, exist_ok=True)
        (context.corpus / ".spin-recipe").touch()
        stage["prepare_data"](context)
        return context

    return run


@pytest.fixture
def make_context(tmp_path: Path):
    """make_context(root, data=..., nj=1, sections={}, **corpus keys) -> Context; parts train, dev, test; no alignment."""

    def make(root: Path | None, data: str = "data", nj: int = 1, sections: dict | None = None, **keys) -> Context:
        roles = {"spin_train": ("train",), "asr_train": ("train",), "valid": ("dev",), "test": ("test",)}
        defaults = {"name": "small", "kind": "librispeech", "alignment": "none", "data_dir": str(tmp_path / data)}
        corpus_dir = None if root is None else str(root)
        corpus = CorpusConfig(**{**defaults, **roles, "corpus_dir": corpus_dir, **keys})
        config = Config(corpus=corpus, runtime=RuntimeConfig(nj=nj), **(sections or {}))
        folder = artifacts.corpus_folder(corpus.data_dir, corpus.name)
        return Context(config, tmp_path / f"exp_{data}", folder, stage=0, log=logging.getLogger("spin.test"))

    return make
