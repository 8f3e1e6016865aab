"""python -m spin benchmark memory: peak memory and roofline of one update of stage 2 for each configuration, without a GPU.

Counted by fake tensors (spin/tools/fake_gpu.py) from the code that trains: the update of both views, bf16, and the optimizer. The
CUDA context, cuDNN's workspaces and fragmentation come on top: 1 to 3 GB. Eager kernels take about twice the roofline.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch

from spin import artifacts
from spin.config import Config
from spin.data.dataset import MicroBatch
from spin.models.architecture import TINY_SHAPE, EncoderShape
from spin.models.encoder import Encoder
from spin.objectives import find_objective
from spin.objectives.model import SpinModel
from spin.runtime.config_io import load_config
from spin.tools.fake_gpu import FakeGpu, fake_gpu, to_fake
from spin.training import grad_cache

CONFIGURATIONS = Path(__file__).resolve().parents[2] / "egs" / "librispeech" / "conf"
DEFAULT = ("hubert_base", "wavlm_base", "hubert_large")
LARGE = {"extractor_norm": "layer", "dim": 1024, "layers": 24, "heads": 16, "ffn_dim": 4096, "norm_first": True}
SHAPES = {
    "mini": TINY_SHAPE,
    "HUBERT_BASE": EncoderShape(),
    "HUBERT_LARGE": EncoderShape(**LARGE, waveform_norm_eps=1e-5),
    "WAVLM_BASE": EncoderShape(arch="wavlm"),
    "WAVLM_BASE_PLUS": EncoderShape(arch="wavlm"),
    "WAVLM_LARGE": EncoderShape(arch="wavlm", **LARGE, waveform_norm_eps=1e-5),
}
# FLOPs per second of bf16 products and bytes per second that large kernels reach
GPUS = {"H100": (700e12, 2.9e12), "A100": (260e12, 1.7e12), "A5000": (75e12, 0.68e12)}
LONG, SHORT = 15.0, 12.0  # seconds of an utterance, of the shorter ones in a padded batch


def main(argv: list[str]) -> int:
    """Prints a table, or JSON: one row per configuration, without and with padding; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m spin benchmark memory", description=__doc__, allow_abbrev=False)
    parser.add_argument("--conf", nargs="*", type=Path, help="configuration files (default: the shipped ones for GPUs)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    arguments = parser.parse_args(argv)
    rows = []
    for path in arguments.conf or [CONFIGURATIONS / f"{name}.yaml" for name in DEFAULT]:
        config = load_config(path, arguments.overrides)
        rows += [measure(config, padded) for padded in (False, True)]
    print(json.dumps(rows) if arguments.json else table(rows))
    return 0


def measure(config: Config, padded: bool = False) -> dict:
    """Counts one update on a batch of spin.batch_seconds, of equal utterances or with a fifth of padding.

    Returns:
        name, layers, accumulation, padded; peak_gigabytes and kept_gigabytes (weights and optimizer); teraflops, terabytes,
        kernels; roofline_ms and product_ms (matrix products and convolutions alone) by GPU.
    """
    with fake_gpu() as gpu:
        model = to_fake(make_model(config))
        optimizer = torch.optim.Adam(model.trainable_parameters().values(), fused=True)
        micro_batches = make_micro_batches(config, padded)
        for _ in range(2):  # the first one allocates the optimizer's state
            gpu.operations.clear()
            optimizer.zero_grad(set_to_none=True)
            kept = gpu.allocated
            grad_cache.backward(model, micro_batches, torch.bfloat16)
            torch.nn.utils.clip_grad_norm_(model.trainable_parameters().values(), config.spin.gradient_clip)
            optimizer.step()
            model.objective.after_step()
    return {
        "name": config.name,
        "layers": config.spin.trainable_layers,
        "accumulation": config.spin.accumulation,
        "padded": padded,
        "peak_gigabytes": round(gpu.peak / 1e9, 2),
        "kept_gigabytes": round(kept / 1e9, 2),
        **_costs(gpu),
    }


def _costs(gpu: FakeGpu) -> dict:
    return {
        "teraflops": round(gpu.flops / 1e12, 2),
        "terabytes": round(sum(moved for _, moved in gpu.operations) / 1e12, 3),
        "kernels": len(gpu.operations),
        "roofline_ms": {name: round(1e3 * gpu.seconds(*rates), 1) for name, rates in GPUS.items()},
        "product_ms": {name: round(1e3 * gpu.flops / rate, 1) for name, (rate, _) in GPUS.items()},
    }


def make_model(config: Config) -> SpinModel:
    """The configured model with random weights, ready to train. A known source gives its shape only and is not downloaded."""
    shape = shape_of(config.encoder.source)
    small = replace(shape, layers=min(shape.layers, config.encoder.layer))  # layers above never run
    objective = find_objective(config.objective).create(config, shape.dim)
    return SpinModel(Encoder(small), objective, config.encoder.layer).set_trainable(config.spin.trainable_layers).train()


def shape_of(source: str) -> EncoderShape:
    """The architecture of a torchaudio bundle by name, or of a file, which is read."""
    if source in SHAPES:
        return SHAPES[source]
    from spin.models.importers import load_encoder

    return load_encoder(source).shape


def make_micro_batches(config: Config, padded: bool) -> list[MicroBatch]:
    """spin.batch_seconds of silence in both views, padding included, split over spin.accumulation micro-batches."""
    parts = config.spin.accumulation
    rows = max(1, int(config.spin.batch_seconds / parts / LONG))
    lengths = [int((SHORT if padded and row else LONG) * artifacts.SAMPLE_RATE) for row in range(rows)] * 2
    labels = torch.zeros(sum(lengths) // 2 // artifacts.HOP_IN_SAMPLES, dtype=torch.int64)
    return [MicroBatch(torch.zeros(2 * rows, max(lengths)), torch.tensor(lengths), labels) for _ in range(parts)]


def table(rows: list[dict]) -> str:
    """A Markdown table."""
    head = ["configuration", "padding", "peak GB", "weights GB", "TFLOP", "kernels", *(f"{name} ms" for name in GPUS)]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for row in rows:
        cells = [row["name"], "20 %" if row["padded"] else "none", row["peak_gigabytes"], row["kept_gigabytes"], row["teraflops"]]
        lines.append(" | ".join(str(cell) for cell in [*cells, row["kernels"], *row["roofline_ms"].values()]))
    return "\n".join(f"| {line} |" for line in lines)
