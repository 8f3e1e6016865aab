"""Shared by all tests: real data in a folder next to the repository, and quiet threads on small machines."""

import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import settings

from tests.file_server import FileServer

REPOSITORY = Path(__file__).resolve().parent.parent
os.environ["PYTHONPATH"] = str(REPOSITORY)  # for processes of tests
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads starve the rest on two cores; set before torch loads
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

# A shell that runs the tests in the background makes them and their processes ignore SIGINT.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Machines that run tests are shared: no test fails for being slow, and every run draws the same examples.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


def _next_to_the_repository(relative: str, what: str) -> Path:
    path = REPOSITORY.parent / "shared" / relative
    if not path.is_dir():
        pytest.skip(f"no {what} at ../shared/{relative}")
    return path


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return REPOSITORY


@pytest.fixture(scope="session")
def librispeech_dir() -> Path:
    """The folder that holds parts of LibriSpeech (train-clean-5/, test-other/, ...); skips where there is none."""
    return _next_to_the_repository("data/LibriSpeech", "LibriSpeech")


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The folder of figures made with the official code; skips where there is none."""
    return _next_to_the_repository("golden", "golden figures")


@pytest.fixture
def server():
    with FileServer() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()
