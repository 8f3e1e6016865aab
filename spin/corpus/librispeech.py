"""LibriSpeech on disk: any part in the original layout, <part>/<speaker>/<chapter>/{<id>.flac, <speaker>-<chapter>.trans.txt}.

lhotse's own recipe makes the recordings and supervisions, one utterance at a time. A bad file is then named and rejected, where
the whole recipe would end with an exception.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shlex
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import soundfile

from spin import artifacts
from spin.config import CorpusConfig
from spin.corpus.registry import CUT, ID, REASON, Corpus
from spin.corpus.text import TextError, normalise
from spin.errors import ConfigError, DataError
from spin.runtime.logs import progress
from spin.runtime.workers import map_jobs

if TYPE_CHECKING:
    from lhotse import MonoCut

ROOT = "LibriSpeech"
AUDIO_SUFFIX, TRANSCRIPTS_SUFFIX = ".flac", ".trans.txt"
_LONGEST_WORD = 100  # letters; longer ones are damage, and deriving their pronunciation takes forever


class LibriSpeech(Corpus):
    """The parts below corpus.corpus_dir, downloaded first where corpus.download asks for it."""

    @property
    def root(self) -> Path:
        corpus = self.config.corpus
        if corpus.download:
            from spin.corpus.download import download_root

            return download_root(corpus.corpus_dir, corpus.data_dir)
        return require_folder(corpus.corpus_dir)

    def check(self, parts: Sequence[str], log: logging.Logger) -> None:
        if self.config.corpus.download:
            from spin.corpus.download import download_missing

            download_missing(self.root, parts, log)
        require_parts(self.root, parts)

    def fingerprint(self, part: str) -> dict:
        folder = self.root / part
        files = (chapter / name for chapter in chapters(folder) for name in names_in(chapter))
        return {f"folder of {part}": str(folder), f"files of {part}": digest_files(files)}

    def read(self, part: str, nj: int) -> Iterator[dict]:
        jobs = [(str(chapter), self.config.corpus) for chapter in chapters(self.root / part)]
        for records in progress(map_jobs(_read_job, jobs, nj), f"read {part}", len(jobs)):
            yield from records


def parts_in(root: Path) -> list[str]:
    """Names of the folders in `root` that have the layout of a part, sorted; any name will do (train-clean-5, my-own)."""
    if not root.is_dir():
        return []
    candidates = (folder for folder in _folders(root) if not folder.name.startswith("."))
    return sorted(folder.name for folder in candidates if next(folder.glob(f"*/*/*{TRANSCRIPTS_SUFFIX}"), None) is not None)


def require_parts(root: Path, parts: Sequence[str]) -> None:
    """Raises DataError that lists the parts found when one of `parts` is missing."""
    found = parts_in(root)
    missing = [part for part in parts if part not in found]
    for part in missing:
        if (root / part).is_dir():  # an unreadable part is an error of its own, not a missing part
            chapters(root / part)
    if missing:
        raise DataError(
            f"LibriSpeech in {root}",
            found=f"no {', '.join(missing)}; parts there: {', '.join(found) or 'none'}",
            expected="<part>/<speaker>/<chapter>/ with .flac and .trans.txt files for each part of corpus.spin_train, "
            "asr_train, valid and test",
            cause="parts that were not downloaded" if found else "not the folder that holds the parts",
            remedy="--set corpus.download=true, or --corpus-dir FOLDER, or name parts that are there: --set corpus.test=[PART]",
        )


def require_folder(corpus_dir: str | None) -> Path:
    """The absolute folder of the parts: `corpus_dir` or the folder LibriSpeech in it; raises SpinError where there is none."""
    expected = "the folder that holds LibriSpeech's parts"
    remedy = "--corpus-dir PATH/TO/LibriSpeech, or --set corpus.download=true"
    if not corpus_dir:
        raise ConfigError("corpus.corpus_dir", found="not set", expected=expected, remedy=remedy)
    if not Path(corpus_dir).is_dir():
        raise DataError(f"corpus folder {corpus_dir}", found="no such folder", expected=expected, remedy=remedy)
    folder = Path(corpus_dir).absolute()
    return folder / ROOT if (folder / ROOT).is_dir() and not parts_in(folder) else folder


def chapters(part: Path) -> list[Path]:
    """The chapter folders of a part in the order of their utterances' ids ('103-1240-' < '1034-')."""
    return sorted((chapter for speaker in _folders(part) for chapter in _folders(speaker)), key=_prefix)


