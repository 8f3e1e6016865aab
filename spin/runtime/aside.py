"""What an earlier run of a stage made, set aside until the new run has looked at its input and begins to make its own.

A mistyped value or a folder that is not there must not cost the product of days: when the new run fails before it begins, what
was there is put back, done mark and all. A kill in the middle of any of this loses nothing either: marks leave first and come
back last, and what is set aside is thrown away only after it has been renamed.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from spin import artifacts
from spin.runtime.upkeep import PRODUCTS

TAKEN = ".taken"  # there once all of the old is aside: what lies in the folder from then on is the new run's
RESTORING = ".restoring"  # there once the new run's is gone, and the old comes back


class Aside:
    """The products and marks of one stage of one folder, out of the way.

    Args:
        folder: of the corpus or the experiment.
        stage: number of the stage.
        tensorboard: the stage's event files; old ones go when the new run begins.
    """

    def __init__(self, folder: Path, stage: int, tensorboard: Path):
        self.folder, self.stage, self.tensorboard = folder, stage, tensorboard
        self.place = folder / f".old_stage{stage}"
        self.thrown = folder / f".old_stage{stage}.thrown"

    @property
    def holds(self) -> bool:
        """Whether there is something to put back: the stage started afresh and has not begun."""
        return self.place.exists()

    def products(self) -> list[Path]:
        """What lies in the folder and is the stage's, in a fixed order."""
        return sorted({path for pattern in PRODUCTS[self.stage] for path in self.folder.glob(pattern)})

    def marks(self) -> list[Path]:
        """The marks of the stage that are there."""
        marks = artifacts.done_mark(self.folder, self.stage), artifacts.started_mark(self.folder, self.stage)
        return [path for path in marks if path.exists()]

    def take(self) -> None:
        """Moves marks and products out of the way; nothing must be aside."""
        self.place.mkdir(parents=True)
        for path in [*self.marks(), *self.products()]:
            _move(path, self.place / path.relative_to(self.folder))
        (self.place / TAKEN).touch()

    def give_back(self) -> None:
        """Puts everything back in its place.

        What a run left that did not begin goes, but for its list of rejects, which its error names.
        """
        if (self.place / TAKEN).exists() and not (self.place / RESTORING).exists():
            for path in [*self.marks(), *self.products()]:
                if not path.name.startswith("rejects_"):
                    _remove(path)
            (self.place / RESTORING).touch()
        old = Aside(self.place, self.stage, self.tensorboard)
        for path in [*old.products(), *old.marks()]:
            target = self.folder / path.relative_to(self.place)
            if target.name.startswith("rejects_") and target.exists():
                continue
            _remove(target)
            _move(path, target)
        self._throw()

    def begin(self) -> None:
        """The new run is sure of its input: what is aside, and the event files of the run that made it, are thrown away."""
        if self.holds:
            shutil.rmtree(self.tensorboard, ignore_errors=True)
            self._throw()

    def sweep(self) -> None:
        """Removes what a kill left of throwing away."""
        shutil.rmtree(self.thrown, ignore_errors=True)

    def _throw(self) -> None:
        self.sweep()
        self.place.rename(self.thrown)  # from here on it is no longer taken for something to put back
        self.sweep()


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    path.rename(target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
