"""The work of stage 1: the pitch range of every speaker, then pitch contour and pulses of every recording of a part.

Several processes analyse chunks of utterances. A chunk leaves two files: its arrays and, last, its records. An interrupted run
resumes with the chunks that are missing. Nothing written depends on the number of processes.
"""

import collections
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from lhotse import MonoCut
from lhotse.serialization import deserialize_item

from spin import artifacts
from spin.config import PerturbationConfig
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.cuts import count_cuts, pair_cuts, read_records, write_cuts
from spin.data.store import ArrayWriter
from spin.perturbation.analysis import EMPTY, PitchRange, analyse, estimate_pitch_range, prepare
from spin.perturbation.analysis_io import NOTE, add_analysis, store_analysis
from spin.runtime.files import read_jsonl, write_jsonl
from spin.runtime.logs import progress
from spin.runtime.rejects import Rejects
from spin.runtime.workers import map_jobs

STAGE = 1
RANGE_SECONDS = 600.0  # speech of a speaker, evenly spread, from which the range is estimated
CHUNK = 64  # utterances; about a quarter of an hour of speech, two seconds of work
ID, REASON, FIELDS = "id", "reason", "fields"  # keys of a chunk's records
FORK = "fork"  # no thread runs yet when stage 1 splits its work, and forked workers need not import and compile again


def speaker_of(record: dict) -> str:
    """The speaker of a cut's record; the utterance id where it names none."""
    supervisions = record.get("supervisions") or [{}]
    return supervisions[0].get("speaker") or record["id"]


def estimate_ranges(manifests: Sequence[Path], config: PerturbationConfig, nj: int) -> dict[str, PitchRange]:
    """The pitch range of every speaker, sorted by name, from stage 0's manifests of all training parts."""
    chosen = choose_utterances(manifests)
    jobs = ((*speech, config) for speech in _chosen_speech(manifests, chosen))
    return dict(sorted(progress(map_jobs(_estimate, jobs, nj, FORK), "pitch ranges of speakers", len(chosen))))


def choose_utterances(manifests: Sequence[Path]) -> dict[str, set[int]]:
    """For each speaker the numbers of about RANGE_SECONDS of utterances, at even distances among the speaker's own."""
    counts: collections.Counter = collections.Counter()
    seconds: collections.Counter = collections.Counter()
    for record in _read_all(read_records, manifests):
        counts[speaker_of(record)] += 1
        seconds[speaker_of(record)] += record["duration"]
    return {speaker: spread(count, seconds[speaker], RANGE_SECONDS) for speaker, count in counts.items()}


