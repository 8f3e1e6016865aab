"""Each speaker's pitch range, from the speaker's own speech in all parts: one unit of work each, results kept as they come."""

from __future__ import annotations

import array
import bisect
import collections
import dataclasses
import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
from lhotse import MonoCut, Recording
from lhotse.audio import AudioLoadingError, DurationMismatchError

from spin.config import PerturbationConfig
from spin.errors import DataError
from spin.perturbation.analysis import MAX_AMPLITUDE
from spin.perturbation.pitch_range import PitchRange, range_of, wide_pitch
from spin.runtime.files import append_jsonl, read_jsonl
from spin.runtime.manifests import Index, read_index
from spin.runtime.workers import map_parts

UNREADABLE = (OSError, ValueError, soundfile.SoundFileError, AudioLoadingError, DurationMismatchError)

_TOGETHER = 10_000  # entries of an index at a time, as what Python makes of whole arrays is large
FORK = "fork"  # no thread runs yet when stage 1 splits its work, and forked workers need not import and compile again


@dataclasses.dataclass(slots=True)
class Utterance:
    """What a worker needs of a cut."""

    id: str
    speaker: str
    start: float  # seconds into the recording
    duration: float
    source: dict | Path  # the recording, or the manifest from which to read it
    number: int  # its channel, or the cut's place in the manifest

    @classmethod
    def of(cls, cut: MonoCut) -> Utterance:
        speaker = cut.supervisions[0].speaker if cut.supervisions else None
        return cls(cut.id, speaker or cut.id, cut.start, cut.duration, cut.recording.to_dict(), cut.channel)

    def load(self) -> tuple[np.ndarray, int]:
        """(samples,) and the rate.

        Raises:
            one of UNREADABLE.
        """
        source, number = self.source, self.number
        if isinstance(source, Path):
            record = _index(source).record(number)
            if record["id"] != self.id:
                raise _changed(source)
            source, number = record["recording"], record["channel"]
        recording = Recording.from_dict(dict(source))  # from_dict empties what it is given
        audio = recording.load_audio(channels=number, offset=self.start, duration=self.duration)
        return audio[0], recording.sampling_rate


class Indexed(Sequence):
    """The utterances of an index, each made when it is asked for: what Python makes of a million takes 250 MB."""

    def __init__(self, index: Index):
        self.index = index

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, place: int | slice) -> Utterance | list[Utterance]:
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        number, index = range(len(self))[place], self.index
        identity, speaker = index.ids[number].decode(), int(index.speakers[number])
        start, duration = float(index.starts[number]), float(index.durations[number])
        name = index.names[speaker] if speaker >= 0 else identity
        return Utterance(identity, name, start or 0.0, duration, index.path, number)

    def spoken(self) -> Iterator[tuple[str, float]]:
        """(speaker, seconds) of each, in order; an utterance without speaker is one of its own."""
        index = self.index
        for first in range(0, len(index), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            for identity, speaker, seconds in zip(
                *(column[some].tolist() for column in (index.ids, index.speakers, index.durations))
            ):
                yield index.names[speaker] if speaker >= 0 else identity.decode(), seconds


class Joined(Sequence):
    """The utterances of several parts, one after the other."""

    def __init__(self, parts: list[Sequence[Utterance]]):
        self.parts, self.ends = parts, list(itertools.accumulate(map(len, parts)))

    def __len__(self) -> int:
        return self.ends[-1] if self.ends else 0

    def __getitem__(self, number: int) -> Utterance:
        part = bisect.bisect_right(self.ends, number)
        return self.parts[part][number - self.ends[part] + len(self.parts[part])]

    def spoken(self) -> Iterator[tuple[str, float]]:
        """(speaker, seconds) of each, in order."""
        for part in self.parts:
            yield from part.spoken() if isinstance(part, Indexed) else ((item.speaker, item.duration) for item in part)


@functools.lru_cache(maxsize=8)
def _index(manifest: Path) -> Index:
    index = read_index(manifest)
    if index is None:
        raise _changed(manifest)
    return index


def _changed(manifest: Path) -> DataError:
    return DataError(str(manifest), found="another manifest than before", cause="changed meanwhile", remedy="use --force")


def speaker_ranges(
    parts: list[Sequence[Utterance]], config: PerturbationConfig, kept: Path, nj: int
) -> tuple[dict[str, PitchRange], int]:
    """The pitch range of every speaker, sorted by name, and how many were estimated now.

    Args:
        parts: their utterances.
        config: the wide first pass, and how much speech of a speaker it takes.
        kept: JSON lines of speakers that are done; a killed stage goes on from them.
        nj: processes.
    """
    utterances = Joined(parts)
    places: dict[str, array.array] = {}  # a speaker's own, as small as can be
    seconds: dict[str, float] = collections.defaultdict(float)
    for place, (speaker, duration) in enumerate(utterances.spoken()):
        places.setdefault(speaker, array.array("q")).append(place)
        seconds[speaker] += duration
    ranges = {record["speaker"]: PitchRange(record["floor"], record["ceiling"], record["median"]) for record in read_jsonl(kept)}
    todo = [name for name in sorted(places) if name not in ranges]
    wanted = config.range_seconds
    jobs = (([utterances[place] for place in spread(places[name], seconds[name], wanted)], config) for name in todo)
    for name, found in zip(todo, map_parts(_estimate, jobs, nj, FORK), strict=True):
        append_jsonl(kept, {"speaker": name, **dataclasses.asdict(found)})
        ranges[name] = found
    return {name: ranges[name] for name in sorted(places)}, len(todo)


def spread(places: Sequence[int], total: float, wanted: float) -> list[int]:
    """Of utterances that last `total` seconds together those that last about `wanted`, taken at even distances."""
    count = max(1, min(len(places), int(len(places) * wanted / max(total, 1e-9))))
    return [places[index * len(places) // count] for index in range(count)]


def _estimate(job: tuple[list[Utterance], PerturbationConfig]) -> PitchRange:
    utterances, config = job
    values = [np.zeros(0, dtype=np.float32)]
    for utterance in utterances:
        try:
            waveform, rate = utterance.load()
        except UNREADABLE:
            continue  # the second pass names it
        if len(waveform) and np.isfinite(waveform).all():
            waveform = np.clip(waveform, -MAX_AMPLITUDE, MAX_AMPLITUDE)
            values.append(wide_pitch(waveform, rate, config.pitch_floor_in_hz, config.pitch_ceiling_in_hz))
    return range_of(np.concatenate(values), config.pitch_floor_in_hz, config.pitch_ceiling_in_hz)
