"""The learning rate: linear warm-up, then linear decay (Chang, Liu, Glass, Interspeech 2023, section 3.1)."""

from __future__ import annotations


def learning_rate(step: int, *, warmup_steps: int, max_steps: int, peak: float, lowest: float) -> float:
    """Learning rate of one update.

    Args:
        step: updates made before this one, 0 to max_steps - 1.
        warmup_steps: the rate rises from `lowest` at step 0 to `peak` at this step; 0 starts at the peak.
        max_steps: the rate falls to `lowest` at the last update, max_steps - 1, and stays there.
        peak: the highest rate, above 0.
        lowest: the first and the last rate.
    """
    if peak <= 0:
        return 0.0
    floor = lowest / peak
    if step < warmup_steps:
        return peak * (floor + (1 - floor) * step / warmup_steps)
    decay_steps = max_steps - 1 - warmup_steps
    if decay_steps <= 0:
        return peak
    return peak * (1 - (1 - floor) * min(step - warmup_steps, decay_steps) / decay_steps)
