"""Small corpora in LibriSpeech's layout for the tests of faults and bad input: seconds of humming."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from tests.corpus import layout

Change = Callable[[Path], object]  # of a file or folder
CONF = """name: t
corpus: {name: c, kind: librispeech, alignment: none, spin_train: [train], asr_train: [train], valid: [dev], test: [test],
         lm_text: lm.txt}
spin: {codebook_size: 4, codebook_dim: 8, trainable_layers: 1, max_steps: 2, batch_seconds: 4, min_samples: 8000,
       max_samples: 16000, warmup_steps: 1, workers: 0, valid_every_steps: 2, checkpoint_every_steps: 1}
units: {kmeans_starts: 1}
asr: {tokens: characters, batch_seconds: 4, hidden: 16, max_steps: 4, valid_every_steps: 2, checkpoint_every_steps: 1}
decoding: {lm_scales: [0.5, 1.0], bootstrap_samples: 100}
runtime: {nj: 1, threads: 1}
"""
OPTIONS = ("--conf", "conf.yaml", "--corpus-dir", "LibriSpeech")
DATA, EXP = Path("data/c"), Path("exp/t")


def humming(seconds: float = 1.2, rate: int = layout.RATE) -> np.ndarray:
    """(samples,) float64: 120 Hz with harmonics, so that it has a pitch, and a little noise."""
    time = np.arange(round(seconds * rate)) / rate
    tones = sum(np.sin(2 * np.pi * 120 * number * time) / number for number in range(1, 12))
    return 0.1 * tones + np.random.default_rng(0).normal(0, 0.003, len(time))


def write_audio(path: Path, samples: np.ndarray | None = None, rate=layout.RATE, kind: str = "FLAC", subtype: str = "") -> None:
    """Writes audio of any container under any name."""
    samples = humming() if samples is None else samples
    with open(path, "wb") as stream:  # soundfile itself takes no name that is not UTF-8
        soundfile.write(stream, samples, rate, format=kind, subtype=subtype or None)


write_chapter = functools.partial(layout.write_chapter, write=write_audio)


def small_corpus(folder: Path) -> Path:
    """<folder>/LibriSpeech with train, dev and test, 2, 1 and 1 speakers, and what OPTIONS need; returns the root."""
    root = folder / "LibriSpeech"
    write_chapter(root / "train", "103", "1240", ["HELLO WORLD", "GOOD MORNING"])
    write_chapter(root / "train", "1034", "7", ["A SECOND SPEAKER", "HELLO AGAIN"])
    write_chapter(root / "dev", "5", "1", ["ONE LINE", "GOOD DAY"])
    write_chapter(root / "test", "6", "1", ["IT IS A TEST", "A SECOND TEST"])
    (folder / "conf.yaml").write_text(CONF)
    (folder / "lm.txt").write_text("HELLO WORLD\nGOOD MORNING\nHELLO AGAIN\n")
    return root


def remove(path: Path) -> None:
    """A file, a link or a folder."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def each(pattern: str, *changes: Change) -> Change:
    """Changes every file of a pattern, of which there must be one."""

    def make(folder: Path) -> None:
        paths = sorted(folder.glob(pattern))
        assert paths, pattern
        for path in paths:
            for change in changes:
                change(path)

    return make


def instead(make: Change) -> Change:
    """Something else in the place of a file."""
    return lambda path: (remove(path), make(path))


def change_bytes(change: Callable[[bytes], bytes]) -> Change:
    """Other content of a file."""
    return lambda path: path.write_bytes(change(path.read_bytes()))


def restore_modes(folder: Path) -> None:
    """Restores the permissions that a test removed, so that the folder can be deleted."""
    folder.chmod(0o755)
    for path in sorted(folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755)
