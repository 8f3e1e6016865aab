"""python -m spin units: discrete units of audio files of any rate, format and number of channels."""

import argparse
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from lhotse import Recording
from lhotse.audio.utils import AudioLoadingError

from spin import artifacts
from spin.errors import DataError
from spin.objectives.model import load_model
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import write_jsonl
from spin.units.extraction import read_samples


def main(argv: list[str] | None = None) -> None:
    """Writes the units of every file; or nothing, and raises SpinError, when one of them or the model cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m spin units", description=__doc__, allow_abbrev=False)
    model_help = "a Spin or R-Spin model: a file, an exported folder, or a published name such as spin_hubert_256"
    parser.add_argument("--model", required=True, help=model_help)
    parser.add_argument("--audio", required=True, nargs="+", type=Path, metavar="FILE", help="any rate, channels and format")
    parser.add_argument("--output", required=True, help='units.jsonl: {"id": .., "units": [..]} per line, 50 units per second')
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    arguments = parser.parse_args(argv)
    names = utterance_names(arguments.audio)
    device = resolve_device(arguments.device)
    prepare_cpu(torch.get_num_threads())
    model = load_model(arguments.model).to(device)

    def units_of(path: Path) -> list[int]:
        waveform = torch.from_numpy(load_audio(path, model.encoder.shape.receptive_field)).to(device)
        return model.units(waveform[None], torch.tensor([len(waveform)]))[0].tolist()

    pairs = zip(names, arguments.audio, strict=True)
    lines = ({artifacts.UNITS_ID: name, artifacts.UNITS_SEQUENCE: units_of(path)} for name, path in pairs)
    print(f"{arguments.output}: units of {write_jsonl(arguments.output, lines)} file(s)")


def utterance_names(paths: list[Path]) -> list[str]:
    """File names without suffix where they all differ, else the given paths; DataError for a path given twice, or no file."""
    for path in paths:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "no such file"
            raise DataError(str(path), found=found, expected="an audio file", remedy="name files, for example FOLDER/*.flac")
    path, count = Counter(paths).most_common(1)[0]
    if count > 1:
        raise DataError(str(path), found=f"given {count} times", expected="every file once", remedy="remove it from --audio")
    stems = [path.stem for path in paths]
    return stems if len(set(stems)) == len(stems) else [str(path) for path in paths]


def load_audio(path: Path, shortest: int) -> np.ndarray:
    """(S,) float32 at 16 kHz, the mean of the channels; DataError if unreadable, under `shortest` samples, or not finite."""
    try:
        recording = Recording.from_file(path).resample(artifacts.SAMPLE_RATE)
        samples = read_samples(recording.to_cut(), shortest)
    except (OSError, RuntimeError, ValueError, ZeroDivisionError, AudioLoadingError) as error:
        samples = f"unreadable audio: {' '.join(str(error).split())[:300] or type(error).__name__}"
    if isinstance(samples, str):
        raise DataError(str(path), found=samples, expected="audio", remedy="convert it to WAV or FLAC, or leave it out")
    return samples
