"""Stage 1: every recording's pitch contour and pulses, analysed once in its speaker's pitch range, stored with the cuts.

First each speaker's pitch range is estimated, then chunks of utterances are analysed. A chunk leaves two files, its arrays and,
last, its records; a killed stage goes on with the chunks that are missing. Nothing written depends on the number of processes.
"""

from __future__ import annotations

import collections
import dataclasses
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from lhotse import MonoCut
from lhotse.serialization import deserialize_item

from spin import artifacts
from spin.errors import DataError
from spin.perturbation.analysis import EMPTY, analyse
from spin.perturbation.board import show_perturbation
from spin.perturbation.packed import PackedWriter
from spin.perturbation.pitch_range import PitchRange
from spin.perturbation.speakers import FORK, UNREADABLE, Indexed, Utterance, speaker_ranges
from spin.perturbation.storage import store_analysis, with_fields
from spin.perturbation.warm_up import warm_up
from spin.runtime.files import atomic_path, read_jsonl, sweep, write_json, write_jsonl
from spin.runtime.manifests import read_index, write_manifest
from spin.runtime.rejects import Rejects
from spin.runtime.stages import Context
from spin.runtime.workers import map_parts

CHUNK = 64  # utterances; about a quarter of an hour of speech, two seconds of work
ID, REASON, FIELDS, MEDIAN = "id", "reason", "fields", "median"  # keys of a chunk's records
NAMED = 5  # utterances named in a line of the log


@dataclasses.dataclass(frozen=True)
class _Chunk:
    """Utterances [first, last) of a part, and where their analyses go."""

    part: Sequence[Utterance]
    first: int
    last: int
    arrays: Path
    records: Path

    def job(self, ranges: dict[str, PitchRange]) -> _Job:
        """What a worker needs; made when its turn comes, as those of a large corpus take much memory together."""
        utterances = [self.part[number] for number in range(self.first, self.last)]
        return _Job(utterances, [ranges[item.speaker] for item in utterances], self.arrays, self.records)


@dataclasses.dataclass(frozen=True)
class _Job:
    utterances: list[Utterance]
    ranges: list[PitchRange]  # one an utterance
    arrays: Path
    records: Path


def analyse_pitch(context: Context) -> None:
    """The work of stage 1; see the module's description.

    Raises:
        DataError: no manifest of stage 0, or too many utterances that cannot be used.
    """
    config, log, nj = context.config, context.log, context.config.runtime.nj
    parts = {part: read_utterances(context.corpus, part) for part in config.corpus.spin_train}
    context.begin()
    warm_up()  # the workers inherit the compiled code
    begun = time.monotonic()
    kept = artifacts.speaker_pitch_lines(context.corpus)
    ranges, new = speaker_ranges(list(parts.values()), config.perturbation, kept, nj)
    write_json(artifacts.speaker_pitch(context.corpus), {name: dataclasses.asdict(found) for name, found in ranges.items()})
    log.info("pitch ranges of %d speakers (%d estimated now) in %.1f s", len(ranges), new, time.monotonic() - begun)
    for name, found in ranges.items():
        log.info("speaker %s: %.0f to %.0f Hz, median %.0f Hz", name, found.floor, found.ceiling, found.median)
    medians: dict[str, list[float]] = {}
    rejects = Rejects(artifacts.rejects(context.corpus, 1), 1)
    chunks = {part: _plan(context.corpus, part, items) for part, items in parts.items()}
    _run(context, [chunk for part in chunks.values() for chunk in part], ranges, nj)
    for part in parts:
        medians[part] = _collect(context, part, chunks[part], rejects)
    rejects.check_share(sum(map(len, parts.values())), config.corpus.max_bad_share)
    for part in parts:
        _write_manifest(context.corpus, part, chunks[part])
    show_perturbation(context.tensorboard, context.corpus, config, ranges, medians)
    rejects.close()


def read_cuts(corpus: Path, part: str) -> Iterator[MonoCut]:
    """The cuts of stage 0, lazily.

    Raises:
        DataError: there is no manifest, or no whole one.
    """
    path = artifacts.cuts(corpus, part)
    if not path.exists():
        raise DataError(str(path), found="no such file", expected="a manifest of stage 0", remedy="run stage 0")
    return map(deserialize_item, read_jsonl(path))


def read_utterances(corpus: Path, part: str) -> Sequence[Utterance]:
    """The utterances of a part: from the index where there is one, else from the cuts themselves."""
    index = read_index(artifacts.cuts(corpus, part))
    return Indexed(index) if index is not None else list(map(Utterance.of, read_cuts(corpus, part)))


