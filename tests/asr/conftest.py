"""A small corpus of made-up features: each letter is a code vector of its own for some frames, with noise."""

import importlib.util
import shutil
from pathlib import Path

import pytest

if importlib.util.find_spec("k2") is None:  # these tests run in the environment that has k2
    collect_ignore_glob = ["test_*.py"]
else:
    from tests.asr.tiny_asr import decode_all, make_config, make_sentences, train_all, write_corpus


@pytest.fixture(scope="session")
def made_corpus(tmp_path_factory) -> Path:
    """A folder with the products of stages 0 and 3; parts train, dev, eval. Read-only."""
    folder = tmp_path_factory.mktemp("made")
    parts = {"train": (make_sentences(60, 1),), "dev": (make_sentences(8, 2),), "eval": (make_sentences(10, 3),)}
    write_corpus(folder, make_config(), parts)
    return folder


@pytest.fixture(scope="session")
def trained(made_corpus, tmp_path_factory):
    """(context of stage 5, folder) after stages 4 and 5 with two seeds, on features and units. Read-only."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(made_corpus, folder, dirs_exist_ok=True)
    config = make_config({"seeds": (0, 1), "inputs": ("features", "units")})
    train_all(folder, config)
    return decode_all(folder, config), folder


@pytest.fixture
def work_folder(made_corpus, tmp_path) -> Path:
    """A writable copy of made_corpus."""
    return shutil.copytree(made_corpus, tmp_path / "work")
