"""What of a part is decoded and in which batches; what is not: utterances without text or frames, lattices too large to hold."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from lhotse import CutSet
from lhotse.cut import Cut

from spin.asr.features import frames_of, sample_batches, text_of
from spin.errors import ResourceError
from spin.runtime.logs import get_logger

NAMES_SHOWN = 5
Result = TypeVar("Result")


@dataclass
class Survey:
    """How the utterances of a part are to be decoded.

    Attributes:
        fitting: how many go into batches.
        long: how many are longer than a batch may be; each is decoded alone.
        without_text: how many have no transcript, so nothing to hold a result against; they are left out.
        without_frames: (id, speaker, text) of those with a transcript and nothing to recognise: all their words are deleted.
    """

    fitting: int = 0
    long: int = 0
    without_text: int = 0
    without_frames: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, int]:
        """What a summary says of them; nothing where nothing is amiss."""
        counts = {"without_text": self.without_text, "without_frames": len(self.without_frames)}
        return {name: count for name, count in counts.items() if count}


def survey(cuts: CutSet, batch_seconds: float) -> Survey:
    """Counts the utterances; reads the manifest once, and no features."""
    found = Survey()
    for cut in cuts:
        if not text_of(cut):
            found.without_text += 1
        elif frames_of(cut) == 0:
            found.without_frames.append((cut.id, speaker_of(cut), text_of(cut)))
        elif not _fits(batch_seconds, cut):
            found.long += 1
        else:
            found.fitting += 1
    return found


def decoding_batches(cuts: CutSet, surveyed: Survey, batch_seconds: float) -> Iterator[CutSet]:
    """Batches of all that can be decoded, in a fixed order; the long ones come last, each alone."""
    usable = cuts.filter(_decodable)
    if surveyed.fitting:
        fitting = usable.filter(functools.partial(_fits, batch_seconds))
        yield from sample_batches(fitting, surveyed.fitting, batch_seconds, None)
    if surveyed.long:
        for cut in usable:
            if not _fits(batch_seconds, cut):
                yield CutSet.from_cuts([cut])


def speaker_of(cut: Cut) -> str:
    """The speaker of a cut with a transcript; empty where none is named."""
    return cut.supervisions[0].speaker or ""


def piecewise(
    work: Callable[[torch.Tensor, torch.Tensor], Result], names: list[str], log_probs: torch.Tensor, lengths: torch.Tensor
) -> list[Result]:
    """A batch at once; where k2 or the memory fails, in halves, down to single utterances.

    Each utterance has a lattice of its own, so the halves give what the whole would have. (k2 counts the arcs of a batch in 32
    bits: a model that has no opinion, a large graph and many utterances go beyond that long before the memory is full. On a GPU
    such a failure may leave the device unusable; then the halves fail too, and the message says what to set.)

    Args:
        work: of log-probabilities (B, T, V) and lengths (B,).
        names: of the B utterances.
        log_probs, lengths: of the batch; lengths do not increase.

    Returns:
        What `work` gives for each piece, in the order of the utterances.

    Raises:
        ResourceError: the work failed for an utterance by itself.
    """
    try:
        with named_failures(names, lengths.tolist()):
            return [work(log_probs, lengths)]
    except ResourceError as error:
        if len(names) == 1:
            raise
        reason = error.found
    get_logger("asr.decoding").warning("%d utterances from %s on: in halves, because of %s", len(names), names[0], reason)
    middle = len(names) // 2
    return [
        *piecewise(work, names[:middle], log_probs[:middle], lengths[:middle]),
        *piecewise(work, names[middle:], log_probs[middle:, : int(lengths[middle])], lengths[middle:]),
    ]


@contextlib.contextmanager
def named_failures(names: list[str], frames: list[int]) -> Iterator[None]:
    """Makes an error of k2 or of the allocator one that names the utterances of the batch.

    Raises:
        ResourceError: the search or the rescoring of the batch failed.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        shown = ", ".join(f"{name} ({count} frames)" for name, count in list(zip(names, frames))[:NAMES_SHOWN])
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        raise ResourceError(
            f"decoding of {shown}{more}",
            found=" ".join(f"{type(error).__name__}: {error}".split())[:300],
            expected="lattices that k2 can hold in memory",
            cause="long utterances, or a model that has no opinion on most frames",
            remedy="a smaller decoding.output_beam, decoding.batch_seconds or, when rescoring, decoding.rescore_max_arcs; "
            "a smaller decoding.max_active_states where memory is short",
        ) from error


def _fits(batch_seconds: float, cut: Cut) -> bool:
    return cut.duration <= batch_seconds


def _decodable(cut: Cut) -> bool:
    return bool(text_of(cut)) and frames_of(cut) > 0
