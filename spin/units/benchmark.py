"""python -m spin benchmark units: stage 3's extraction against the plain way, in the same run on the same audio.

The plain way: one utterance at a time, every layer, each of the two encoders by itself.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import torch

from spin import artifacts
from spin.models.encoder import TINY_SHAPE, Encoder
from spin.models.importers import load_encoder
from spin.models.spin_model import SpinModel
from spin.runtime.devices import device_name, prepare_cpu, resolve_device
from spin.runtime.seeding import generator, seed_torch
from spin.units.features import TwinEncoders

BATCH_SECONDS = 120.0
REFERENCE = "one utterance at a time, all layers, each encoder by itself"


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m spin benchmark units", description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    parser.add_argument("--encoder", help="as encoder.source; default: random weights of the embedded encoder's shape")
    parser.add_argument("--layer", type=int, help="the layer that is read; default: the last")
    parser.add_argument("--seconds", type=float, default=60.0, help="of audio (noise of 2 to 15 s an utterance)")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many is taken")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Prints the ratio reference time / own time (above 1: faster) and what it was measured on."""
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    device = resolve_device(arguments.device)
    prepare_cpu(1)
    twins = make_twins(arguments.encoder, arguments.layer).to(device)
    batches = make_audio(arguments.seconds)
    seconds = sum(len(waveform) for batch in batches for waveform in batch) / artifacts.SAMPLE_RATE
    own = _best(lambda: [twins(batch) for batch in batches], arguments.repeats, device)
    reference = _best(lambda: plain(twins, batches), arguments.repeats, device)
    result = {
        "ratio": reference / own,
        "seconds": own,
        "reference_seconds": reference,
        "reference": REFERENCE,
        "times_real_time": seconds / own,
        "audio_seconds": seconds,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(result) if arguments.json else "\n".join(f"{key}: {value}" for key, value in result.items()))


def make_twins(source: str | None, layer: int | None) -> TwinEncoders:
    """An encoder and a Spin model on it whose two top layers differ, as after Spin."""
    seed_torch(0, "benchmark units")
    baseline = load_encoder(source) if source else Encoder(TINY_SHAPE)
    after = Encoder(baseline.shape)
    after.load_state_dict(baseline.state_dict())
    layer = layer or baseline.shape.layers
    model = SpinModel.create(after, layer, 128, 256, seed=0)
    with torch.no_grad():
        for block in after.layers[max(0, layer - 2) : layer]:
            block.ffn_in.weight.mul_(1.01)
    return TwinEncoders(baseline, model, layer)


def make_audio(seconds: float) -> list[list[torch.Tensor]]:
    """Batches of noise of like length, longest first."""
    random, lengths = generator(0, "benchmark units"), []
    while sum(lengths) < seconds:
        lengths.append(float(random.uniform(2, 15)))
    batches: list[list[torch.Tensor]] = []
    for length in sorted(lengths, reverse=True):
        wave = torch.from_numpy(random.normal(size=int(length * artifacts.SAMPLE_RATE)).astype("float32") * 0.1)
        if batches and len(batches[-1][0]) * (len(batches[-1]) + 1) <= BATCH_SECONDS * artifacts.SAMPLE_RATE:
            batches[-1].append(wave)
        else:
            batches.append([wave])
    return batches


@torch.no_grad()
def plain(twins: TwinEncoders, batches: list[list[torch.Tensor]]) -> None:
    """The reference."""
    for waveform in (waveform for batch in batches for waveform in batch):
        one, length = waveform[None].to(twins.device), torch.tensor([len(waveform)])
        twins.baseline(one, length)[0][twins.layer].cpu()
        hidden = twins.model.encoder(one, length)[0]
        hidden[twins.layer].cpu(), twins.model.project(hidden[twins.model.layer])[1].argmax(-1).cpu()


def _best(work, repeats: int, device: torch.device) -> float:
    work()  # caches, kernels
    times = []
    for _ in range(max(1, repeats)):
        begun = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - begun)
    return min(times)
