"""Updates of stage 2 on the device itself, next to what the fake GPU predicts: time and peak memory.

Run by the GPU check as `python -m spin.tools.gpu_updates DEVICE [ROW]`; prints one line of JSON per row.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time

import torch

from spin.config import Config
from spin.runtime.config_io import load_config
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.tools import benchmark_memory
from spin.tools.benchmark import CONFIGURATIONS, Update, make_micro_batches, make_model, synchronize
from spin.training.precision import autocast_dtype, compile_encoder

# (configuration, overrides, with padding)
GPU_ROWS = (
    ("hubert_base", (), False),
    ("hubert_base", (), True),
    ("hubert_base", ("spin.accumulation=2",), False),
    ("hubert_base", ("spin.trainable_layers=6", "spin.accumulation=4"), False),
    ("hubert_base", ("spin.codebook_size=2048",), False),
    ("wavlm_base", (), False),
    ("wavlm_base", (), True),
    ("hubert_large", (), False),
    ("hubert_base", ("spin.compile=true",), False),
)
CPU_ROWS = (("tiny", ("encoder.source=mini", "spin.batch_seconds=15"), False), ("tiny", ("spin.batch_seconds=30",), True))
UPDATES = {"cuda": 20, "cpu": 1}


def main(argv: list[str]) -> int:
    """Measures every row, then the first one by two processes at once; returns 0, or 1 where a row failed."""
    device = resolve_device(argv[0])
    if device.type == "cpu":
        prepare_cpu(1)
    rows = GPU_ROWS if device.type == "cuda" else CPU_ROWS
    results = []
    for row in [rows[int(argv[1])]] if len(argv) > 1 else rows:
        results.append(describe_row(row, device))
        print(json.dumps(results[-1]), flush=True)
    together = measure_together(argv[0]) if len(argv) == 1 else []
    if together:
        print(json.dumps({"name": "two processes at once", "ms_per_update": together}))
    return int(None in together or any("error" in result for result in results))


def describe_row(row: tuple, device: torch.device) -> dict:
    """The row's setting and its figures, or the error that it ended with; the other rows still count."""
    name, overrides, padded = row
    setting = {"name": name, "overrides": list(overrides), "padded": padded}
    try:
        return setting | measure(load_row(row), padded, device)
    except RuntimeError as error:  # out of memory, or a kernel that fails
        return setting | {"error": " ".join(str(error).split())[:300]}


def load_row(row: tuple) -> Config:
    """The configuration of a row."""
    name, overrides, _ = row
    return load_config(CONFIGURATIONS / f"{name}.yaml", list(overrides))


def measure_together(device: str) -> list[float | None]:
    """Time per update of the first row in each of two processes that share the device; None for one that failed."""
    words = [sys.executable, "-m", "spin.tools.gpu_updates", device, "0"]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    return [json.loads(output).get("ms_per_update") if output else None for output in outputs]


def measure(config: Config, padded: bool, device: torch.device) -> dict:
    """Mean time and peak memory of an update, and the prediction for the same batch.

    Raises:
        RuntimeError: out of memory, a failed kernel, or a loss that is not finite.
    """
    predicted = benchmark_memory.measure(config, padded)
    torch.manual_seed(0)
    model = make_model(config).to(device)
    if config.spin.compile:
        compile_encoder(model.encoder)
    micro_batches = make_micro_batches(config, padded)
    for micro_batch in micro_batches:
        micro_batch.waveforms.normal_(0.0, 0.1)
    update = Update(model, config, autocast_dtype(config.spin.precision, device))
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
    row = {"ms_per_update": round(1e3 * spent, 2), "first_loss": first, "last_loss": last}
    if device.type == "cuda":
        row["peak_gigabytes"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 2)
        torch.cuda.reset_peak_memory_stats(device)
    return row | {"predicted_gigabytes": predicted["peak_gigabytes"], "roofline_ms": predicted["roofline_ms"]}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
