"""LibriSpeech on disk: any part in the original layout, <part>/<speaker>/<chapter>/{<id>.flac, <speaker>-<chapter>.trans.txt}.

lhotse's own recipe makes the recordings and supervisions, one utterance at a time. A bad file is then named and rejected, where
the whole recipe would end with an exception.
"""

import errno
import functools
import hashlib
import json
import logging
import os
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from spin import artifacts
from spin.config import CorpusConfig
from spin.corpus.registry import Corpus, Rejected, make_record
from spin.corpus.text import normalise
from spin.errors import ConfigError, DataError
from spin.runtime.logs import progress
from spin.runtime.workers import map_jobs

ROOT = "LibriSpeech"
AUDIO_SUFFIX, TRANSCRIPTS_SUFFIX = ".flac", ".trans.txt"
_LONGEST_WORD = 100  # letters; longer ones are damage, and deriving their pronunciation takes forever


class LibriSpeech(Corpus):
    """The parts below corpus.corpus_dir, downloaded first where corpus.download asks for it."""

    @property
    def root(self) -> Path:
        corpus = self.config.corpus
        return root_in(corpus.corpus_dir or corpus.data_dir) if corpus.download else require_folder(corpus.corpus_dir)

    def check(self, parts: Sequence[str], log: logging.Logger) -> None:
        if self.config.corpus.download:
            from spin.corpus.download import download_missing

            download_missing(self.root, parts, log)
        require_parts(self.root, parts)

    def fingerprint(self, part: str) -> dict:
        """Folder, and one digest of recordings (name, size, time of change) and transcripts (name, content).

        28,000 files take about a second on a local disk. A recording that was changed with its size and time kept goes unseen.
        """
        folder, state, count = self.root / part, hashlib.sha256(), 0
        for path in (chapter / name for chapter in chapters(folder) for name in names_in(chapter)):
            if path.name.endswith((AUDIO_SUFFIX, TRANSCRIPTS_SUFFIX)):
                state.update(f"{json.dumps([*path.parts[-3:], _state_of(path)])}\n".encode("ascii"))
                count += 1
        return {f"folder of {part}": str(folder), f"files of {part}": f"{count} files:{state.hexdigest()[:32]}"}

    def read(self, part: str, nj: int) -> Iterator[dict]:
        folders = chapters(self.root / part)
        read = functools.partial(read_chapter, corpus=self.config.corpus)
        for records in progress(map_jobs(read, folders, nj), f"read {part}", len(folders)):
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


def root_in(folder: str) -> Path:
    """The absolute folder of the parts: `folder` with parts in it, or called LibriSpeech, or else LibriSpeech in it."""
    path = Path(folder).absolute()
    inner = path / ROOT
    return path if parts_in(path) or (path.name == ROOT and not inner.is_dir()) else inner


def require_folder(corpus_dir: str | None) -> Path:
    """The folder of the parts of a corpus that must be there; raises SpinError where it is not."""
    expected = "the folder that holds LibriSpeech's parts"
    remedy = "--corpus-dir PATH/TO/LibriSpeech, or --set corpus.download=true"
    if not corpus_dir:
        raise ConfigError("corpus.corpus_dir", found="not set", expected=expected, remedy=remedy)
    if not Path(corpus_dir).is_dir():
        raise DataError(f"corpus folder {corpus_dir}", found="no such folder", expected=expected, remedy=remedy)
    root = root_in(corpus_dir)
    return root if root.is_dir() else Path(corpus_dir).absolute()


def chapters(part: Path) -> list[Path]:
    """The chapter folders of a part in the order of their utterances' ids ('103-1240-' < '1034-')."""
    return sorted((chapter for speaker in _folders(part) for chapter in _folders(speaker)), key=_prefix)


def _state_of(path: Path) -> list | str:
    transcripts = path.name.endswith(TRANSCRIPTS_SUFFIX)
    try:
        if transcripts and path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()
        if transcripts:  # a folder, or a pipe, which would block for ever
            return "not a file"
        status = path.stat()
        return [stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns, os.access(path, os.R_OK)]
    except OSError as error:  # unreadable, or a link to nothing or to itself
        return f"unreadable: {error.errno}" if transcripts else [error.errno]


def read_chapter(chapter: Path, corpus: CorpusConfig) -> list[dict]:
    """The records of <part>/<speaker>/<chapter> (see Corpus.read) in the order of ids."""
    names = names_in(chapter)  # not glob, which skips unreadable folders in silence
    audio = {name.removesuffix(AUDIO_SUFFIX) for name in names if name.endswith(AUDIO_SUFFIX)}
    try:
        transcripts = _read_transcripts(chapter)
    except OSError as error:
        transcripts = dict.fromkeys(audio, Rejected(f"transcripts unreadable: {error.strerror}"))
    texts = ((identity, transcripts.get(identity, "")) for identity in sorted(audio | transcripts.keys()))
    return [make_record(identity, _read_utterance, chapter, identity, text, corpus) for identity, text in texts]


