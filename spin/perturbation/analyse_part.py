"""The analysis of a part: pitch contour and pulses of every recording, stored with the cuts.

Chunks of utterances are analysed by several processes. A chunk leaves two files: its arrays and, last, its records. An
interrupted run resumes with the chunks that are missing. Nothing written depends on the number of processes.
"""

import collections
import dataclasses
import itertools
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

from lhotse import MonoCut
from lhotse.serialization import deserialize_item

from spin import artifacts
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.cuts import count_cuts, read_cuts, read_records, write_cuts
from spin.data.store import ArrayWriter
from spin.errors import DataError, rerun
from spin.perturbation.analysis import EMPTY, analyse
from spin.perturbation.analysis_io import add_analysis, store_analysis
from spin.perturbation.pitch_range import PitchRange
from spin.perturbation.speakers import FORK, speaker_of
from spin.runtime.files import read_jsonl, write_jsonl
from spin.runtime.logs import progress
from spin.runtime.rejects import Rejects
from spin.runtime.workers import map_jobs

CHUNK = 64  # utterances; about a quarter of an hour of speech, two seconds of work
ID, REASON, FIELDS = "id", "reason", "fields"  # keys of a chunk's records
NAMED = 5  # utterances named in a line of the log
STAGE = 1


@dataclasses.dataclass(frozen=True)
class _Chunk:
    """One job: cuts as plain values, the pitch range of each cut's speaker, and where its files go."""

    folder: Path
    name: str
    records: list[dict]
    ranges: list[PitchRange]


def analyse_part(
    manifest: Path, part: str, ranges: dict[str, PitchRange], folder: Path, nj: int, max_bad_share: float, log: logging.Logger
) -> None:
    """Analyses the utterances of stage 0's manifest and writes the manifest of stage 1 into `folder`.

    Args:
        manifest: cuts of stage 0.
        part: name of the part, for the rejects.
        ranges: pitch range by speaker.
        folder: partial product; finished chunks in it are kept.
        nj: number of processes.
        max_bad_share: largest share of utterances that may be unusable.
        log: logger of the stage.

    Raises:
        DataError: too many utterances that cannot be used.
    """
    count = count_cuts(manifest)
    chunks = [_records_path(folder, f"{number:05d}") for number in range(-(-count // CHUNK))]
    todo = {number for number, path in enumerate(chunks) if not path.exists()}
    if len(todo) < len(chunks):
        log.info("%d of %d chunks are finished already", len(chunks) - len(todo), len(chunks))
    jobs = _jobs(manifest, ranges, folder, todo)
    for _ in progress(map_jobs(_analyse_chunk, jobs, nj, FORK), "pitch analysis", len(todo)):
        pass
    rejects = Rejects(artifacts.rejects(folder, part), STAGE)
    _report(part, _read_chunks(chunks), rejects, folder, log)
    rejects.check_share(count, max_bad_share)
    rejects.close()
    write_cuts(artifacts.cuts_in(folder), _analysed_cuts(manifest, _read_chunks(chunks)))
    for path in chunks:
        path.unlink()


def _records_path(folder: Path, name: str) -> Path:
    return folder / f"chunk-{name}.jsonl"


def _read_chunks(chunks: list[Path]) -> Iterator[dict]:
    return itertools.chain.from_iterable(map(read_jsonl, chunks))


def _jobs(manifest: Path, ranges: dict[str, PitchRange], folder: Path, todo: set[int]) -> Iterator[_Chunk]:
    records = read_records(manifest)
    for number in itertools.count():
        chunk = list(itertools.islice(records, CHUNK))
        if not chunk:
            return
        if number in todo:
            yield _Chunk(folder, f"{number:05d}", chunk, [ranges[speaker_of(record)] for record in chunk])


def _analyse_chunk(chunk: _Chunk) -> None:
    """Writes the arrays, then the records."""
    cuts = [deserialize_item({**record, "supervisions": []}) for record in chunk.records]
    with ArrayWriter(chunk.folder, f"pitch-{chunk.name}", compress=True) as writer:
        records = [_analyse_cut(cut, pitch_range, writer) for cut, pitch_range in zip(cuts, chunk.ranges, strict=True)]
    write_jsonl(_records_path(chunk.folder, chunk.name), records)


def _analyse_cut(cut: MonoCut, pitch_range: PitchRange, writer: ArrayWriter) -> dict:
    try:
        waveform = read_audio(cut)
    except UnreadableAudio as error:
        return {ID: cut.id, REASON: error.reason}
    analysis = analyse(waveform, cut.sampling_rate, pitch_range)
    if analysis.note == EMPTY:
        return {ID: cut.id, REASON: EMPTY}
    return {ID: cut.id, FIELDS: store_analysis(writer, cut.id, analysis, round(cut.start * cut.sampling_rate))}


def _report(part: str, records: Iterable[dict], rejects: Rejects, folder: Path, log: logging.Logger) -> None:
    """Collects what cannot be used, and lists what gets the equaliser only."""
    degenerate = collections.defaultdict(list)
    for record in records:
        if REASON in record:
            rejects.add(record[ID], part, record[REASON])
        elif note := record[FIELDS][artifacts.PITCH_NOTE_FIELD]:
            degenerate[note].append(record[ID])
    for note, names in sorted(degenerate.items()):
        shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
        log.warning("%s: %d utterance(s) %s, equaliser only: %s", part, len(names), note, shown)
    lines = ({ID: name, REASON: note} for note, names in sorted(degenerate.items()) for name in names)
    write_jsonl(folder / "equaliser_only.jsonl", lines)


def _analysed_cuts(manifest: Path, records: Iterable[dict]) -> Iterator[MonoCut]:
    """Stage 0's cuts with their fields, in the same order, without the rejected; DataError where the two do not fit."""
    pairs = enumerate(itertools.zip_longest(read_cuts(manifest), records))
    for number, (cut, record) in pairs:
        if cut is None or record is None:
            longer = number + 1 + sum(1 for _ in pairs)
            analysed, listed = (number, longer) if record is None else (longer, number)
            raise _changed(f"{analysed} utterances", f"the {listed} of {manifest}")
        if record[ID] != cut.id:
            raise _changed(f"the analysis of {record[ID]}", f"that of {cut.id}, the next of {manifest}")
        if FIELDS in record:
            yield add_analysis(cut, record[FIELDS])


def _changed(found: str, expected: str) -> DataError:
    cause = "the manifest has changed during the stage"
    return DataError("pitch analysis", found=found, expected=expected, cause=cause, remedy=rerun(STAGE))
