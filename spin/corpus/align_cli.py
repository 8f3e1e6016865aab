"""python -m spin align: forced phone alignment of audio files and their texts, without a corpus.

python -m spin align --audio speech/*.wav --text text --output alignments.tsv --nj 4
python -m spin align --audio speech/*.wav --text text --output textgrids/            # to look at in Praat, words and phones
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from lhotse import Recording
from lhotse.audio.utils import AudioLoadingError, DurationMismatchError
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.corpus.alignment_cli import add_output, writing
from spin.corpus.alignment_files import Aligned, write_aligned
from spin.corpus.text import TextError, normalise
from spin.errors import DataError
from spin.runtime.files import write_jsonl
from spin.runtime.workers import map_parts

_TOGETHER = 8  # utterances that a process is given at once
_LOUDEST = 32767


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m spin align",
        description=__doc__.split(": ", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--audio", required=True, nargs="+", metavar="FILE", help="any rate, channels and format")
    parser.add_argument("--text", required=True, help="a line an utterance: name of the audio file without suffix, its words")
    parser.add_argument("--rejects", help="JSON lines of the utterances that could not be aligned, with the reason")
    parser.add_argument("--nj", type=int, default=1, help="processes")
    add_output(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Aligns; names what cannot be aligned on standard error.

    Raises:
        SpinError: an unreadable text, a file without a text, or no utterance that could be aligned.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    kind, how = writing(arguments)
    texts = read_texts(arguments.text)
    items = [(path.stem, str(path), _text_of(path, texts, arguments.text)) for path in map(Path, arguments.audio)]
    if len({name for name, _, _ in items}) < len(items):
        raise DataError("--audio", found="two files of one name", expected="every name once, whatever its folder")
    rejects: list[dict] = []
    try:
        count = write_aligned(arguments.output, kind, _some(_kept(items, max(1, arguments.nj), rejects), rejects), how)
    finally:
        if arguments.rejects:
            write_jsonl(arguments.rejects, rejects)
    print(f"{arguments.output}: {count} of {len(items)} utterance(s)")


def read_texts(path: str | Path) -> dict[str, str]:
    """name -> words, as they are written.

    Raises:
        DataError: no such file, not UTF-8, or a name that comes twice.
    """
    texts: dict[str, str] = {}
    try:
        for number, line in enumerate(Path(path).read_text(encoding="utf-8-sig").splitlines(), 1):
            name, _, words = " ".join(line.split()).partition(" ")
            if name in texts:
                raise DataError(f"{path} line {number}", found=f"{name} a second time", expected="one line an utterance")
            if name:
                texts[name] = words
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"text {path}", found=str(error), expected="UTF-8: a name and its words a line") from error
    return texts


def align_files(chunk: list[tuple[str, str, str]]) -> list[tuple[str, str, list, list]]:
    """(name, audio file, text) -> (name, "" or why there is no alignment, phones, words), in order."""
    from spin.corpus.forced import Unalignable, process_aligner

    results = []
    for name, path, text in chunk:
        try:
            phones, words = process_aligner().align(read_samples(path), normalise(text))
            results.append((name, "", [tuple(item[:3]) for item in phones], [tuple(item[:3]) for item in words]))
        except Unalignable as error:
            results.append((name, str(error), [], []))
        except TextError as error:
            results.append((name, error.reason, [], []))
        except DataError as error:
            results.append((name, f"audio: {error.found}", [], []))
    return results


def read_samples(path: str | Path) -> np.ndarray:
    """(S,) int16 at 16 kHz: the mean of the channels, resampled where need be.

    Raises:
        DataError: not readable, or not finite.
    """
    try:
        recording = Recording.from_file(path)
        if recording.sampling_rate != artifacts.SAMPLE_RATE:
            recording = recording.resample(artifacts.SAMPLE_RATE)
        audio = np.atleast_2d(np.asarray(recording.load_audio(), dtype=np.float32)).mean(0)
    except (OSError, RuntimeError, ValueError, ZeroDivisionError, AudioLoadingError, DurationMismatchError) as error:
        raise DataError(f"{path}", found=" ".join(str(error).split())[:200] or type(error).__name__, expected="audio") from error
    if not np.isfinite(audio).all():
        raise DataError(f"{path}", found="samples that are not finite", expected="numbers")
    return np.round(np.clip(audio, -1, 1) * _LOUDEST).astype(np.int16)


def _text_of(path: Path, texts: dict[str, str], source: str) -> str:
    if path.stem not in texts:
        raise DataError(f"{source}", found=f"no line of {path.stem}", expected="a line for every file of --audio")
    return texts[path.stem]


def _kept(items: list, nj: int, rejects: list[dict]) -> Iterator[Aligned]:
    chunks = [items[start : start + _TOGETHER] for start in range(0, len(items), _TOGETHER)]
    for results in map_parts(align_files, chunks, nj):
        for name, reason, phones, words in results:
            if reason:
                print(f"{name}: {reason}", file=sys.stderr)
                rejects.append({artifacts.REJECT_ID: name, artifacts.REJECT_REASON: reason})
            else:
                yield Aligned(name, [AlignmentItem(*item) for item in phones], tuple(AlignmentItem(*item) for item in words))


def _some(aligned: Iterable[Aligned], rejects: list[dict]) -> Iterator[Aligned]:
    """The same, or DataError where there is none."""
    empty = True
    for utterance in aligned:
        empty = False
        yield utterance
    if empty:
        first = rejects[0]
        found = f"none of {len(rejects)} utterance(s), {first[artifacts.REJECT_ID]}: {first[artifacts.REJECT_REASON]}"
        raise DataError("alignment", found=found, expected="at least one", cause="texts of other audio")
