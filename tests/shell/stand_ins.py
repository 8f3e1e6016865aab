"""A copy of the shell side of the project, with stand-ins for Python and pip, to try its decisions without installing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# Answers like a Python of the version in the file beside it; "installs" a folder for each pin; appends each call to $FAKE_LOG.
PYTHON = r"""#!/usr/bin/env bash
home=$(dirname "$0")
version=$(<"$0.version")
site=$home/../lib/python${version%.*}/site-packages
while [[ $1 == -I || $1 == -S ]]; do shift; done
echo "$version: $*" >>"$FAKE_LOG"
pins() { sed -e 's/#.*//' -e 's/[ ;].*//' -e '/^-/d' -e '/^$/d' -e 's/==.*//' "$@"; }
case "$*" in
  *version_info*) echo "$version" ;;
  *sysconfig*) (cd "$site" && pwd) ;;
  *"import k2"*) [[ -d $site/k2 && -z ${FAKE_K2_BROKEN-} ]] ;;
  "-m venv "*)
    [[ -z ${FAKE_NO_VENV-} ]] || exit 1
    mkdir -p "$3/bin" "$3/lib/python${version%.*}/site-packages"
    cp "$0" "$3/bin/python"
    cp "$0.version" "$3/bin/python.version"
    ;;
  "-m pip index versions torch"*)
    [[ -z ${FAKE_NO_NETWORK-} ]] || { echo "ERROR: no route" && exit 1; }
    echo "Available versions: ${FAKE_TORCHES:-2.12.0, 2.11.0, 2.10.0}"
    ;;
  "-m pip index versions k2"*) echo "k2 (1.23.4)${FAKE_OFFICIAL:+, 1.24.4.dev20260423+cuda13.0.torch2.11.0}" ;;
  "-m pip uninstall"*) rm -rf "$site/k2" ;;
  "-m pip install"*)
    [[ -z ${FAKE_PIP_FAILS-} ]] || { echo "ERROR: No space left on device" && exit 1; }
    sleep "${FAKE_SLOW:-0}"
    for name in $(pins "${@: -1}"); do mkdir -p "$site/$name/part" "$site/$name.dist-info"; done
    ;;
  *check_environment.py*)
    files=$(sed 's/--imports.*//' <<<"${*:2}")
    for name in $(pins $files); do [[ -d $site/$name/part ]] || { echo "$name is missing" && exit 1; }; done
    ;;
esac
"""


class Sandbox:
    """A folder with utils/, requirements/ and path.sh of the project, and a PATH that begins with stand-ins."""

    def __init__(self, folder: Path):
        self.root = folder / "project"
        self.bin = folder / "bin"
        self.log = folder / "calls"
        self.bin.mkdir()
        self.log.touch()
        for name in ("utils", "requirements"):
            shutil.copytree(REPOSITORY / name, self.root / name)
        shutil.copy(REPOSITORY / "path.sh", self.root)
        for name in ("python3", "python3.11", "python3.10", "python3.12", "python3.13"):
            self.add_python(name, "3.9.1")
        self.python = self.add_python("python3", "3.11.7")
        self.set_free_disk(gib=100)  # decisions are tried here, not how full the disk of this machine is

    def add_python(self, name: str, version: str) -> Path:
        path = self.bin / name
        self.add_command(name, PYTHON)
        path.with_name(f"{name}.version").write_text(version + "\n")
        return path

    def add_command(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def set_free_disk(self, gib: int) -> None:
        self.add_command("df", f"#!/bin/sh\necho header\necho disk 100 1 {gib << 20} 9% /\n")

    def environment(self, **extra: str) -> dict[str, str]:
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("SPIN_", "FAKE_"))}
        return {**keep, "PATH": f"{self.bin}:/usr/bin:/bin", "FAKE_LOG": str(self.log), "TMPDIR": str(self.root.parent), **extra}

    def bash(self, command: str, cwd: Path | None = None, **extra: str) -> subprocess.CompletedProcess:
        """Runs a command line; keywords are variables of its environment."""
        return subprocess.run(
            ["bash", "-c", command],
            cwd=cwd or self.root,
            env=self.environment(**extra),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def setup(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess:
        return self.bash(" ".join(["utils/setup_env.sh", *arguments]), **extra)

    def calls(self, text: str) -> int:
        """How many calls of the stand-in contained this text, since forget_calls."""
        return sum(text in line for line in self.log.read_text().splitlines())

    def forget_calls(self) -> None:
        self.log.write_text("")

    def site(self, environment: str) -> Path:
        return next((self.root / environment / "lib").glob("python3*/site-packages"))


def assert_helpful(result: subprocess.CompletedProcess, *words: str) -> None:
    """The script failed with an error in the usual form that has these words."""
    assert result.returncode == 1
    for label in ("found:", "expected:", "remedy:", *words):
        assert label in result.stderr
