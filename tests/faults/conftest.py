"""One finished experiment of all stages, copied for each test to the place where it was made."""

import shutil
from pathlib import Path

import pytest

from spin import artifacts
from tests.faults.layouts import OPTIONS, small_corpus, write_chapter
from tests.faults.stage_server import NEEDS_K2, Ended, StageServer, python_of


class Experiment:
    """Runs stages in `folder`; `whole` is the finished experiment, moved there."""

    def __init__(self, folder: Path, first: StageServer, second: StageServer):
        self.folder, self.whole = folder, folder.with_name("whole")
        self._servers = first, second

    def run(self, stage: int, *options: str, **limits: int) -> Ended:
        return self._servers[stage >= NEEDS_K2].run(stage, self.folder, *OPTIONS, *options, **limits)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults") / "work"
    write_chapter(small_corpus(folder) / "more", "9", "1", ["ONE MORE LINE", "AND ANOTHER"])
    with StageServer("training") as first, StageServer("recognising", python_of(NEEDS_K2)) as second:
        experiment = Experiment(folder, first, second)
        for stage in artifacts.STAGES:
            experiment.run(stage).check()
        folder.rename(experiment.whole)
        yield experiment


@pytest.fixture
def experiment(finished):
    """Manifests name recordings by their folder, so every copy lies where the experiment was made."""
    shutil.copytree(finished.whole, finished.folder, symlinks=True)
    yield finished
    shutil.rmtree(finished.folder)
