"""Each speaker's pitch range, from the speaker's own speech in all parts: one unit of work each, results kept as they come."""

from __future__ import annotations

import dataclasses
import functools
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

_TOGETHER = 10_000  # entries of an index made into utterances at a time, as what Python makes of arrays is large
FORK = "fork"  # no thread runs yet when stage 1 splits its work, and forked workers need not import and compile again


@dataclasses.dataclass(slots=True)
class Utterance:
    """What a worker needs of a cut; small, because all of a corpus' are held at once."""

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

    @classmethod
    def all_of(cls, index: Index) -> list[Utterance]:
        """Those of a whole manifest."""
        found = []
        for first in range(0, len(index), _TOGETHER):
            some = slice(first, first + _TOGETHER)
            rows = zip(*(column[some].tolist() for column in (index.ids, index.speakers, index.starts, index.durations)))
            for number, (identity, speaker, start, duration) in enumerate(rows, first):
                name = identity.decode()
                found.append(
                    cls(name, index.names[speaker] if speaker >= 0 else name, start or 0.0, duration, index.path, number)
                )
        return found

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


@functools.lru_cache(maxsize=8)
def _index(manifest: Path) -> Index:
    index = read_index(manifest)
    if index is None:
        raise _changed(manifest)
    return index


def _changed(manifest: Path) -> DataError:
    return DataError(str(manifest), found="another manifest than before", cause="changed meanwhile", remedy="use --force")


def speaker_ranges(
    utterances: list[Utterance], config: PerturbationConfig, kept: Path, nj: int
) -> tuple[dict[str, PitchRange], int]:
    """The pitch range of every speaker, sorted by name, and how many were estimated now.

    Args:
        utterances: of all parts.
        config: the wide first pass, and how much speech of a speaker it takes.
        kept: JSON lines of speakers that are done; a killed stage goes on from them.
        nj: processes.
    """
    by_speaker: dict[str, list[Utterance]] = {}
    for utterance in utterances:
        by_speaker.setdefault(utterance.speaker, []).append(utterance)
    ranges = {record["speaker"]: PitchRange(record["floor"], record["ceiling"], record["median"]) for record in read_jsonl(kept)}
    todo = [name for name in sorted(by_speaker) if name not in ranges]
    jobs = [(spread(by_speaker[name], config.range_seconds), config) for name in todo]
    for name, found in zip(todo, map_parts(_estimate, jobs, nj, FORK), strict=True):
        append_jsonl(kept, {"speaker": name, **dataclasses.asdict(found)})
        ranges[name] = found
    return {name: ranges[name] for name in sorted(by_speaker)}, len(todo)


def spread(utterances: list[Utterance], seconds: float) -> list[Utterance]:
    """At most about `seconds` of speech, taken at even distances."""
    total = sum(utterance.duration for utterance in utterances)
    count = max(1, min(len(utterances), int(len(utterances) * seconds / max(total, 1e-9))))
    return [utterances[index * len(utterances) // count] for index in range(count)]


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
