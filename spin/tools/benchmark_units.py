"""python -m spin benchmark units: the extraction of stage 3 on generated audio, of an encoder and of a model trained from it.

`ratio` compares it with the plain way: one utterance at a time, each system by itself, every layer.
"""

import timeit

import numpy as np
import torch

from spin import artifacts
from spin.models.importers import load_encoder
from spin.runtime.devices import device_name, prepare_cpu, resolve_device
from spin.runtime.seeding import generator
from spin.systems import System
from spin.tools.benchmark import durations, make_parser, show, synchronize
from spin.units.extractors import EncoderExtractor, count_shared_layers, extract

REPEATS = 3
BATCH = 12  # utterances


def main(argv: list[str]) -> None:
    """Prints the ratio reference time / own time (above 1: faster)."""
    parser = make_parser("units", __doc__)
    parser.add_argument("--encoder", default="mini", help="as encoder.source (default: mini)")
    parser.add_argument("--seconds", type=float, default=60.0, help="noise to extract features of (default: 60)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    arguments = parser.parse_args(argv)
    show(time_extraction(arguments.encoder, arguments.seconds, resolve_device(arguments.device)), arguments.json)


def time_extraction(source: str, seconds: float, device: torch.device) -> dict:
    """Extraction of two systems that differ in the top layers, against the reference."""
    prepare_cpu(1)
    random, extractors = generator(0, "benchmark units"), make_extractors(source, device)
    samples = (round(length * artifacts.SAMPLE_RATE) for length in sorted(durations(seconds), reverse=True))
    waveforms = [0.1 * random.normal(size=count).astype(np.float32) for count in samples]

    def own() -> None:
        for start in range(0, len(waveforms), BATCH):
            extract(extractors, waveforms[start : start + BATCH], device)
        synchronize(device)

    @torch.no_grad()
    def plain() -> None:
        for waveform in waveforms:
            for extractor in extractors.values():
                hidden, _ = extractor.encoder(torch.from_numpy(waveform)[None].to(device), torch.tensor([len(waveform)]))
                for states in hidden[1:]:
                    states.cpu().numpy()
        synchronize(device)

    times = [min(timeit.repeat(work, setup=work, repeat=REPEATS, number=1)) for work in (own, plain)]  # the set-up fills caches
    total = sum(map(len, waveforms)) / artifacts.SAMPLE_RATE
    return {
        "ratio": times[1] / times[0],
        "seconds": times[0],
        "reference_seconds": times[1],
        "reference": "one utterance at a time, each system by itself, every layer",
        "times_real_time": total / times[0],
        "audio_seconds": total,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }


def make_extractors(source: str, device: torch.device) -> dict[System, EncoderExtractor]:
    """An encoder, and the same with other weights in its two top layers."""
    layer = load_encoder(source).shape.layers
    systems = [System(name, "encoder", source, layer) for name in ("before", "after")]
    before, after = (EncoderExtractor(system, False, device) for system in systems)
    with torch.no_grad():
        for parameter in after.encoder.layers[max(0, layer - 2) :].parameters():
            parameter.mul_(1.01)
    after.shared = count_shared_layers(before.encoder, after.encoder)
    return dict(zip(systems, (before, after), strict=True))
