"""Files of weights, read without running code from them.

torch.load(weights_only=True) builds tensors and plain containers only. Some public files also hold bookkeeping objects of
fairseq, omegaconf and the like (a token dictionary beside the weights). Those are not imported and not built: a bare record that
can do nothing stands in for them. Any other object in a file is an error that names it.
"""

from __future__ import annotations

import pickle
import re
import struct
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from spin.errors import CheckpointError
from spin.models.names import FORMATS
from spin.runtime.tensor_files import DAMAGE, read_tensor_file

# Bookkeeping in files of the known formats; nothing of these packages is imported.
STAND_INS = (
    "fairseq.",
    "omegaconf.",
    "argparse.Namespace",
    "pytorch_lightning.",
    "lightning.",
    "lightning_fabric.",
    "s3prl.",
    "typing.",
    "numpy.",
)
DAMAGED = (RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError, AssertionError, struct.error, OSError)


class Record:
    """Stands in for an object whose class must not be run: keeps what it was made from, does nothing."""

    def __init__(self, *values, **named):
        self.values, self.state = values, named

    def __setstate__(self, state):
        self.values, self.state = (), state


def plain(value):
    """Containers with Records replaced by what they hold: attributes as a dict, an enum by its value, omegaconf's content."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value)
    if not isinstance(value, Record):
        return value
    state = getattr(value, "state", {})
    if isinstance(state, dict) and "_content" in state:
        return plain(state["_content"])
    if isinstance(state, dict) and "_val" in state:
        return plain(state["_val"])
    values = getattr(value, "values", ())
    return plain(values[0]) if len(values) == 1 and not state else plain(state)


def read_pickled(path: Path) -> dict:
    """A file of torch.save, as plain containers and tensors on the CPU.

    Raises:
        CheckpointError: damaged, no such file format, or objects that would need code to be run.
    """
    content = _content(path)
    if not isinstance(content, dict):
        raise CheckpointError(str(path), found=f"a {type(content).__name__}", expected=f"a dictionary; formats known: {FORMATS}")
    return content


def _content(path: Path):
    if not hasattr(torch.serialization, "safe_globals"):  # before torch 2.5, whose weights_only is not safe either
        try:
            return read_tensor_file(path, lambda name: _stand_in(name) if name.startswith(STAND_INS) else None)
        except DAMAGE as error:
            refused = re.search(r"an object of '([\w.]+)'", str(error))
            raise (_needs_code(path, refused[1]) if refused else damaged(path, error)) from None
    objects = _objects_in(path)
    foreign = [name for name in objects if not name.startswith(STAND_INS)]
    if foreign:
        raise _needs_code(path, foreign[0])
    stand_ins = [(_stand_in(name), name) for name in objects]
    try:
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _needs_code_or_damaged(path, str(error)) from None  # its text advises reading the file unsafely
    except DAMAGED as error:
        raise damaged(path, error) from error


def _stand_in(full_name: str) -> type:
    """A Record that error messages call by the name of the class that it stands for."""
    module, _, name = full_name.rpartition(".")
    return type(name, (Record,), {"__module__": module})


def _objects_in(path: Path) -> list[str]:
    """Names of the classes and functions that the file's pickle refers to and torch does not know as harmless; nothing is run."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))
    except ValueError:
        return []  # a file of torch before 1.6, or none of torch at all: torch.load decides
    except (pickle.UnpicklingError, *DAMAGED) as error:
        raise damaged(path, error) from error


def _needs_code(path: Path, name: str) -> CheckpointError:
    return CheckpointError(
        str(path),
        found=f"an object of {name!r} beside the weights",
        expected=f"tensors and plain containers; formats known: {FORMATS}",
        cause="the whole model or trainer was pickled: reading it would run code from the file, which is never done",
        remedy="where you trust the file, save its state dict alone with the program that made it",
    )


def _needs_code_or_damaged(path: Path, message: str) -> CheckpointError:
    """Sorts torch's refusals; of its message only the reason is kept, because it goes on to advise reading the file unsafely."""
    refused = re.search(r"(?:GLOBAL |unrecognized function |but got <class ')([\w.]+)", message)
    if refused:
        return _needs_code(path, refused[1])
    reasons = [line.split("WeightsUnpickler error:", 1)[1] for line in message.splitlines() if "WeightsUnpickler error:" in line]
    return damaged(path, reasons[0].strip() if reasons else "no pickle of tensors")


def damaged(path: Path, error: object) -> CheckpointError:
    """The error for a file that ends early or is no file of weights."""
    first_line = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    return CheckpointError(
        str(path),
        found=f"{path.stat().st_size if path.exists() else 0} bytes that cannot be read as weights ({first_line})",
        expected=f"a complete file; formats known: {FORMATS}",
        cause="the download or copy was cut off, or this is another kind of file",
        remedy="fetch the file again and compare its size or checksum",
    )


def is_safetensors(path: Path) -> bool:
    """True for files that begin with the length of a JSON header, as safetensors files do, or are called so."""
    with open(path, "rb") as stream:
        start = stream.read(9)
    return path.suffix == ".safetensors" or (
        len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < 10**8
    )


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(parameter name -> CPU tensor, metadata).

    Raises:
        CheckpointError: damaged or no safetensors file.
    """
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})
    except (SafetensorError, *DAMAGED) as error:
        raise damaged(path, error) from error
