"""The batches of a decoding. Left out: utterances without text or frames. Halved: batches whose lattices are too large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import torch
from lhotse import CutSet
from lhotse.cut import Cut

from spin.asr.batches import frames_of, sample_batches, text_of
from spin.errors import ResourceError
from spin.runtime.logs import get_logger

Result = TypeVar("Result")


@dataclass
class Survey:
    """The utterances of a part by the way they are decoded.

    Attributes:
        fitting: number of utterances that go into batches.
        long: number of utterances longer than a batch may be; each is decoded alone.
        without_text: number of utterances without a transcript; they are left out.
        without_frames: (id, speaker, text) of those with a transcript but nothing to recognise: all their words are deleted.
    """

    fitting: int = 0
    long: int = 0
    without_text: int = 0
    without_frames: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, int]:
        """Counts of what was not decoded, for a summary; without those that are 0."""
        counts = {"without_text": self.without_text, "without_frames": len(self.without_frames)}
        return {name: count for name, count in counts.items() if count}

    def log(self, what: str, batch_seconds: float) -> None:
        """Logs what is left out or decoded alone."""
        log = get_logger("asr.decoding")
        if self.facts:
            message = "%s: %d utterance(s) without a transcript are left out, %d without a frame count as deletions"
            log.warning(message, what, self.without_text, len(self.without_frames))
        if self.long:
            message = "%s: %d utterance(s) longer than decoding.batch_seconds (%g s), each alone"
            log.info(message, what, self.long, batch_seconds)


def survey(cuts: CutSet, field: str, batch_seconds: float) -> Survey:
    """Counts the utterances; reads the manifest once, and no array. `field` is what the recogniser reads."""
    counted = Survey()
    for cut in cuts:
        if not text_of(cut):
            counted.without_text += 1
        elif frames_of(cut, field) == 0:
            counted.without_frames.append((cut.id, speaker_of(cut), text_of(cut)))
        elif not _fits(batch_seconds, cut):
            counted.long += 1
        else:
            counted.fitting += 1
    return counted


def decoding_batches(cuts: CutSet, field: str, surveyed: Survey, batch_seconds: float) -> Iterator[CutSet]:
    """Batches of all that can be decoded, in a fixed order; the long ones come last, each alone."""
    usable = cuts.filter(partial(_is_decodable, field))
    if surveyed.fitting:
        yield from sample_batches(usable.filter(partial(_fits, batch_seconds)), surveyed.fitting, batch_seconds, None)
    if surveyed.long:
        for cut in usable:
            if not _fits(batch_seconds, cut):
                yield CutSet.from_cuts([cut])


def _fits(batch_seconds: float, cut: Cut) -> bool:
    return cut.duration <= batch_seconds


def _is_decodable(field: str, cut: Cut) -> bool:
    return bool(text_of(cut)) and frames_of(cut, field) > 0


def speaker_of(cut: Cut) -> str:
    """The speaker of a cut with a transcript; empty when none is named."""
    return cut.supervisions[0].speaker or ""


def decode_in_pieces(
    work: Callable[[torch.Tensor, torch.Tensor], Result], names: list[str], log_probs: torch.Tensor, lengths: torch.Tensor
) -> list[Result]:
    """Decodes a batch at once; where k2 or the memory fails, in halves, down to single utterances.

    Each utterance has a lattice of its own, so the halves give the same as the whole. (k2 counts the arcs of a batch in 32 bits:
    an undecided model, a large graph and many utterances exceed that long before the memory is full. On a GPU such a failure may
    leave the device unusable. Then the halves fail too, and the message says what to set.)

    Args:
        work: function of log-probabilities (B, T, V) and lengths (B,).
        names: ids of the B utterances.
        log_probs, lengths: the batch; lengths do not increase.

    Returns:
        Results of `work` for each piece, in the order of the utterances.

    Raises:
        ResourceError: the work failed for a single utterance.
    """
    try:
        return [work(log_probs, lengths)]
    except (RuntimeError, MemoryError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        if len(names) == 1:
            raise ResourceError(
                f"decoding of {names[0]} ({int(lengths[0])} frames)",
                found=reason,
                expected="lattices that k2 can hold in memory",
                cause="long utterances, or a model that is undecided in most frames",
                remedy="reduce decoding.output_beam or decoding.batch_seconds, or decoding.max_active_states if memory is short",
            ) from error
    get_logger("asr.decoding").warning("%d utterances from %s on: in halves, because of %s", len(names), names[0], reason)
    middle = len(names) // 2
    return [
        *decode_in_pieces(work, names[:middle], log_probs[:middle], lengths[:middle]),
        *decode_in_pieces(work, names[middle:], log_probs[middle:, : int(lengths[middle])], lengths[middle:]),
    ]
