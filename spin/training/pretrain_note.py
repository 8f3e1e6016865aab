"""What a pre-training was begun with, so that it is gone on with in no other way."""

from __future__ import annotations

import shutil
from pathlib import Path

from spin import artifacts
from spin.config import Config
from spin.errors import DataError
from spin.runtime.files import write_json
from spin.runtime.settings import config_dict
from spin.runtime.upkeep import difference, made_from, read_mark

NO_EFFECT = ("valid_parts", "workers", "log_every_steps", "checkpoint_every_steps")


def begun_with(config: Config, corpus: Path) -> dict:
    """The keys that the weights depend on, and the run of stage 0, as spin.runtime.upkeep.made_from answers."""
    keys = {f"pretrain.{key}": value for key, value in config_dict(config)["pretrain"].items() if key not in NO_EFFECT}
    mark = artifacts.done_mark(corpus, 0)
    before = read_mark(mark).get("run") if mark.exists() else None
    speech = made_from(0, config, corpus, corpus)["config"]
    return {"config": {"seed": config.seed, **speech, **keys}, "before": before}


def take_up(folder: Path, config: Config, corpus: Path, force: bool) -> None:
    """Notes with what a pre-training begins; with `force` what is there goes first.

    Raises:
        DataError: what is there was begun with something else, or nobody knows with what.
    """
    note, now = folder / "made_from.json", begun_with(config, corpus)
    if force:
        shutil.rmtree(folder, ignore_errors=True)
    found = None
    if note.exists():
        found = difference(read_mark(note)["made_from"], now)
    elif folder.exists() and any(folder.iterdir()):
        found = "a pre-training without made_from.json, so begun with unknown settings"
    if found is not None:
        raise DataError(
            f"pre-training in {folder}",
            found=found,
            expected="the settings and the corpus that it was begun with",
            remedy="another --exp-dir, or --force to throw it away and begin anew",
        )
    write_json(note, {"made_from": now})
