"""What a part held when it was read: by this stage 0 knows, when it goes on, whether the corpus has changed since."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from pathlib import Path

from spin.corpus.librispeech import AUDIO_SUFFIX, TRANSCRIPTS_SUFFIX, chapters, names_in
from spin.errors import DataError
from spin.runtime.files import read_json

FOLDER, FILES, DIGEST = "folder", "files", "digest"


def listing(part: Path) -> dict:
    """{folder, files, digest} of a part: its path, the number of its files, and the SHA-256 of what is known of them.

    Of audio that is the name, the kind, the size, the time of the last change in ns and whether it may be read; no audio is
    opened, so that 28,000 files take about a second on a local disk. Of transcripts it is the content. Audio that was changed
    with its size and its time kept goes unseen.

    Raises:
        DataError: a folder that cannot be read.
    """
    state, files = hashlib.sha256(), 0
    for chapter in chapters(part):
        for name in names_in(chapter):
            if not name.endswith((AUDIO_SUFFIX, TRANSCRIPTS_SUFFIX)):
                continue
            path = chapter / name
            known = _audio(path) if name.endswith(AUDIO_SUFFIX) else _content(path)
            state.update(f"{json.dumps([chapter.parent.name, chapter.name, name, known])}\n".encode("ascii"))
            files += 1
    return {FOLDER: str(part), FILES: files, DIGEST: state.hexdigest()}


def read_listing(path: Path) -> dict | None:
    """What `listing` said once, from its file; None where there is none or it is damaged."""
    try:
        known = read_json(path)
    except DataError:
        return None
    return known if isinstance(known, dict) and {FOLDER, FILES, DIGEST} <= known.keys() else None


def what_changed(before: dict | None, now: dict) -> str | None:
    """None when two answers of `listing` agree, else the difference in words."""
    if before == now:
        return None
    if before is None:
        return "there is no word of what was read"
    if before[FOLDER] != now[FOLDER]:
        return f"it was read from {before[FOLDER]}"
    if before[FILES] != now[FILES]:
        return f"{before[FILES]} files when it was read, {now[FILES]} now"
    return f"other content in its {now[FILES]} files than when it was read"


def _audio(path: Path) -> list:
    try:
        status = path.stat()
    except OSError as error:  # a link to nothing or to itself
        return [error.errno]
    return [stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns, os.access(path, os.R_OK)]


def _content(path: Path) -> str:
    if not path.is_file():  # a folder, or a pipe that would be waited for without end
        return "no file"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"unreadable: {error.errno}"
