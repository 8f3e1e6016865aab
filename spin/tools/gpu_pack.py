"""LibriSpeech in few megabytes, for the GPU check on a machine without a network: utils/gpu_check.sh --pack DIR.

A pack has LibriSpeech's layout: the part to train on as Opus at 24 kbit/s, as much as fits, evenly over its speakers; a few
utterances of the parts to validate and test on as FLAC, because Opus would change the figures; and phone alignments of the
latter, so that the GPU machine needs no pocketsphinx.

    python -m spin.tools.gpu_pack PACK FOLDER      # decodes a pack into FOLDER, whose parts stage 0 reads
"""

import concurrent.futures
import contextlib
import itertools
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import soundfile

from spin.corpus.alignment import write_tsv
from spin.corpus.librispeech import TRANSCRIPTS_SUFFIX, require_folder, require_parts
from spin.corpus.text import normalise
from spin.errors import DataError
from spin.units.units import frame_labels

PARTS = ("train-clean-5", "train-clean-100", "test-other")  # to train, validate and test on
ALIGNMENTS = "alignments"  # folder of <part>.tsv
MEBIBYTE = 2**20
HELD_OUT = 40  # utterances of each part that is not trained on
COMPRESSION = 1 - (24 - 6) / 250  # libsndfile makes 256 to 6 kbit/s of levels 0 to 1


def pack(corpus_dir: str | None, output: Path, parts: Sequence[str] = PARTS, limit: float = 40.0) -> int:
    """Writes a pack of at most `limit` MiB, alignments aside (below 1 MiB), into a new folder; returns its number of bytes.

    Raises DataError for a missing part, or an output folder that is not empty.
    """
    root = require_folder(corpus_dir)
    require_parts(root, parts)
    if output.exists() and any(output.iterdir()):
        raise DataError(f"folder {output}", found="files", expected="a new or empty folder", remedy="choose another --pack")
    train, *held_out = parts
    chosen = {part: in_turn(root / part)[:HELD_OUT] for part in held_out}
    size = 0
    for file in itertools.chain(*chosen.values(), in_turn(root / train)):
        target = output / file.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_relative_to(output / train):
            target = target.with_suffix(".opus")
            samples, rate = soundfile.read(file, dtype="int16")
            soundfile.write(target, samples, rate, format="OGG", subtype="OPUS", compression_level=COMPRESSION)
        else:
            shutil.copyfile(file, target)
        size += target.stat().st_size
        if size > limit * MEBIBYTE:
            target.unlink()
            break
        with open(target.parent / transcripts(file).name, "a", encoding="utf-8") as stream:
            stream.write(f"{file.stem} {text_of(file)}\n")
    for part, files in chosen.items():
        write_tsv(output / ALIGNMENTS / f"{part}.tsv", align(files))
    return sum(path.stat().st_size for path in output.rglob("*") if path.is_file())


def in_turn(part: Path) -> list[Path]:
    """The FLAC files of a part, one of each speaker, then the second of each, and so on."""
    speakers = [sorted(folder.rglob("*.flac")) for folder in sorted(part.iterdir())]
    return [file for turn in itertools.zip_longest(*speakers) for file in turn if file is not None]


def transcripts(file: Path) -> Path:
    """The transcripts of the chapter of a FLAC file."""
    return file.with_name(file.stem.rpartition("-")[0] + TRANSCRIPTS_SUFFIX)


def text_of(file: Path) -> str:
    """The transcript of a FLAC file; '' where it has none, which stage 0 then rejects."""
    lines = (line.partition(" ") for line in transcripts(file).read_text(encoding="utf-8").splitlines())
    return next((text for name, _, text in lines if name == file.stem), "")


def align(files: Iterable[Path]) -> Iterator[tuple[str, list[str]]]:
    """(id, phones every 10 ms) of the utterances that can be aligned."""
    from spin.corpus.align import Unalignable, process_aligner

    for file in files:
        samples, rate = soundfile.read(file, dtype="int16")
        with contextlib.suppress(Unalignable):  # the metrics then leave it out, as in any corpus
            phones, _ = process_aligner().align(samples, normalise(text_of(file)))
            yield file.stem, frame_labels(phones, round(100 * len(samples) / rate))


def unpack(source: Path, output: Path) -> None:
    """Decodes the Opus files of a pack to FLAC and copies the rest; an unpacked folder is kept as it is."""
    if output.exists():
        return
    partial = output.with_name(f"{output.name}.partial")
    shutil.copytree(source, partial, dirs_exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor() as pool:  # soundfile releases the interpreter's lock
        list(pool.map(_decode, partial.rglob("*.opus")))
    partial.rename(output)


def _decode(path: Path) -> None:
    samples, rate = soundfile.read(path, dtype="int16")
    soundfile.write(path.with_suffix(".flac"), samples, rate)
    path.unlink()


if __name__ == "__main__":
    unpack(Path(sys.argv[1]), Path(sys.argv[2]))
