"""What a decoding leaves out: utterances without text or frames. What it halves: batches whose lattices are too large."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from lhotse.cut import Cut

from spin.asr.batches import frames_of, text_of
from spin.errors import ResourceError
from spin.runtime.logs import get_logger

Result = TypeVar("Result")


@dataclass
class Survey:
    """The utterances of some parts by the way they are decoded.

    Attributes:
        without_text: number of those without a transcript; they are left out.
        without_frames: those with a transcript but nothing to recognise: all their words are deleted.
    """

    without_text: int = 0
    without_frames: list[Cut] = field(default_factory=list)

    @property
    def facts(self) -> dict[str, int]:
        """Counts of what is not decoded, for a summary; without those that are 0."""
        counts = {"without_text": self.without_text, "without_frames": len(self.without_frames)}
        return {name: count for name, count in counts.items() if count}


def survey(cuts: Iterable[Cut], stored: str) -> Survey:
    """Counts the utterances; reads the manifest, and no array. `stored` is the field that the recogniser reads."""
    counted = Survey()
    for cut in cuts:
        if not text_of(cut):
            counted.without_text += 1
        elif not is_decodable(stored, cut):
            counted.without_frames.append(cut)
    return counted


def is_decodable(stored: str, cut: Cut) -> bool:
    """Whether a cut has a transcript and frames."""
    return bool(text_of(cut)) and frames_of(cut, stored) > 0


def decode_in_pieces(
    work: Callable[[torch.Tensor, torch.Tensor], Result], names: list[str], log_probs: torch.Tensor, lengths: torch.Tensor
) -> list[Result]:
    """Decodes a batch at once; where k2 or the memory fails, in halves, down to single utterances.

    Each utterance has a lattice of its own, so the halves give the same as the whole. (k2 counts the arcs of a batch in 32 bits:
    an undecided model, a large graph and many utterances exceed that long before the memory is full. On a GPU such a failure may
    leave the device unusable. Then the halves fail too, and the message says what to set.)

    Args:
        work: function of log-probabilities (B, T, V) and lengths (B,), which do not increase. Its results for the pieces come
            back in the order of the utterances.
        names: ids of the B utterances.

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
                remedy="--set decoding.output_beam=4, or, if memory is short, --set decoding.max_active_states=1000",
            ) from error
    get_logger("asr.decoding").warning("%d utterances from %s on: in halves, because of %s", len(names), names[0], reason)
    middle = len(names) // 2
    return [
        *decode_in_pieces(work, names[:middle], log_probs[:middle], lengths[:middle]),
        *decode_in_pieces(work, names[middle:], log_probs[middle:, : int(lengths[middle])], lengths[middle:]),
    ]
