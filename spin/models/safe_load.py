"""Public checkpoints in pickle files, read without running code from them.

torch.load(weights_only=True) builds tensors and plain containers only. Some public files also hold bookkeeping objects of
fairseq, omegaconf and the like (a token dictionary next to the weights). Those are neither imported nor built: an inert record
takes their place. Any other object in a file is an error that names it.
"""

import pickle
import re
from pathlib import Path

import torch

from spin.errors import CheckpointError
from spin.models.importers import DAMAGED, damaged, known_formats

# Bookkeeping in files of the known formats; nothing of these packages is imported.
BOOKKEEPING = ("fairseq.", "omegaconf.", "argparse.Namespace", "pytorch_lightning.", "lightning", "s3prl.", "typing.", "numpy.")


class Record:
    """An inert record in place of an object whose class must not be run."""

    def __init__(self, *values, **named):
        self.values, self.state = values, named

    def __setstate__(self, state):
        self.values, self.state = (), state


def plain(value):
    """Containers with Records replaced by their content: attributes as a dict, an enum by its value, omegaconf's content."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    if not isinstance(value, Record):
        return value
    state, values = getattr(value, "state", {}), getattr(value, "values", ())
    for key in ("_content", "_val"):
        if isinstance(state, dict) and key in state:
            return plain(state[key])
    return plain(values[0]) if len(values) == 1 and not state else plain(state)


def read_pickle(path: Path) -> dict:
    """A file of torch.save, as plain containers, Records and tensors on the CPU.

    Raises:
        CheckpointError: damaged, another format, or objects that would need code from the file.
    """
    if not hasattr(torch.serialization, "safe_globals"):
        raise CheckpointError(
            str(path),
            found=f"a pickle, which torch {torch.__version__} cannot read safely",
            expected="a safetensors file or folder, or torch 2.5 and later",
            remedy=f".venv/bin/python -m spin export --encoder {path} --output FOLDER, then use that folder",
        )
    try:
        objects = _objects_in(path)
        foreign = [name for name in objects if not name.startswith(BOOKKEEPING)]
        if foreign:
            raise _needs_code(path, foreign[0])
        with torch.serialization.safe_globals([(_inert(name), name) for name in objects]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Of torch's message only the reason is told: the rest advises reading the file unsafely.
        refused = re.search(r"(?:GLOBAL |unrecognized function |but got <class ')([\w.]+)", str(error))
        reason = re.search(r"WeightsUnpickler error:\s*(.+)", str(error))
        reason = reason[1] if reason else "not a pickle of tensors"
        raise (_needs_code(path, refused[1]) if refused else damaged(path, reason)) from None
    except DAMAGED as error:
        raise damaged(path, error) from error
    if not isinstance(content, dict):
        expected = f"a dictionary; known formats: {known_formats()}"
        raise CheckpointError(str(path), found=f"a {type(content).__name__}", expected=expected)
    return content


def _inert(full_name: str) -> type:
    """A Record that error messages call by the name of the class that it replaces."""
    module, _, name = full_name.rpartition(".")
    return type(name, (Record,), {"__module__": module})


def _objects_in(path: Path) -> list[str]:
    """Names of the classes and functions that the file's pickle refers to and torch does not know as harmless; nothing is run."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except ValueError:
        return []  # a file of torch before 1.6, or of another program: torch.load decides


def _needs_code(path: Path, name: str) -> CheckpointError:
    return CheckpointError(
        str(path),
        found=f"an object of {name!r} next to the weights",
        expected="tensors and plain containers",
        cause="the whole model or trainer was pickled: reading it would run code from the file, which Spin never does",
        remedy="if you trust the file, save its state dict alone with the program that made it",
    )
