"""A stop asked for from outside: finish the step, write a checkpoint, end with the signal's usual status."""

from __future__ import annotations

import signal
from types import FrameType

import torch

from spin.training import ranks


class StopRequest:
    """While entered, SIGINT and SIGTERM only raise a flag; the training looks at it between steps."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signal = number

    def asked(self, step: int, device: torch.device, every: int) -> bool:
        """Whether to stop now, the same answer on every rank; with several ranks they agree every `every` steps on a GPU."""
        if ranks.world_size() == 1:
            return self.signal is not None
        if device.type == "cuda" and step % every:
            return False
        return bool(ranks.largest(torch.tensor(float(self.signal or 0), device=device)) > 0)

    def status(self) -> int:
        """The exit status of a process ended by the signal: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.signal or signal.SIGTERM)