def digest_files(paths: Iterable[Path]) -> str:
    """One digest of recordings (name, size, time of change) and transcripts (name, content) in this order; others are ignored.

    28,000 files take about a second on a local disk. A recording that was changed with its size and time kept goes unseen.
    """
    state, count = hashlib.sha256(), 0
    for path in paths:
        if not path.name.endswith((AUDIO_SUFFIX, TRANSCRIPTS_SUFFIX)):
            continue
        known = _text_digest(path) if path.name.endswith(TRANSCRIPTS_SUFFIX) else _status(path)
        state.update(f"{json.dumps([*path.parts[-3:], known])}\n".encode("ascii"))
        count += 1
    return f"{count} files:{state.hexdigest()[:32]}"


def _status(path: Path) -> list:
    try:
        status = path.stat()
    except OSError as error:  # a link to nothing or to itself
        return [error.errno]
    return [stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns, os.access(path, os.R_OK)]


def _text_digest(path: Path) -> str:
    if not path.is_file():  # a folder, or a pipe, which would block for ever
        return "not a file"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        return f"unreadable: {error.errno}"


def read_chapter(chapter: Path, corpus: CorpusConfig) -> Iterator[tuple[str, MonoCut | str]]:
    """Yields (utterance id, cut or the reason of its rejection) of <part>/<speaker>/<chapter> in the order of ids."""
    names = names_in(chapter)  # not glob, which skips unreadable folders in silence
    audio = {name.removesuffix(AUDIO_SUFFIX) for name in names if name.endswith(AUDIO_SUFFIX)}
    try:
        transcripts, rejected = _read_transcripts(chapter)
    except OSError as error:
        reason = f"transcripts unreadable: {error.strerror}"
        yield from ((identity, reason) for identity in sorted(audio))
        return
    dashed = _dash(chapter)
    for identity in sorted(audio | transcripts.keys() | rejected.keys()):
        reason = dashed or rejected.get(identity)
        if reason is None and identity not in transcripts:
            reason = "no transcript"
        if reason is None and identity not in audio:
            reason = "no audio file"
        yield identity, reason or _read_utterance(chapter, identity, transcripts[identity], corpus)


def names_in(folder: Path) -> list[str]:
    """Sorted names in a folder; raises DataError when it cannot be read, so that nothing in it is lost in silence."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        found, remedy = error.strerror or str(error), f"chmod -R u+rX {shlex.quote(str(folder))}, or move it out of the corpus"
        raise DataError(f"folder {folder}", found=found, expected="a folder that can be read", remedy=remedy) from error


def _read_job(job: tuple[str, CorpusConfig]) -> list[dict]:
    chapter, corpus = job
    return [
        {ID: identity, REASON: result} if isinstance(result, str) else {ID: identity, CUT: result.to_dict()}
        for identity, result in read_chapter(Path(chapter), corpus)
    ]


def _folders(folder: Path) -> list[Path]:
    return [folder / name for name in names_in(folder) if (folder / name).is_dir()]


def _prefix(chapter: Path) -> str:
    return f"{chapter.parent.name}-{chapter.name}-"


def _dash(chapter: Path) -> str | None:
    """Rejects a folder with a dash: two folders could have the same ids then, and lhotse looks for the audio elsewhere."""
    for kind, name in (("speaker", chapter.parent.name), ("chapter", chapter.name)):
        if "-" in name:
            return f"a dash in the name of the {kind} folder: {name!r}, and ids are speaker-chapter-number"
    return None


def _read_transcripts(chapter: Path) -> tuple[dict[str, str], dict[str, str]]:
    """(id -> text as written, id -> reason) of a chapter's transcript files; OSError for one that cannot be read."""
    texts, rejected = {}, {}
    for path in sorted(chapter.glob(f"*{TRANSCRIPTS_SUFFIX}")):
        if not path.is_file():  # a folder, or a pipe, which would block for ever
            raise OSError(errno.EINVAL, f"{path.name} is not a file")
        for number, raw in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
            identity, reason, text = _parse_line(chapter, raw, f"{path.name}:{number}")
            if identity in texts or (identity in rejected and reason is None):
                texts.pop(identity, None)
                reason = "transcript: occurs twice"
            if reason is not None:
                rejected[identity] = reason
            elif identity:
                texts[identity] = text
    return texts, rejected


