"""What a user without special rights may do, tried also where the tests run as root."""

import functools
import os
import shutil
import subprocess

import pytest


@functools.cache
def least_privilege() -> list[str] | None:
    """The beginning of a command that may do only what the modes of files allow, root or not; None where there is none."""
    if os.geteuid():
        return []
    words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    works = shutil.which("setpriv") and subprocess.run([*words, "true"], capture_output=True, check=False).returncode == 0
    return words if works else None


def without_privilege() -> list[str]:
    """The same; skips the test where there is none."""
    words = least_privilege()
    if words is None:
        pytest.skip("root cannot give up its right to read and write everything here")
    return words