def spread(count: int, total: float, wanted: float) -> set[int]:
    """Of `count` utterances that last `total` seconds, the numbers of those that last about `wanted`, at even distances.

    >>> spread(10, 100.0, 30.0)
    {0, 3, 6}
    """
    chosen = max(1, min(count, int(count * wanted / max(total, 1e-9))))
    return {index * count // chosen for index in range(chosen)}


def _chosen_speech(manifests: Sequence[Path], chosen: dict[str, set[int]]) -> Iterator[tuple[str, list[dict]]]:
    """(speaker, cuts) as soon as a speaker's cuts are complete: manifests are mostly sorted by speaker, so few are in memory."""
    speech: dict[str, list[dict]] = collections.defaultdict(list)
    numbers: collections.Counter = collections.Counter()
    for record in _read_all(read_records, manifests):
        speaker = speaker_of(record)
        if numbers[speaker] in chosen[speaker]:
            speech[speaker].append({**record, "supervisions": []})
            if len(speech[speaker]) == len(chosen[speaker]):
                yield speaker, speech.pop(speaker)
        numbers[speaker] += 1


def _read_all(read: Callable[[Path], Iterator[dict]], paths: Sequence[Path]) -> Iterator[dict]:
    return itertools.chain.from_iterable(map(read, paths))


def _estimate(job: tuple[str, list[dict], PerturbationConfig]) -> tuple[str, PitchRange]:
    speaker, records, config = job
    return speaker, estimate_pitch_range(_usable_speech(records), config.pitch_floor_in_hz, config.pitch_ceiling_in_hz)


def _usable_speech(records: list[dict]) -> Iterator[tuple[np.ndarray, float]]:
    for cut in map(deserialize_item, records):
        try:
            waveform, bad = prepare(read_audio(cut))
        except UnreadableAudio:
            continue  # the analysis names it
        if len(waveform) and not bad:
            yield waveform, cut.sampling_rate


def analyse_part(
    manifest: Path, part: str, ranges: dict[str, PitchRange], folder: Path, nj: int, max_bad_share: float, log: logging.Logger
) -> None:
    """Analyses the utterances of stage 0's manifest and writes the manifest of stage 1 into `folder`, keeping finished chunks.

    `ranges` is by speaker. Raises DataError where more than max_bad_share of the utterances are unusable.
    """
    count = count_cuts(manifest)
    chunks = [folder / f"chunk-{number:05d}.jsonl" for number in range(-(-count // CHUNK))]
    jobs, missing = _jobs(manifest, ranges, chunks), sum(not path.exists() for path in chunks)
    for _ in progress(map_jobs(_analyse_chunk, jobs, nj, FORK), "pitch analysis", missing):
        pass
    rejects = Rejects(artifacts.rejects(folder, part), STAGE)
    _report(part, _read_all(read_jsonl, chunks), rejects, folder / "equaliser_only.jsonl", log)
    rejects.check_share(count, max_bad_share)
    rejects.close()
    write_cuts(artifacts.cuts_in(folder), _analysed_cuts(manifest, _read_all(read_jsonl, chunks)))
    for path in chunks:
        path.unlink()


def _jobs(manifest: Path, ranges: dict[str, PitchRange], chunks: list[Path]) -> Iterator[tuple[Path, list]]:
    """(file of the chunk's records, its cuts as plain values with the pitch range of their speaker) of each missing chunk."""
    records = read_records(manifest)
    for path in chunks:
        cuts = list(itertools.islice(records, CHUNK))
        if not path.exists():
            yield path, [(cut, ranges[speaker_of(cut)]) for cut in cuts]


def _analyse_chunk(job: tuple[Path, list[tuple[dict, PitchRange]]]) -> None:
    """Writes the arrays, then the records."""
    path, cuts = job
    with ArrayWriter(path.parent, path.stem.replace("chunk", "pitch"), compress=True) as writer:
        records = [_analyse_cut(deserialize_item({**cut, "supervisions": []}), pitch_range, writer) for cut, pitch_range in cuts]
    write_jsonl(path, records)


def _analyse_cut(cut: MonoCut, pitch_range: PitchRange, writer: ArrayWriter) -> dict:
    try:
        waveform = read_audio(cut)
    except UnreadableAudio as error:
        return {ID: cut.id, REASON: str(error)}
    analysis = analyse(waveform, cut.sampling_rate, pitch_range)
    if analysis.note == EMPTY:
        return {ID: cut.id, REASON: EMPTY}
    return {ID: cut.id, FIELDS: store_analysis(writer, cut.id, analysis, round(cut.start * cut.sampling_rate))}


def _report(part: str, records: Iterable[dict], rejects: Rejects, path: Path, log: logging.Logger) -> None:
    """Collects what cannot be used, and lists in `path` what gets the equaliser only."""
    degenerate = []
    for record in records:
        if REASON in record:
            rejects.add(record[ID], part, record[REASON])
        elif note := record[FIELDS][NOTE]:
            degenerate.append({ID: record[ID], REASON: note})
    degenerate.sort(key=lambda record: record[REASON])
    for note, count in collections.Counter(record[REASON] for record in degenerate).items():
        log.warning("%s: %d utterance(s) %s, equaliser only: see %s", part, count, note, path.name)
    write_jsonl(path, degenerate)


def _analysed_cuts(manifest: Path, records: Iterable[dict]) -> Iterator[MonoCut]:
    """Stage 0's cuts with their fields, in the same order, without the rejected."""
    for cut, record in pair_cuts(manifest, ((record[ID], record) for record in records)):
        if FIELDS in record:
            yield add_analysis(cut, record[FIELDS])