def _parse_line(chapter: Path, raw: bytes, place: str) -> tuple[str, str | None, str]:
    """(id, reason or None, text) of a line; ('', None, '') for a blank one."""
    pattern = re.escape(_prefix(chapter)) + r"\w+"
    try:
        words = raw.decode("utf-8").split(maxsplit=1)
    except UnicodeDecodeError:
        identity = raw.split(maxsplit=1)[0].decode("ascii", errors="replace")
        return identity if re.fullmatch(pattern, identity) else f"{chapter.name}/{place}", "transcript: not UTF-8", ""
    if not words:
        return "", None, ""
    if not re.fullmatch(pattern, words[0]):
        return f"{chapter.name}/{place}", f"transcript: the id {words[0][:40]!r} does not belong to the folder", ""
    return words[0], None if len(words) == 2 else "no transcript", words[1] if len(words) == 2 else ""


def _read_utterance(chapter: Path, identity: str, text: str, corpus: CorpusConfig) -> MonoCut | str:
    from lhotse import MonoCut  # it imports torch, which a finished stage must not
    from lhotse.audio.utils import AudioLoadingError
    from lhotse.recipes.librispeech import parse_utterance

    normal, reason = check_text(text)
    try:
        reason = reason or check_audio(chapter / f"{identity}{AUDIO_SUFFIX}", corpus)
        if reason is not None:
            return reason
        recording, supervision = parse_utterance(chapter.parent.parent, f"{identity} {normal}", {})
    except (soundfile.SoundFileError, AudioLoadingError, OSError, RuntimeError, ValueError, AssertionError) as error:
        return f"unreadable audio: {' '.join(str(error).split())[-120:]}"
    return MonoCut(identity, start=0.0, duration=recording.duration, channel=0, supervisions=[supervision], recording=recording)


def check_text(text: str) -> tuple[str, str | None]:
    """(normalised text, reason of rejection or None)."""
    try:
        normal = normalise(text)
    except TextError as error:
        return "", str(error)
    if not normal:
        return "", "no transcript"
    longest = max(map(len, normal.split()))
    return normal, f"text: a word of {longest} letters" if longest > _LONGEST_WORD else None


def check_audio(path: Path, corpus: CorpusConfig) -> str | None:
    """The reason why a file cannot be used, or None; raises where it cannot be decoded.

    All of it is decoded, because damage is seldom in the header. Other formats, rates and channels are rejected, not converted:
    LibriSpeech has none, so such a file is not what it says.
    """
    if not path.is_file():  # a folder, a link to nothing, or a pipe, which would block for ever
        return "unreadable audio: not a file"
    header = soundfile.info(str(path))
    if header.format != "FLAC":
        return f"not FLAC: {header.format}, {header.subtype}"
    if header.samplerate != artifacts.SAMPLE_RATE:
        return f"wrong rate: {header.samplerate} Hz instead of {artifacts.SAMPLE_RATE} Hz"
    if header.channels != 1:
        return f"wrong channels: {header.channels} instead of 1"
    if (reason := check_duration(header.frames / header.samplerate, corpus)) is not None:
        return reason
    samples = soundfile.read(str(path), dtype="int16")[0]
    if len(samples) != header.frames:
        return f"unreadable audio: {len(samples)} of {header.frames} samples, truncated"
    return "empty audio: every sample is the same" if np.ptp(samples) == 0 else None


def check_duration(seconds: float, corpus: CorpusConfig) -> str | None:
    """The reason of rejection, or None."""
    shortest, longest = corpus.min_duration_in_s, corpus.max_duration_in_s
    if seconds < shortest:
        return f"too short: {seconds:.3f} s, less than {shortest:g} s"
    return f"too long: {seconds:.1f} s, more than {longest:g} s" if seconds > longest else None
