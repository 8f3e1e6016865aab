"""Each speaker's pitch range, from the speaker's own speech in all training parts."""

import collections
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from lhotse.serialization import deserialize_item

from spin.config import PerturbationConfig
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.cuts import read_records
from spin.perturbation.analysis import MAX_AMPLITUDE
from spin.perturbation.pitch_range import PitchRange, estimate_pitch_range
from spin.runtime.logs import progress
from spin.runtime.workers import map_jobs

RANGE_SECONDS = 600.0  # speech of a speaker, evenly spread, from which the range is estimated
FORK = "fork"  # no thread runs yet when stage 1 splits its work, and forked workers need not import and compile again


def speaker_of(record: dict) -> str:
    """The speaker of a cut's record; the utterance id where it names none."""
    supervisions = record.get("supervisions") or [{}]
    return supervisions[0].get("speaker") or record["id"]


def estimate_ranges(manifests: Sequence[Path], config: PerturbationConfig, nj: int) -> dict[str, PitchRange]:
    """The pitch range of every speaker, sorted by name.

    Args:
        manifests: stage 0's manifests of all training parts.
        config: pitch range of the wide first pass.
        nj: number of processes.
    """
    chosen = choose_utterances(manifests)
    jobs = ((speaker, records, config) for speaker, records in _chosen_speech(manifests, chosen))
    return dict(sorted(progress(map_jobs(_estimate, jobs, nj, FORK), "pitch ranges of speakers", len(chosen))))


def _chosen_speech(manifests: Sequence[Path], chosen: dict[str, set[int]]) -> Iterator[tuple[str, list[dict]]]:
    """(speaker, cuts) as soon as a speaker's cuts are complete: manifests are mostly sorted by speaker, so few are in memory."""
    speech: dict[str, list[dict]] = collections.defaultdict(list)
    numbers: collections.Counter = collections.Counter()
    for record in _all_records(manifests):
        speaker = speaker_of(record)
        if numbers[speaker] in chosen[speaker]:
            speech[speaker].append({**record, "supervisions": []})
            if len(speech[speaker]) == len(chosen[speaker]):
                yield speaker, speech.pop(speaker)
        numbers[speaker] += 1


def choose_utterances(manifests: Sequence[Path]) -> dict[str, set[int]]:
    """For each speaker the numbers of about RANGE_SECONDS of utterances, at even distances among the speaker's own."""
    counts: collections.Counter = collections.Counter()
    seconds: collections.Counter = collections.Counter()
    for record in _all_records(manifests):
        counts[speaker_of(record)] += 1
        seconds[speaker_of(record)] += record["duration"]
    return {speaker: spread(count, seconds[speaker], RANGE_SECONDS) for speaker, count in counts.items()}


def _all_records(manifests: Sequence[Path]) -> Iterator[dict]:
    return itertools.chain.from_iterable(map(read_records, manifests))


def spread(count: int, total: float, wanted: float) -> set[int]:
    """Of `count` utterances that last `total` seconds, the numbers of those that last about `wanted`, at even distances.

    >>> spread(10, 100.0, 30.0)
    {0, 3, 6}
    """
    chosen = max(1, min(count, int(count * wanted / max(total, 1e-9))))
    return {index * count // chosen for index in range(chosen)}


def _estimate(job: tuple[str, list[dict], PerturbationConfig]) -> tuple[str, PitchRange]:
    speaker, records, config = job
    return speaker, estimate_pitch_range(_usable_speech(records), config.pitch_floor_in_hz, config.pitch_ceiling_in_hz)


def _usable_speech(records: list[dict]) -> Iterator[tuple[np.ndarray, float]]:
    for cut in map(deserialize_item, records):
        try:
            waveform = read_audio(cut)
        except UnreadableAudio:
            continue  # the analysis names it
        if len(waveform) and np.isfinite(waveform).all():
            yield np.clip(waveform, -MAX_AMPLITUDE, MAX_AMPLITUDE), cut.sampling_rate
