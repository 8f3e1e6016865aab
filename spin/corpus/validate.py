"""Manifests checked before anything is built on them."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lhotse import CutSet, MonoCut
from lhotse.qa import validate
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.config import CorpusConfig
from spin.corpus.text import is_normal, shorten
from spin.errors import DataError

_TOLERANCE_IN_S = 0.025  # one analysis window past the end


@dataclass
class PartSummary:
    """What a pass over a part's manifest found."""

    name: str
    durations: list[float] = field(default_factory=list)  # seconds, in the order of ids
    seconds_of: dict[str, float] = field(default_factory=lambda: collections.defaultdict(float))  # speaker -> seconds
    utterances_of: dict[str, int] = field(default_factory=lambda: collections.defaultdict(int))  # speaker -> utterances
    words: set[str] = field(default_factory=set)
    aligned: int = 0  # utterances with a phone alignment

    @property
    def hours(self) -> float:
        return sum(self.durations) / 3600


def check_part(path: Path, name: str, known: dict[str, str]) -> PartSummary:
    """Reads a manifest once, cut by cut; returns its summary.

    Args:
        path: cuts_{part}.jsonl.gz.
        known: utterance id -> part, of the parts checked before; those of this part are added.

    Raises:
        DataError: an empty part, or the first cut that breaks the contract (lhotse's checks; one supervision with the cut's id;
            text in the normal form; a speaker; 16 kHz, one channel; ids sorted and in no other part; phones in order of time).
    """
    summary = PartSummary(name)
    before = ""
    for cut in CutSet.from_jsonl_lazy(path):
        subject = f"part {name}, utterance {cut.id}"
        claim_id(known, cut.id, name)
        if cut.id <= before:
            raise DataError(
                subject, found=f"it comes after {before}", expected="ids in order, each once", remedy="stage 0 with --force"
            )
        problem = cut_problem(cut)
        if problem is not None:
            raise DataError(subject, found=problem, expected="a valid manifest", remedy="stage 0 with --force")
        before = cut.id
        _count(summary, cut)
    check_not_empty(name, len(summary.durations), artifacts.rejects(path.parent, 0))
    return summary


def cut_problem(cut: MonoCut) -> str | None:
    """What is wrong with a cut, None if nothing."""
    try:
        validate(cut)
    except AssertionError as error:
        return f"lhotse: {' '.join(str(error).split())}"
    if not isinstance(cut, MonoCut) or not cut.has_recording or len(cut.supervisions) != 1:
        return f"{type(cut).__name__} with {len(cut.supervisions)} supervisions, not one recording with one"
    supervision = cut.supervisions[0]
    if supervision.id != cut.id or not supervision.speaker:
        return f"supervision {supervision.id!r} of speaker {supervision.speaker!r}"
    if not is_normal(supervision.text or ""):
        return f"text {shorten(str(supervision.text))!r} is not normalised"
    if cut.sampling_rate != artifacts.SAMPLE_RATE:
        return f"{cut.sampling_rate} Hz"
    return _alignment_problem((supervision.alignment or {}).get(artifacts.PHONE_TIER), cut.duration)


def claim_id(known: dict[str, str], identity: str, part: str) -> None:
    """Notes that an utterance is in a part; raises DataError when it is in another one already."""
    if known.setdefault(identity, part) != part:
        raise DataError(
            f"part {part}, utterance {identity}",
            found=f"the same id in part {known[identity]}",
            expected="ids that occur once in the corpus",
            cause="a part that holds another one (train-clean-100 has all of train-clean-5)",
            remedy="use one of the two parts for both roles",
        )


def check_not_empty(part: str, usable: int, rejects: Path) -> None:
    """Raises DataError when a part has no usable utterance."""
    if usable == 0:
        raise DataError(
            f"part {part}", found="no usable utterance", expected="at least one", remedy=f"see {rejects} for the reasons"
        )


def check_speakers(speakers: Mapping[str, Collection[str]], config: CorpusConfig) -> None:
    """Checks that training, valid and test have no speaker in common, unless corpus.allow_shared_speakers.

    Args:
        speakers: part -> its speakers.

    Raises:
        DataError: names speakers and parts.
    """
    if config.allow_shared_speakers:
        return
    roles = {"train": (*config.spin_train, *config.asr_train), "valid": config.valid, "test": config.test}
    for first, second in itertools.combinations(roles, 2):
        shared = _shared(speakers, roles[first], roles[second])
        if shared:
            shown = "; ".join(f"speaker {who} in {one} and {other}" for who, one, other in shared[:5])
            raise DataError(
                f"speakers of {first} and {second}",
                found=f"{len({who for who, _, _ in shared})} in both: {shown}",
                expected="no speaker in common",
                cause=f"parts that overlap, in corpus.spin_train, asr_train, {second}",
                remedy="choose other parts, or --set corpus.allow_shared_speakers=true if that is what you want",
            )


def _shared(speakers: Mapping[str, Collection[str]], first: Iterable[str], second: Iterable[str]) -> list[tuple[str, str, str]]:
    """(speaker, part of the first role, part of the second) for each speaker in both."""
    pairs = itertools.product(dict.fromkeys(first), dict.fromkeys(second))
    return [(who, one, other) for one, other in pairs for who in sorted(set(speakers[one]) & set(speakers[other]))]


def _alignment_problem(items: list[AlignmentItem] | None, duration: float) -> str | None:
    end = 0.0
    for item in items or ():
        if not item.symbol or item.duration <= 0 or item.start < end - 1e-6:
            return f"phone {item.symbol!r} at {item.start} s for {item.duration} s, after one that ends at {end} s"
        end = item.end
    return None if end <= duration + _TOLERANCE_IN_S else f"phones end at {end} s, the audio at {duration} s"


def _count(summary: PartSummary, cut: MonoCut) -> None:
    supervision = cut.supervisions[0]
    summary.durations.append(cut.duration)
    summary.seconds_of[supervision.speaker] += cut.duration
    summary.utterances_of[supervision.speaker] += 1
    summary.words.update(supervision.text.split())
    summary.aligned += bool((supervision.alignment or {}).get(artifacts.PHONE_TIER))
