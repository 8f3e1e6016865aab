"""What a user without special rights may do, tried also where the tests run as root."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def without_privilege() -> list[str]:
    """The beginning of a command that may do only what the modes of files allow, root or not; skips where there is none."""
    if os.geteuid():
        return []
    words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if shutil.which("setpriv") is None or subprocess.run([*words, "true"], capture_output=True).returncode:
        pytest.skip("root cannot give up its right to write everything here")
    return words
