"""Checks of cuts and of parts, before anything is built on them."""

import itertools
from collections.abc import Collection, Iterable, Mapping

from lhotse import MonoCut
from lhotse.qa import validate

from spin import artifacts
from spin.config import CorpusConfig
from spin.corpus.text import is_normal
from spin.errors import ConfigError, DataError

_TOLERANCE_IN_S = 0.025  # one analysis window past the end


Speakers = dict[str, list[float]]  # speaker -> duration of each of their utterances in seconds


def read_speakers(part: str, cuts: Iterable[dict], part_of: dict[str, str]) -> Speakers:
    """The speakers of the cuts (plain values) of a part, read once.

    `part_of` has the part of each utterance of the parts read before; those of this part are added. Raises DataError for an id
    that this part or another one has already.
    """
    speakers: Speakers = {}
    for cut in cuts:
        if cut["id"] in part_of:
            raise DataError(
                f"part {part}, utterance {cut['id']}",
                found=f"the same id in part {part_of[cut['id']]}",
                expected="ids that occur once in the corpus",
                cause="a part that contains another one (train-clean-100 has all of train-clean-5)",
                remedy=f"name one of the two in both roles: --set corpus.spin_train=[{part}] --set corpus.asr_train=[{part}]",
            )
        part_of[cut["id"]] = part
        speakers.setdefault(cut["supervisions"][0]["speaker"], []).append(cut["duration"])
    return speakers


def check_cut(cut: MonoCut) -> str | None:
    """The first problem of a cut, None if it keeps the contract of manifests.

    After lhotse's own checks: one recording of 16 kHz; one supervision with the cut's id, a speaker and normalised text (empty
    where a part is not transcribed); phones in order of time, none after the end.
    """
    try:
        validate(cut)
    except AssertionError as error:
        return f"lhotse: {' '.join(str(error).split())}"
    if not isinstance(cut, MonoCut) or not cut.has_recording or len(cut.supervisions) != 1:
        return f"{type(cut).__name__} with {len(cut.supervisions)} supervisions, not one recording with one"
    supervision = cut.supervisions[0]
    if supervision.id != cut.id or not supervision.speaker:
        return f"supervision {supervision.id!r} of speaker {supervision.speaker!r}"
    if supervision.text is None or (supervision.text and not is_normal(supervision.text)):
        return f"text {str(supervision.text)[:60]!r} is not normalised"
    if cut.sampling_rate != artifacts.SAMPLE_RATE:
        return f"{cut.sampling_rate} Hz"
    end = 0.0
    for item in (supervision.alignment or {}).get(artifacts.PHONE_TIER) or ():
        if not item.symbol or item.duration <= 0 or item.start < end - 1e-6:
            return f"phone {item.symbol!r} at {item.start} s for {item.duration} s, after one that ends at {end} s"
        end = item.end
    return None if end <= cut.duration + _TOLERANCE_IN_S else f"phones end at {end} s, the audio at {cut.duration} s"


def check_roles(config: CorpusConfig) -> None:
    """Raises ConfigError for a role without parts; without asr_train, for units or pre-training, only spin_train needs some."""
    for role in ("spin_train", "valid", "test") if config.asr_train else ("spin_train",):
        if not getattr(config, role):
            expected, remedy = "names of parts, such as [train-clean-5]", f"--set corpus.{role}=[PART]"
            raise ConfigError(f"corpus.{role}", found="no part", expected=expected, remedy=remedy)


def check_speakers(speakers: Mapping[str, Collection[str]], config: CorpusConfig) -> None:
    """Raises DataError where training, valid and test share speakers (part -> its speakers), unless they are allowed to."""
    roles = {"train": (*config.spin_train, *config.asr_train), "valid": config.valid, "test": config.test}
    for first, second in itertools.combinations(roles, 2):
        pairs = itertools.product(dict.fromkeys(roles[first]), dict.fromkeys(roles[second]))
        shared = [(who, one, other) for one, other in pairs for who in sorted(set(speakers[one]) & set(speakers[other]))]
        if shared and not config.allow_shared_speakers:
            shown = "; ".join(f"speaker {who} in {one} and {other}" for who, one, other in shared[:5])
            raise DataError(
                f"speakers of {first} and {second}",
                found=f"{len({who for who, _, _ in shared})} in both: {shown}",
                expected="no speaker in common",
                cause=f"parts that overlap, in corpus.spin_train, asr_train, {second}",
                remedy="choose other parts, or --set corpus.allow_shared_speakers=true if that is what you want",
            )
