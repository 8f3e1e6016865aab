"""What identifies inputs and code: content digests of files and folders, and the git commit."""

import hashlib
import os
import subprocess
from pathlib import Path

ENCODERS = Path(__file__).parents[1] / "models" / "assets"  # those that the package ships, by name
BLOCK, BLOCKS = 1 << 20, 16  # of a file above 16 MiB, this many evenly spaced blocks are read, the first and the last included


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