def _plan(corpus: Path, part: str, utterances: Sequence[Utterance]) -> list[_Chunk]:
    folder = artifacts.pitch_arrays(corpus, part).resolve()
    sweep(folder)
    chunks = []
    for number, first in enumerate(range(0, len(utterances), CHUNK)):
        last, name = min(first + CHUNK, len(utterances)), f"{number:05d}"
        chunks.append(_Chunk(utterances, first, last, folder / f"{name}.bin", folder / f"{name}.jsonl"))
    return chunks


def _run(context: Context, chunks: list[_Chunk], ranges: dict[str, PitchRange], nj: int) -> None:
    todo = [chunk for chunk in chunks if not chunk.records.exists()]
    log, begun, told = context.log, time.monotonic(), time.monotonic()
    analysed = spent = 0.0
    jobs = (chunk.job(ranges) for chunk in todo)
    for done, (chunk, (seconds, cpu)) in enumerate(zip(todo, map_parts(_analyse_chunk, jobs, nj, FORK), strict=True), start=1):
        analysed, spent = analysed + seconds, spent + cpu
        if time.monotonic() - told > 10.0 or done == len(todo):
            told = time.monotonic()
            log.info("analysed %d of %d chunks (%s) in %.0f s", done, len(todo), chunk.records.parent.name, told - begun)
    if analysed > 0:
        log.info("%.2f h of speech at %.2f ms of CPU a second, reading included", analysed / 3600, 1000 * spent / analysed)


def _analyse_chunk(chunk: _Job) -> tuple[float, float]:
    """Analyses, writes the arrays, then the records; returns the seconds of speech, and of CPU time spent."""
    begun = time.process_time()
    records = []
    with atomic_path(chunk.arrays) as temporary, open(temporary, "wb") as stream:
        writer = PackedWriter(stream, chunk.arrays)
        for utterance, pitch_range in zip(chunk.utterances, chunk.ranges):
            records.append(_analyse_utterance(utterance, pitch_range, writer))
    write_jsonl(chunk.records, records)
    return sum(item.duration for item in chunk.utterances), time.process_time() - begun


def _analyse_utterance(utterance: Utterance, pitch_range: PitchRange, writer: PackedWriter) -> dict:
    try:
        waveform, rate = utterance.load()
    except UNREADABLE as error:
        return {ID: utterance.id, REASON: f"unreadable: {' '.join(str(error).split())[:300]}"}
    analysis = analyse(waveform, rate, pitch_range)
    if analysis.note == EMPTY:
        return {ID: utterance.id, REASON: EMPTY}
    fields = store_analysis(writer, utterance.id, analysis, round(utterance.start * rate))
    return {ID: utterance.id, FIELDS: fields, MEDIAN: analysis.median()}


def _collect(context: Context, part: str, chunks: list[_Chunk], rejects: Rejects) -> list[float]:
    """Counts what cannot be used or not be fully perturbed; returns the median F0 of each voiced utterance."""
    medians, degenerate = [], collections.defaultdict(list)
    for record in _records(chunks):
        if REASON in record:
            rejects.add(record[ID], part, record[REASON])
            continue
        note = record[FIELDS][artifacts.PITCH_NOTE_FIELD]
        if note:
            degenerate[note].append(record[ID])
        else:
            medians.append(record[MEDIAN])
    for note, names in sorted(degenerate.items()):
        shown = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
        context.log.warning("%s: %d utterance(s) %s, equaliser only: %s", part, len(names), note, shown)
    lines = ({ID: name, REASON: note} for note, names in sorted(degenerate.items()) for name in names)
    write_jsonl(artifacts.pitch_arrays(context.corpus, part) / "equaliser_only.jsonl", lines)
    return medians


def _records(chunks: list[_Chunk]) -> Iterator[dict]:
    for chunk in chunks:
        yield from read_jsonl(chunk.records)


def _write_manifest(corpus: Path, part: str, chunks: list[_Chunk]) -> None:
    """Stage 0's cuts with their fields, in the same order, without the rejected; written last."""

    def complete() -> Iterator[dict]:
        for cut, record in zip(read_cuts(corpus, part), _records(chunks), strict=True):
            if record[ID] != cut.id:
                found = f"the analysis of {record[ID]} at the place of {cut.id}"
                raise DataError(str(artifacts.cuts(corpus, part)), found=found, cause="changed meanwhile", remedy="use --force")
            if FIELDS in record:
                yield with_fields(cut, record[FIELDS]).to_dict()

    write_manifest(artifacts.pitch_cuts(corpus, part), complete())
