"""Compilation before work is split, so that worker processes load the compiled code instead of compiling it again."""

from __future__ import annotations

import numpy as np


def compile_kernels() -> None:
    """Runs every compiled function once: some seconds the first time on a machine, a fraction of a second later."""
    from spin.perturbation.analysis import analyse
    from spin.perturbation.parameters import PerturbationParameters
    from spin.perturbation.perturb import synthesise

    rate = 16_000
    waveform = np.zeros(rate, dtype=np.float32)
    waveform[:: rate // 100] = 0.5  # pulses at 100 Hz
    waveform[: rate // 4] = 0.0
    analysis = analyse(waveform, rate)
    bands = (1.0,) * 10
    for ratio in (0.9, 1.1):
        synthesise(waveform, rate, analysis, PerturbationParameters(ratio, ratio, ratio, bands, bands, 1))
