"""Files that appear complete or not at all: write to a temporary name, flush to the disk, rename. Digests of their contents."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import secrets
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from spin.errors import DataError

ENCODERS = Path(__file__).parents[1] / "models" / "assets"  # those that the package ships, by name
BLOCK, BLOCKS = 1 << 20, 16  # of a file above 16 MiB, this many evenly spaced blocks are read, the first and the last included
# File names are bytes. What is not UTF-8 reaches Python as lone surrogates, which this writes as JSON's own escapes.
_ERRORS = "backslashreplace"


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path in the folder of `path`; on success it is synced and renamed to `path`, otherwise removed.

    A killed process leaves at most a file named `.tmp-*`, which sweep() removes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def sweep(folder: Path) -> None:
    """Removes what killed writers left directly in `folder`; needs the folder's lock."""
    for path in folder.glob(".tmp-*"):
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors=_ERRORS, newline="\n")


def write_json(path: str | Path, content) -> None:
    """Indented JSON with a final line feed. NaN is an error, because JSON has none."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path):
    """The content of a JSON file; raises DataError where it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else str(error)
        remedy = f"rm -f {path}, then ./run.sh with the same --conf, --set and --exp-dir"
        raise DataError(str(path), found=found, expected="a readable JSON file of an earlier stage", remedy=remedy) from error


def _json_line(record: dict) -> str:
    return json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"


def write_jsonl(path: str | Path, records: Iterable[dict]) -> int:
    """Writes one line of JSON per record, compressed without a time stamp in a .gz file. Returns the number of records."""
    count = 0
    with atomic_path(path) as temporary, contextlib.ExitStack() as stack:
        raw = stack.enter_context(open(temporary, "wb"))
        if str(path).endswith(".gz"):
            raw = stack.enter_context(gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6))
        stream = stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8", errors=_ERRORS, newline="\n"))
        for record in records:
            stream.write(_json_line(record))
            count += 1
    return count


def append_jsonl(path: str | Path, record: dict) -> None:
    """Adds one line and syncs it. A line torn by a kill is closed first, so that it cannot swallow the new one."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab+") as stream:
        if stream.tell() > 0:
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(_json_line(record).encode("utf-8", _ERRORS))
        stream.flush()
        os.fsync(stream.fileno())


def read_jsonl(path: str | Path) -> Iterator[dict]:
    """The records of a .jsonl file, one at a time: none where it is missing, and lines torn by a kill are ignored.

    Compressed files appear complete; read_records in spin/data/cuts.py reads them.
    """
    if not Path(path).exists():
        return
    with open(path, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                yield record


def content_digest(path: Path) -> str | None:
    """Digest of a file's content, or of the names and contents in a folder; None when it cannot be read.

    Of a large file only some blocks are read, so that checking a product takes no time. A change that keeps the size and falls
    between the blocks goes unseen; in a gzipped file, which ends in a checksum, none does.
    """
    if path.is_dir():
        files = sorted(item for item in path.rglob("*") if item.is_file())
        return combined_digest({str(item.relative_to(path)): content_digest(item) or "" for item in files})
    state = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            last = max(0, size - BLOCK)
            whole = size <= BLOCK * BLOCKS
            for start in range(0, size, BLOCK) if whole else (last * number // (BLOCKS - 1) for number in range(BLOCKS)):
                stream.seek(start)
                state.update(stream.read(BLOCK))
    except OSError:
        return None
    return f"{size}:{state.hexdigest()[:32]}"


def combined_digest(digests: dict[str, str]) -> str:
    """One digest of several, by name."""
    state = hashlib.sha256()
    for name in sorted(digests):
        state.update(f"{name}\0{digests[name]}\n".encode("utf-8", "surrogateescape"))
    return f"{len(digests)} files:{state.hexdigest()[:32]}"


def source_digest(source: str) -> str:
    """Content digest of a path or of an encoder of the package ("mini"); else the text itself (a bundle, a published model)."""
    return content_digest(Path(source)) or content_digest(ENCODERS / f"{source}.safetensors") or source


def commit() -> str:
    """The short git commit of this checkout, with '-dirty' when tracked files differ from it; 'unknown' outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() or "unknown"
