"""The rank of this process among those that torchrun started, without importing torch."""

from __future__ import annotations

import os


def rank() -> int:
    """0 outside torchrun, whatever else left a RANK in the environment."""
    return _number("RANK")


def local_rank() -> int:
    """Rank among the processes of this machine; 0 outside torchrun."""
    return _number("LOCAL_RANK")


def _number(name: str) -> int:
    text = os.environ.get(name, "")
    return int(text) if "TORCHELASTIC_RUN_ID" in os.environ and text.isdigit() else 0
