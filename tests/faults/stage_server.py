"""The stage scripts, run one after the other in forks of a process that has imported what they need: half a second each.

What runs is the file local/<n>_*.py itself, as __main__, in a process of its own, whose exit status and output are returned.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_IN_S = 120.0  # a script that is still at work then hangs: the corpora here last seconds
HUNG = -1
READ_ANYTHING = (1, 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH of <linux/capability.h>: root without them is refused like anyone
PR_CAPBSET_DROP = 24  # <sys/prctl.h>
PRELOADED = {
    "preparing": ("spin.corpus.prepare", "tensorboard", "matplotlib.figure"),
    "training": ("spin.perturbation.stage", "spin.training.spin_stage", "spin.units.stage"),
}


@dataclass(frozen=True)
class Ended:
    """How a script ended: exit status (HUNG: it had to be killed), and standard output and error together."""

    status: int
    output: str


class StageServer:
    """Runs stage scripts; use as a context.

    Args:
        preloaded: a key of PRELOADED.
    """

    def __init__(self, preloaded: str = "preparing"):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.stage_server", preloaded],
            cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=_give_up_privileges,
        )  # fmt: skip

    def __enter__(self) -> StageServer:
        return self

    def __exit__(self, *_) -> None:
        self.process.stdin.close()
        self.process.wait(PATIENCE_IN_S)

    def run(self, stage: int, folder: Path, *options: str) -> Ended:
        """Runs the script of a stage with `options` in `folder`."""
        self.process.stdin.write(json.dumps({"stage": stage, "folder": str(folder), "options": options}) + "\n")
        self.process.stdin.flush()
        return Ended(**json.loads(self.process.stdout.readline()))


def script_of(stage: int) -> Path:
    return next((ROOT / "local").glob(f"{stage}_*.py"))


def _give_up_privileges() -> None:
    """So that unreadable files are unreadable where tests are run by root."""
    if os.getuid() == 0:
        for capability in READ_ANYTHING:
            ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def privileged() -> bool:
    """Whether file modes mean nothing to the scripts run here, even so."""
    with tempfile.TemporaryDirectory() as folder:
        code = f"import os; os.chmod({folder!r}, 0); os.listdir({folder!r})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, preexec_fn=_give_up_privileges, check=False)
        return done.returncode == 0


def _serve() -> None:
    for line in sys.stdin:
        wanted = json.loads(line)
        with tempfile.TemporaryFile("w+b") as output:
            status = _fork(wanted, output.fileno())
            output.seek(0)
            text = output.read().decode("utf-8", errors="replace")
        print(json.dumps({"status": status, "output": text}), flush=True)


def _fork(wanted: dict, output: int) -> int:
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        os.chdir(wanted["folder"])
        with open(os.devnull) as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        _become(script_of(wanted["stage"]), wanted["options"])
    until = time.monotonic() + PATIENCE_IN_S
    while time.monotonic() < until:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(child, 9)
    os.waitpid(child, 0)
    return HUNG


def _become(script: Path, options: list[str]) -> None:
    status = 0
    sys.argv = [str(script), *options]
    try:
        runpy.run_path(str(script), run_name="__main__")
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:  # noqa: BLE001 - the fork must never go on as the server
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
