"""python -m spin benchmark memory: peak memory and roofline of one update of stage 2 for each configuration, without a GPU.

Counted by fake tensors (spin/tools/fake_gpu.py) from the code that trains: the update of both views, bf16, and the optimizer. The
CUDA context, cuDNN's workspaces and fragmentation come on top: 1 to 3 GB. Eager kernels take about twice the roofline. With
--device, the updates of the GPU check run there and are measured next to these predictions.
"""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import torch

from spin.config import Config
from spin.runtime.config_io import load_config
from spin.runtime.devices import autocast_dtype, prepare_cpu, resolve_device
from spin.tools.benchmark import CONFIGURATIONS, Update, make_micro_batches, make_model, make_parser, show, synchronize
from spin.tools.fake_gpu import DEVICE, fake_gpu
from spin.training.loop import compile_encoder

DEFAULT = ("hubert_base", "wavlm_base", "hubert_large")
# FLOPs per second of bf16 products and bytes per second that large kernels reach
GPUS = {"H100": (700e12, 2.9e12), "A100": (260e12, 1.7e12), "A5000": (75e12, 0.68e12)}
# What runs on a device: (configuration, overrides, with padding)
GPU_ROWS = (
    ("hubert_base", (), False),
    ("hubert_base", (), True),
    ("hubert_base", ("spin.accumulation=2",), False),
    ("hubert_base", ("spin.trainable_layers=6", "spin.accumulation=4"), False),
    ("hubert_base", ("spin.codebook_size=2048",), False),
    ("hubert_base", ("spin.precision=bf16_frozen",), False),
    ("wavlm_base", (), False),
    ("wavlm_base", (), True),
    ("hubert_large", (), False),
    ("hubert_base", ("spin.compile=true",), False),
)
CPU_ROWS = (("tiny", ("encoder.source=mini", "spin.batch_seconds=15"), False), ("tiny", ("spin.batch_seconds=30",), True))
UPDATES = {"cuda": 20, "cpu": 1}


def main(argv: list[str]) -> int:
    """Prints rows, one per configuration without and with padding; returns 0, or 1 where an update failed."""
    parser = make_parser("memory", __doc__)
    parser.add_argument("--conf", nargs="*", type=Path, help="configuration files (default: the shipped ones for GPUs)")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="run and measure a fixed list of updates there")
    parser.add_argument("--row", type=int, metavar="N", help="with --device: only this update of the list")
    arguments = parser.parse_args(argv)
    if arguments.device:
        return run_rows(arguments.device, arguments.row)
    paths = arguments.conf or [CONFIGURATIONS / f"{name}.yaml" for name in DEFAULT]
    configs = [load_config(path, arguments.overrides) for path in paths]
    show([predict(config, padded) for config in configs for padded in (False, True)], arguments.json)
    return 0


def predict(config: Config, padded: bool = False) -> dict:
    """Counts one update on a batch of spin.batch_seconds, of equal utterances or with a fifth of padding.

    Returns:
        name, layers, accumulation, padded; peak_gigabytes and kept_gigabytes (weights and optimizer); teraflops, terabytes,
        kernels; roofline_ms and product_ms (matrix products and convolutions alone) by GPU.
    """
    with fake_gpu() as gpu:
        update = Update(make_model(config).to_empty(device=DEVICE), config, torch.bfloat16, fused=True)
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


def run_rows(name: str, only: int | None = None) -> int:
    """Measures every row, then the first one by two processes at once; returns 0, or 1 where a row failed."""
    device = resolve_device(name)
    if device.type == "cpu":
        prepare_cpu(1)
    rows, times = GPU_ROWS if device.type == "cuda" else CPU_ROWS, []
    for row in rows if only is None else [rows[only]]:
        result = run_row(row, device)
        times.append(result.get("ms_per_update"))
        print(json.dumps(result), flush=True)
    if only is None:
        words = [sys.executable, "-m", "spin", "benchmark", "memory", "--device", name, "--row", "0"]
        both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
        outputs = [process.communicate()[0] for process in both]
        together = [json.loads(output or "{}").get("ms_per_update") for output in outputs]
        print(json.dumps({"name": "two processes at once", "ms_per_update": together}))
        times += together
    return int(None in times)


def run_row(row: tuple, device: torch.device) -> dict:
    """The row's setting and its figures, or the error that it ended with; the other rows still count."""
    name, overrides, padded = row
    setting = {"name": name, "overrides": list(overrides), "padded": padded}
    try:
        return setting | run_updates(load_config(CONFIGURATIONS / f"{name}.yaml", list(overrides)), padded, device)
    except RuntimeError as error:  # out of memory, or a kernel that fails
        return setting | {"error": " ".join(str(error).split())[:300]}


def run_updates(config: Config, padded: bool, device: torch.device) -> dict:
    """Mean time and peak memory of an update, and the prediction for the same batch.

    Raises RuntimeError for too little memory, a failed kernel, or a loss that is not finite.
    """
    predicted = predict(config, padded)
    torch.manual_seed(0)
    model = make_model(config).to(device)
    if config.spin.compile:
        compile_encoder(model.encoder)
    micro_batches = make_micro_batches(config, padded)
    for micro_batch in micro_batches:
        micro_batch.waveforms.normal_(0.0, 0.1)
    update = Update(model, config, autocast_dtype(config.spin.precision, device), fused=device.type == "cuda")
    first = update(micro_batches).item()  # chooses kernels, compiles
    update(micro_batches)
    synchronize(device)
    begun = time.perf_counter()
    for _ in range(UPDATES[device.type]):
        loss = update(micro_batches)
    synchronize(device)
    spent, last = (time.perf_counter() - begun) / UPDATES[device.type], loss.item()
    if not (math.isfinite(first) and math.isfinite(last)):
        raise RuntimeError(f"losses {first} and {last} are not finite")
    predicted = {"predicted_gigabytes": predicted["peak_gigabytes"], "roofline_ms": predicted["roofline_ms"]}
    row = {"ms_per_update": round(1e3 * spent, 2), "first_loss": first, "last_loss": last, **predicted}
    if device.type == "cuda":
        row["peak_gigabytes"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
        torch.cuda.reset_peak_memory_stats(device)
    return row
