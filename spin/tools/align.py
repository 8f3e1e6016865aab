"""python -m spin align: phone alignments of audio files and their texts, or from one format into another.

python -m spin align --audio speech/*.wav --text text --output alignments.tsv --nj 4
python -m spin align --audio speech/*.wav --text text --output textgrids/                    # to look at in Praat
python -m spin align --input LibriSpeech-alignments/dev-clean --output dev-clean.tsv         # TextGrids of the MFA
python -m spin align --input data/mini/cuts_test.jsonl.gz --output test.item                 # ABX items of a part
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from lhotse import Recording
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.corpus.abx_item import KINDS
from spin.corpus.text import TextError, normalise
from spin.data.audio import UnreadableAudio, read_audio
from spin.errors import DataError
from spin.runtime.files import write_jsonl
from spin.runtime.progress import progress
from spin.runtime.workers import map_jobs
from spin.tools.alignment_formats import PHONES, Aligned, read_aligned, write_aligned

_PER_JOB = 8  # utterances


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m spin align", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--audio", nargs="+", metavar="FILE", help="audio to align: any rate, channels and format")
    source.add_argument("--input", help="alignments to convert: .tsv, .ctm, .TextGrid or a folder of them, a manifest of stage 0")
    parser.add_argument("--output", required=True, help="file .tsv, .ctm or .item, or a folder for TextGrids")
    parser.add_argument("--text", help="with --audio: one line per file, its name without suffix and its words")
    parser.add_argument("--rejects", help="with --audio: JSON lines of the utterances that could not be aligned, with the reason")
    parser.add_argument("--nj", type=int, default=1, help="with --audio: number of processes")
    parser.add_argument("--tier", default=PHONES, help=f"with --input: name of the phone tier in TextGrids ({PHONES})")
    parser.add_argument("--keep-stress", action="store_true", help="with --input: phones as written (AH0); otherwise AH, and SIL")
    parser.add_argument("--items", default=KINDS[0], choices=KINDS, help="kind of an .item file: with neighbours, or phone alone")
    parser.add_argument("--speaker-end", default="-", metavar="TEXT", help="the speaker is the utterance's name up to this ('-')")
    arguments = parser.parse_args(argv)
    if arguments.audio and not arguments.text:
        parser.error("--audio needs --text")
    if not arguments.speaker_end:
        parser.error("--speaker-end needs a text such as '-'")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Aligns or converts; names what cannot be aligned on standard error.

    Raises:
        SpinError: an unreadable file, a file without a text, or no utterance that could be aligned.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    rejects: list[dict] = []
    if arguments.input:
        utterances = read_aligned(arguments.input, arguments.tier, arguments.keep_stress)
    else:
        utterances = align_files(arguments.audio, read_texts(arguments.text), max(1, arguments.nj), rejects)
    try:
        count = write_aligned(
            arguments.output, utterances, arguments.items, lambda identity: identity.split(arguments.speaker_end)[0]
        )
    finally:
        if arguments.rejects:
            write_jsonl(arguments.rejects, rejects)
    print(f"{arguments.output}: {count} utterance(s)")


def read_texts(path: str | Path) -> dict[str, str]:
    """Name -> words, as they are written.

    Raises:
        DataError: no such file, not UTF-8, or a name that occurs twice.
    """
    texts: dict[str, str] = {}
    try:
        for number, line in enumerate(Path(path).read_text(encoding="utf-8-sig").splitlines(), 1):
            name, _, words = " ".join(line.split()).partition(" ")
            if name in texts:
                raise DataError(f"{path} line {number}", found=f"{name} a second time", expected="one line per utterance")
            if name:
                texts[name] = words
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"text {path}", found=str(error), expected="UTF-8 lines: a name and its words") from error
    return texts


def align_files(files: list[str], texts: dict[str, str], nj: int, rejects: list[dict]) -> Iterator[Aligned]:
    """Yields the alignments of audio files.

    Args:
        texts: name of a file without suffix -> its words.
        rejects: receives id and reason of each utterance that cannot be aligned.

    Raises:
        DataError: a file without a text, two files of one name, or no utterance that can be aligned.
    """
    paths = {Path(file).stem: str(file) for file in files}
    if len(paths) < len(files):
        raise DataError("--audio", found="two files of one name", expected="each name once, whatever its folder")
    missing = [name for name in paths if name not in texts]
    if missing:
        raise DataError("--text", found=f"no line for {missing[0]}", expected="a line for every file of --audio")
    work = [(name, path, texts[name]) for name, path in paths.items()]
    jobs = [work[start : start + _PER_JOB] for start in range(0, len(work), _PER_JOB)]
    for results in progress(map_jobs(_align_job, jobs, nj), "align", len(jobs)):
        for name, reason, phones, words in results:
            if reason:
                print(f"{name}: {reason}", file=sys.stderr)
                rejects.append({artifacts.REJECT_ID: name, artifacts.REJECT_REASON: reason})
            else:
                yield Aligned(name, [AlignmentItem(*item) for item in phones], tuple(AlignmentItem(*item) for item in words))
    if len(rejects) == len(work):
        first = rejects[0]
        found = f"none of {len(work)} utterance(s); {first[artifacts.REJECT_ID]}: {first[artifacts.REJECT_REASON]}"
        raise DataError("alignment", found=found, expected="at least one", cause="texts of other audio")


def _align_job(work: list[tuple[str, str, str]]) -> list[tuple[str, str, list, list]]:
    """(name, audio file, text) -> (name, "" or why there is no alignment, phones, words), in order."""
    from spin.corpus.forced_alignment import Unalignable, process_aligner

    results = []
    for name, path, text in work:
        try:
            phones, words = process_aligner().align(read_samples(path), normalise(text))
            results.append((name, "", [tuple(item[:3]) for item in phones], [tuple(item[:3]) for item in words]))
        except Unalignable as error:
            results.append((name, str(error), [], []))
        except (TextError, UnreadableAudio) as error:
            results.append((name, error.reason, [], []))
    return results


def read_samples(path: str | Path) -> np.ndarray:
    """(S,) int16 samples at 16 kHz: the mean of the channels, resampled where the rate differs.

    Raises:
        UnreadableAudio: the file cannot be read, or has values that are not finite.
    """
    try:
        cut = Recording.from_file(path).to_cut()
    except Exception as error:  # noqa: BLE001 - whatever lhotse's readers raise on a file that is no audio
        raise UnreadableAudio(f"unreadable audio: {' '.join(str(error).split())[:200]}") from error
    samples = read_audio(cut if cut.sampling_rate == artifacts.SAMPLE_RATE else cut.resample(artifacts.SAMPLE_RATE))
    if not np.isfinite(samples).all():
        raise UnreadableAudio("unreadable audio: samples that are not finite")
    return np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)


if __name__ == "__main__":
    main()
