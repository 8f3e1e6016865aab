"""python -m spin benchmark memory: peak memory and roofline of one update of stage 2 for each configuration, without a GPU.

Counted by fake tensors (spin/tools/fake_gpu.py) from the code that trains: the update of both views, bf16, and the optimizer. The
CUDA context, cuDNN's workspaces and fragmentation come on top: 1 to 3 GB. Eager kernels take about twice the roofline.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from spin.config import Config
from spin.runtime.config_io import load_config
from spin.tools.benchmark import CONFIGURATIONS, Update, make_micro_batches, make_model
from spin.tools.fake_gpu import fake_gpu, to_fake

DEFAULT = ("hubert_base", "wavlm_base", "hubert_large")
# FLOPs per second of bf16 products and bytes per second that large kernels reach
GPUS = {"H100": (700e12, 2.9e12), "A100": (260e12, 1.7e12), "A5000": (75e12, 0.68e12)}


def main(argv: list[str]) -> int:
    """Prints a table, or JSON: one row per configuration, without and with padding; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m spin benchmark memory", description=__doc__, allow_abbrev=False)
    parser.add_argument("--conf", nargs="*", type=Path, help="configuration files (default: the shipped ones for GPUs)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of a table")
    arguments = parser.parse_args(argv)
    paths = arguments.conf or [CONFIGURATIONS / f"{name}.yaml" for name in DEFAULT]
    configs = [load_config(path, arguments.overrides) for path in paths]
    rows = [measure(config, padded) for config in configs for padded in (False, True)]
    print(json.dumps(rows) if arguments.json else table(rows))
    return 0


def measure(config: Config, padded: bool = False) -> dict:
    """Counts one update on a batch of spin.batch_seconds, of equal utterances or with a fifth of padding.

    Returns:
        name, layers, accumulation, padded; peak_gigabytes and kept_gigabytes (weights and optimizer); teraflops, terabytes,
        kernels; roofline_ms and product_ms (matrix products and convolutions alone) by GPU.
    """
    with fake_gpu() as gpu:
        update = Update(to_fake(make_model(config)), config, torch.bfloat16)
        micro_batches = make_micro_batches(config, padded)
        update(micro_batches)  # allocates the optimizer's state
        update.optimizer.zero_grad(set_to_none=True)
        kept = gpu.allocated
        gpu.operations.clear()
        update(micro_batches)
    return {
        "name": config.name,
        "layers": config.spin.trainable_layers,
        "accumulation": config.spin.accumulation,
        "padded": padded,
        "peak_gigabytes": round(gpu.peak / 1e9, 2),
        "kept_gigabytes": round(kept / 1e9, 2),
        "teraflops": round(gpu.flops / 1e12, 2),
        "terabytes": round(sum(moved for _, moved in gpu.operations) / 1e12, 3),
        "kernels": len(gpu.operations),
        "roofline_ms": {name: round(1e3 * gpu.seconds(*rates), 1) for name, rates in GPUS.items()},
        "product_ms": {name: round(1e3 * gpu.flops / rate, 1) for name, (rate, _) in GPUS.items()},
    }


def table(rows: list[dict]) -> str:
    """A Markdown table."""
    head = ["configuration", "padding", "peak GB", "weights GB", "TFLOP", "kernels", *(f"{name} ms" for name in GPUS)]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for row in rows:
        cells = [row["name"], "20 %" if row["padded"] else "none", row["peak_gigabytes"], row["kept_gigabytes"], row["teraflops"]]
        lines.append(" | ".join(str(cell) for cell in [*cells, row["kernels"], *row["roofline_ms"].values()]))
    return "\n".join(f"| {line} |" for line in lines)
