"""The git commit of the code that made a result."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """The short git commit of this checkout, with '-dirty' when tracked files differ from it; 'unknown' outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() or "unknown"
