"""The stage scripts, run one after the other in forks of a process that has imported what they need: half a second each.

What runs is the file local/<n>_*.py itself, as __main__, in a process of its own, whose exit status and output are returned.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import resource
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.rights import least_privilege

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_IN_S = 900.0  # a script that is still at work then hangs: alone on a machine it takes seconds
NEEDS_K2 = 4  # and later stages
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}  # quiet threads and the rest: tests/conftest.py
PRELOADED = {
    "preparing": ("spin.corpus.parts", "tensorboard", "matplotlib.figure"),
    "training": ("spin.perturbation.analyse_corpus", "spin.training.loop", "spin.units.extract_units"),
    "recognising": ("spin.asr.training", "spin.report.write_report"),
}


def script_of(stage: int) -> Path:
    return next((ROOT / "local").glob(f"{stage}_*.py"))


def python_of(stage: int) -> str:
    """SPIN_PYTHON or SPIN_K2_PYTHON, else the project's environment, else this interpreter."""
    name, home = ("SPIN_K2_PYTHON", ".venv-k2") if stage >= NEEDS_K2 else ("SPIN_PYTHON", ".venv")
    own = ROOT / home / "bin" / "python"
    return os.environ.get(name) or (str(own) if own.exists() else sys.executable)


def start(stage: int, folder: Path, *options) -> subprocess.Popen:
    """A stage in a process and session of its own; standard output and error come together."""
    command, pipes = [python_of(stage), script_of(stage), *options], {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, start_new_session=True, text=True, **pipes)


@dataclass(frozen=True)
class Ended:
    """How a script ended: exit status, and standard output and error together."""

    status: int
    output: str

    def check(self, expected: str = "") -> None:
        """An error with status 1, the expected words (a regular expression), a remedy and no traceback; "": no error."""
        assert self.status == (1 if expected else 0) and "Traceback" not in self.output, self.output[-3000:]
        if expected:
            assert re.search(expected, self.output) and re.search("remedy: |expected: ", self.output), self.output[-3000:]


class StageServer:
    """Runs stage scripts by `python`, as a user whom modes of files bind, with a key of PRELOADED imported; use as a context."""

    def __init__(self, preloaded: str = "preparing", python: str = sys.executable):
        command = [*(least_privilege() or []), python, "-m", "tests.faults.stage_server", preloaded]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, **pipes)

    def __enter__(self) -> StageServer:
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait(PATIENCE_IN_S)

    def run(self, stage: int, folder: Path, *options: str, **limits: int) -> Ended:
        """Runs a stage in `folder`; limits: file_bytes, the largest file it may write, and more_bytes, the further memory."""
        request = {"stage": stage, "folder": str(folder), "options": options, "limits": limits}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))


def _serve() -> None:
    for line in sys.stdin:
        status, text = _fork(json.loads(line))
        print(json.dumps({"status": status, "output": text.decode("utf-8", errors="replace")}), flush=True)


def _fork(wanted: dict) -> tuple[int, bytes]:
    reading, writing = os.pipe()  # not a file: what limits files must not limit what is heard
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.chdir(wanted["folder"])
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.close(reading)
        os.close(writing)
        _limit(**wanted["limits"])
        _become(script_of(wanted["stage"]), wanted["options"])
    os.close(writing)
    patience = threading.Timer(PATIENCE_IN_S, os.killpg, (child, signal.SIGKILL))
    patience.start()
    with open(reading, "rb") as stream:
        heard = stream.read()  # until it and all its workers have ended
    patience.cancel()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), heard


def _limit(file_bytes: int = 0, more_bytes: int = 0) -> None:
    if file_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
    if more_bytes:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        allowed = pages * resource.getpagesize() + more_bytes
        resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))


def _become(script: Path, options: list[str]) -> None:
    status = 0
    sys.argv = [str(script), *options]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:  # noqa: BLE001 - the fork must never continue as the server
        traceback.print_exc()
        status = 1
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    for module in PRELOADED[sys.argv[1]]:
        importlib.import_module(module)
    _serve()
