"""python -m spin benchmark units: the extraction of stage 3 on generated audio, of an encoder and of a model trained from it.

`ratio` compares it with the plain way: one utterance at a time, each system by itself, every layer.
"""

import argparse

import numpy as np
import torch

from spin import artifacts
from spin.models.importers import load_encoder
from spin.runtime.devices import device_name, prepare_cpu, resolve_device
from spin.runtime.seeding import generator, seed_torch
from spin.systems import System
from spin.tools.benchmark import fastest, show, synchronize
from spin.units.extractors import EncoderExtractor, count_shared_layers, extract

REFERENCE = "one utterance at a time, each system by itself, every layer"
REPEATS = 3
BATCH_SECONDS = 120.0


def main(argv: list[str]) -> int:
    """Prints the ratio reference time / own time (above 1: faster); returns 0."""
    parser = argparse.ArgumentParser(prog="python -m spin benchmark units", description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    parser.add_argument("--encoder", default="mini", help="as encoder.source (default: mini)")
    parser.add_argument("--seconds", type=float, default=60.0, help="noise to extract features of (default: 60)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    arguments = parser.parse_args(argv)
    show(time_extraction(arguments.encoder, arguments.seconds, resolve_device(arguments.device)), arguments.json)
    return 0


def time_extraction(source: str, seconds: float, device: torch.device) -> dict:
    """Extraction of two systems that differ in the top layers, against the reference."""
    prepare_cpu(1)
    extractors, batches = make_extractors(source, device), make_audio(seconds)
    total = sum(len(waveform) for batch in batches for waveform in batch) / artifacts.SAMPLE_RATE

    def own() -> None:
        for batch in batches:
            extract(extractors, batch, device)
        synchronize(device)

    @torch.no_grad()
    def plain() -> None:
        for waveform in (waveform for batch in batches for waveform in batch):
            for extractor in extractors.values():
                hidden, _ = extractor.encoder(torch.from_numpy(waveform)[None].to(device), torch.tensor([len(waveform)]))
                for states in hidden[1:]:
                    states.cpu().numpy()
        synchronize(device)

    times = []
    for work in (own, plain):
        work()  # fills the caches
        times.append(fastest(work, REPEATS))
    return {
        "ratio": times[1] / times[0],
        "seconds": times[0],
        "reference_seconds": times[1],
        "reference": REFERENCE,
        "times_real_time": total / times[0],
        "audio_seconds": total,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }


def make_extractors(source: str, device: torch.device) -> dict[System, EncoderExtractor]:
    """An encoder, and the same with other weights in its two top layers."""
    seed_torch(0, "benchmark units")
    layer = load_encoder(source).shape.layers
    systems = [System(name, "encoder", source, layer) for name in ("before", "after")]
    before, after = (EncoderExtractor(system, False, device) for system in systems)
    with torch.no_grad():
        for block in after.encoder.layers[max(0, layer - 2) :]:
            for parameter in block.parameters():
                parameter.mul_(1.01)
    after.shared = count_shared_layers(before.encoder, after.encoder)
    return dict(zip(systems, (before, after), strict=True))


def make_audio(seconds: float) -> list[list[np.ndarray]]:
    """Batches of noise of 2 to 15 s, of similar length, longest first."""
    random, lengths = generator(0, "benchmark units"), []
    while sum(lengths) < seconds:
        lengths.append(float(random.uniform(2, 15)))
    batches: list[list[np.ndarray]] = []
    for length in sorted(lengths, reverse=True):
        wave = random.normal(size=int(length * artifacts.SAMPLE_RATE)).astype(np.float32) * 0.1
        if batches and len(batches[-1][0]) * (len(batches[-1]) + 1) <= BATCH_SECONDS * artifacts.SAMPLE_RATE:
            batches[-1].append(wave)
        else:
            batches.append([wave])
    return batches