def names_in(folder: Path) -> list[str]:
    """Sorted names in a folder; raises DataError when it cannot be read, so that nothing in it is lost in silence."""
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        found, remedy = error.strerror or str(error), f"chmod -R u+rX {shlex.quote(str(folder))}, or move it out of the corpus"
        raise DataError(f"folder {folder}", found=found, expected="a folder that can be read", remedy=remedy) from error


def _folders(folder: Path) -> list[Path]:
    return [folder / name for name in names_in(folder) if (folder / name).is_dir()]


def _prefix(chapter: Path) -> str:
    return f"{chapter.parent.name}-{chapter.name}-"


def _read_transcripts(chapter: Path) -> dict[str, str | Rejected]:
    """Text as written, or the reason of its rejection, by id; raises OSError for a file that cannot be read."""
    pattern = re.escape(_prefix(chapter)) + r"\w+"
    texts: dict[str, str | Rejected] = {}
    for path in sorted(chapter.glob(f"*{TRANSCRIPTS_SUFFIX}")):
        if not path.is_file():  # a folder, or a pipe, which would block for ever
            raise OSError(errno.EINVAL, f"{path.name} is not a file")
        for number, line in enumerate(path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
            words = line.decode("utf-8", errors="replace").split(maxsplit=1)
            if not words:
                continue
            belongs = re.fullmatch(pattern, words[0]) is not None
            identity = words[0] if belongs else f"{chapter.name}/{path.name}:{number}"
            if identity in texts:
                texts[identity] = Rejected("transcript: occurs twice")
            elif any("\ufffd" in word for word in words):
                texts[identity] = Rejected("transcript: not UTF-8")
            elif not belongs:
                texts[identity] = Rejected(f"transcript: the id {words[0][:40]!r} does not belong to the folder")
            else:
                texts[identity] = words[1] if len(words) == 2 else Rejected("no transcript")
    return texts


def _read_utterance(chapter: Path, identity: str, text: str | Rejected, corpus: CorpusConfig) -> dict:
    from lhotse import MonoCut  # it imports torch, which a finished stage must not
    from lhotse.audio.utils import AudioLoadingError
    from lhotse.recipes.librispeech import parse_utterance

    # Two folders could have the same ids if their names had dashes, and lhotse would look for the audio elsewhere.
    for kind, name in (("speaker", chapter.parent.name), ("chapter", chapter.name)):
        if "-" in name:
            raise Rejected(f"a dash in the name of the {kind} folder: {name!r}, and ids are speaker-chapter-number")
    if isinstance(text, Rejected):
        raise text
    normal, path = check_text(text), chapter / f"{identity}{AUDIO_SUFFIX}"
    if not os.path.lexists(path):
        raise Rejected("no audio file")
    try:
        check_audio(path, corpus)
        recording, supervision = parse_utterance(chapter.parent.parent, f"{identity} {normal}", {})
    except (soundfile.SoundFileError, AudioLoadingError, OSError, RuntimeError, ValueError, AssertionError) as error:
        raise Rejected(f"unreadable audio: {' '.join(str(error).split())[-120:]}") from error
    cut = MonoCut(identity, start=0.0, duration=recording.duration, channel=0, supervisions=[supervision], recording=recording)
    return cut.to_dict()


def check_text(text: str) -> str:
    """The normalised text; raises Rejected where there is none, or no single reading of it."""
    normal = normalise(text)
    if not normal:
        raise Rejected("no transcript")
    longest = max(map(len, normal.split()))
    if longest > _LONGEST_WORD:
        raise Rejected(f"text: a word of {longest} letters")
    return normal


def check_audio(path: Path, corpus: CorpusConfig) -> None:
    """Raises Rejected for a file that cannot be used, and other errors for one that cannot be decoded.

    All of it is decoded, because damage is seldom in the header. Other formats, rates and channels are rejected, not converted:
    LibriSpeech has none, so such a file is not what it says.
    """
    if not path.is_file():  # a folder, a link to nothing, or a pipe, which would block for ever
        raise Rejected("unreadable audio: not a file")
    header = soundfile.info(str(path))
    if header.format != "FLAC":
        raise Rejected(f"not FLAC: {header.format}, {header.subtype}")
    if header.samplerate != artifacts.SAMPLE_RATE:
        raise Rejected(f"wrong rate: {header.samplerate} Hz instead of {artifacts.SAMPLE_RATE} Hz")
    if header.channels != 1:
        raise Rejected(f"wrong channels: {header.channels} instead of 1")
    check_duration(header.frames / header.samplerate, corpus)
    samples = soundfile.read(str(path), dtype="int16")[0]
    if len(samples) != header.frames:
        raise Rejected(f"unreadable audio: {len(samples)} of {header.frames} samples, truncated")
    if np.ptp(samples) == 0:
        raise Rejected("empty audio: every sample is the same")


def check_duration(seconds: float, corpus: CorpusConfig) -> None:
    """Raises Rejected for an utterance that is too short or too long."""
    shortest, longest = corpus.min_duration_in_s, corpus.max_duration_in_s
    if seconds < shortest:
        raise Rejected(f"too short: {seconds:.3f} s, less than {shortest:g} s")
    if seconds > longest:
        raise Rejected(f"too long: {seconds:.1f} s, more than {longest:g} s")
