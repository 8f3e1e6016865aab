"""A small made-up corpus as stage 3 leaves it.

Each letter is a code vector of its own for some frames, with noise; the spin system has less of it.
"""

from __future__ import annotations

import importlib.util
import types
from pathlib import Path

import numpy as np
import pytest
from lhotse import CutSet, MonoCut, NumpyFilesWriter, SupervisionSegment

from spin import artifacts
from spin.config import AsrConfig, Config, CorpusConfig, DecodingConfig, RuntimeConfig
from spin.runtime.files import write_text
from spin.runtime.logs import get_logger
from spin.runtime.stages import Context

if importlib.util.find_spec("k2") is None:  # these tests run where k2 is: in .venv-k2, unless the main environment has it
    collect_ignore_glob = ["test_*.py"]

WORDS = ("AB", "ABBA", "BEAD", "CAB", "DACE", "DEAF", "ECHO", "FACE", "HAD", "BE")
LETTERS = "ABCDEFHO "
DIMENSION = 12
FRAMES_PER_LETTER = 4
NOISE = {"baseline": 0.5, "spin": 0.1}


def spoken(text: str, random: np.random.Generator, noise: float) -> np.ndarray:
    """(T, DIMENSION) float16: FRAMES_PER_LETTER frames of each letter's code, silence around."""
    codes = np.random.default_rng(0).normal(size=(len(LETTERS), DIMENSION))
    sequence = [LETTERS.index(letter) for letter in f" {text} " for _ in range(FRAMES_PER_LETTER)]
    return (codes[sequence] + noise * random.normal(size=(len(sequence), DIMENSION))).astype(np.float16)


def write_part(exp: Path, system: str, part: str, texts: list[str], speaker: str) -> None:
    """Features and manifest of one part."""
    random = np.random.default_rng([len(part), len(texts)])
    cuts = []
    artifacts.units_arrays(exp, system, part).mkdir(parents=True, exist_ok=True)
    with NumpyFilesWriter(str(artifacts.units_arrays(exp, system, part))) as writer:
        for number, text in enumerate(texts):
            name = f"{part}-{number:03d}"
            features = spoken(text, random, NOISE[system])
            array = writer.store_array(name, features, frame_shift=artifacts.FRAME_SHIFT_IN_S, temporal_dim=0, start=0.0)
            duration = round(len(features) * artifacts.FRAME_SHIFT_IN_S + 0.005, 5)
            supervision = SupervisionSegment(name, name, 0.0, duration, channel=0, text=text, speaker=speaker)
            cut = MonoCut(name, 0.0, duration, 0, supervisions=[supervision])
            cuts.append(cut.with_custom(artifacts.HIDDEN_FIELD, array))
    CutSet.from_cuts(cuts).to_file(artifacts.units_cuts(exp, system, part))


def sentences(count: int, seed: int) -> list[str]:
    """Sentences of two to four words."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=int(random.integers(2, 5)))) for _ in range(count)]


def small_config(**asr) -> Config:
    """Seconds of training on one core."""
    defaults = {"model": "conv", "hidden": 16, "layers": 1, "dropout": 0.1, "max_steps": 40, "warmup_steps": 5}
    defaults.update({"learning_rate": 1e-2, "batch_seconds": 12.0, "valid_every_steps": 20, "checkpoint_every_steps": 10})
    return Config(
        corpus=CorpusConfig(asr_train=("train",), valid=("dev",), test=("eval",)),
        asr=AsrConfig(**{**defaults, **asr}),
        decoding=DecodingConfig(lm_order=2, bootstrap_samples=200, lm_scales=(0.2, 0.5), batch_seconds=20.0),
        runtime=RuntimeConfig(nj=1, device="cpu"),
    )


def make_context(folder: Path, config: Config) -> Context:
    """The Context that a stage script would make."""
    return Context(config, folder / "exp", folder / "data", folder / "exp" / "tensorboard", False, get_logger("test"), "./run.sh")


@pytest.fixture(scope="session")
def made_corpus(tmp_path_factory) -> Path:
    """A folder with data/lm_text.txt and exp/units of both systems; parts train, dev, eval. Not to be written to."""
    folder = tmp_path_factory.mktemp("made")
    train = sentences(60, 1)
    parts = {"train": (train, "one"), "dev": (sentences(8, 2), "two"), "eval": (sentences(10, 3), "three")}
    for system in artifacts.SYSTEMS:
        for part, (texts, speaker) in parts.items():
            write_part(folder / "exp", system, part, texts, speaker)
    write_text(artifacts.lm_text(folder / "data"), "".join(f"{text}\n" for text in [*train, *sentences(200, 4)]))
    return folder


@pytest.fixture
def work_folder(made_corpus, tmp_path) -> Path:
    """An experiment of one's own on the features of made_corpus."""
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "units").symlink_to(made_corpus / "exp" / "units")
    (tmp_path / "data").symlink_to(made_corpus / "data")
    return tmp_path


@pytest.fixture(scope="session")
def tools() -> types.SimpleNamespace:
    """The functions above, for tests that make experiments of their own."""
    return types.SimpleNamespace(config=small_config, context=make_context, write_part=write_part)
