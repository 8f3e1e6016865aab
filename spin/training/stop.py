"""A stop requested by a signal, agreed by all ranks, so that they stop after the same step."""

from __future__ import annotations

import torch

from spin.runtime import distributed, process


class StopRequest(process.StopRequest):
    """See spin.runtime.process.StopRequest.

    Args:
        device: device of this rank.
    """

    def __init__(self, device: torch.device):
        super().__init__()
        self.device = device
        self._sent: tuple[torch.Tensor, torch.cuda.Event] | None = None

    def agreed(self) -> bool:
        """True where all ranks stop after this step; call it once per step on every rank.

        Several GPUs answer one step late: each reads what the step before has reduced, so that no step waits.
        """
        if distributed.world_size() == 1:
            return self.signal is not None
        flag = distributed.largest(torch.full((), float(self.signal or 0), device=self.device))
        return bool(flag > 0) if self.device.type == "cpu" else self._flag_of_last_step(flag)

    def _flag_of_last_step(self, flag: torch.Tensor) -> bool:
        before = self._sent
        on_host = torch.empty((), pin_memory=True)
        on_host.copy_(flag, non_blocking=True)
        event = torch.cuda.Event()
        event.record()
        self._sent = on_host, event
        if before is None:
            return False
        before[1].synchronize()
        return float(before[0]) > 0
