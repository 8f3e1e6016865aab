"""Fingerprints of corpus parts, by which stage 0 detects that recordings or transcripts have changed."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from spin.config import Config
from spin.corpus.registry import needs_alignment, open_corpus

_cache: dict[tuple[str, str, str], dict] = {}  # every product of every stage asks for the fingerprints of its parts


def fingerprint_part(config: Config, folder: Path, part: str) -> dict:
    """JSON values by name that decide the manifest of a part, next to the keys of the corpus section.

    A fingerprint is computed once per process; forget_fingerprints() clears them.

    Args:
        config: the whole configuration.
        folder: data/<corpus>.
        part: a clean part.

    Raises:
        SpinError: the corpus or the part is missing or cannot be read.
    """
    key = (repr(config.corpus), str(folder), part)
    if key not in _cache:
        corpus = open_corpus(config, folder)
        aligned = {} if corpus.has_alignments else {f"alignment of {part}": needs_alignment(config, part)}
        _cache[key] = corpus.fingerprint(part) | aligned
    return _cache[key]


def forget_fingerprints() -> None:
    """Clears the fingerprints; to be called where this process itself changed a corpus, for example by a download."""
    _cache.clear()


def digest_files(paths: Iterable[Path], content: tuple[str, ...] = ()) -> str:
    """One digest of files: names, sizes and times of change; of files with a suffix in `content`, the bytes instead.

    28,000 files take about a second on a local disk. A recording that was changed with its size and time kept goes unseen.

    Args:
        paths: files in a fixed order; the last three components of each path count.
        content: suffixes.
    """
    state, count = hashlib.sha256(), 0
    for path in paths:
        known = _read(path) if path.name.endswith(content or ("\0",)) else _status(path)
        state.update(f"{json.dumps([*path.parts[-3:], known])}\n".encode("ascii"))
        count += 1
    return f"{count} files:{state.hexdigest()[:32]}"


def _status(path: Path) -> list:
    try:
        status = path.stat()
    except OSError as error:  # a link to nothing or to itself
        return [error.errno]
    return [stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns, os.access(path, os.R_OK)]


def _read(path: Path) -> str:
    if not path.is_file():  # a folder, or a pipe, which would block for ever
        return "not a file"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"unreadable: {error.errno}"
