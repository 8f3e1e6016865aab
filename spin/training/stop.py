"""A stop asked for from outside, agreed on by all ranks."""

from __future__ import annotations

import torch

from spin.runtime import signals
from spin.training import ranks


class StopRequest(signals.StopRequest):
    """See spin.runtime.signals.StopRequest; the ranks of a training stop after the same step."""

    def asked(self, step: int, device: torch.device, every: int) -> bool:
        """Whether to stop now, the same answer on every rank; with several ranks they agree every `every` steps on a GPU."""
        if ranks.world_size() == 1:
            return self.signal is not None
        if device.type == "cuda" and step % every:
            return False
        return bool(ranks.largest(torch.tensor(float(self.signal or 0), device=device)) > 0)
