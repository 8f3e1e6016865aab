"""The decoding methods, from log-probabilities to texts. To add one, write a function and add a line to DECODERS."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spin.asr import BLANK_ID
from spin.errors import ResourceError
from spin.runtime.logs import get_logger

if TYPE_CHECKING:  # checks of the configuration import this module in every stage, so it loads neither torch nor k2
    from torch import Tensor

    from spin.asr.graph_search import GraphSearch


@dataclass(frozen=True)
class DecodingResult:
    """The result of a method for a batch."""

    texts: list[str | None]  # of each utterance; None for an empty lattice
    not_rescored: int = 0  # utterances that keep the text of the first pass, because the larger LM leaves no path

    def __add__(self, other: DecodingResult) -> DecodingResult:
        """Joins the results of two batches."""
        return DecodingResult(self.texts + other.texts, self.not_rescored + other.not_rescored)


Results = dict[float, DecodingResult]  # LM scale -> result


def best_path(log_probs: Tensor, lengths: Tensor) -> list[list[int]]:
    """CTC 1-best of (B, T, V) and (B,) frames: the likeliest token of each frame, repeats joined, blanks dropped."""
    best = log_probs.argmax(dim=-1).cpu()
    joined = (row[: int(length)].unique_consecutive() for row, length in zip(best, lengths))
    return [[token for token in row.tolist() if token != BLANK_ID] for row in joined]


def ctc_1best(search: GraphSearch, log_probs: Tensor, lengths: Tensor, search_scale: float, scales: Sequence[float]) -> Results:
    """CTC greedy search: the best path, without lexicon and LM.

    Args (of every method):
        search: graphs and tables.
        log_probs: (B, T, V) float32.
        lengths: (B,) frames per utterance, in descending order, as k2 requires.
        search_scale: LM scale by which the search prunes; methods without an LM ignore it.
        scales: LM scales of the results.
    """
    return dict.fromkeys(scales, DecodingResult([search.lang.tokens.decode(ids) for ids in best_path(log_probs, lengths)]))


def hlg(search: GraphSearch, log_probs: Tensor, lengths: Tensor, search_scale: float, scales: Sequence[float]) -> Results:
    """The best path through the graph of CTC topology, lexicon and n-gram LM; arguments as of ctc_1best."""
    lattices = search.lattices(log_probs, lengths, search_scale)
    return {scale: DecodingResult(search.best_texts(lattices, search_scale, scale)) for scale in scales}


def hlg_lattice(search: GraphSearch, log_probs: Tensor, lengths: Tensor, search_scale: float, scales: Sequence[float]) -> Results:
    """Whole-lattice rescoring of hlg with a larger LM; where no path survives, the text of hlg.

    Arguments as of ctc_1best, `search_scale` being that of hlg.
    """
    lattices = search.lattices(log_probs, lengths, search_scale)
    first = search.best_texts(lattices, search_scale, search_scale)
    if lattices.num_arcs == 0:  # some operations of k2 reject vectors of empty FSAs only
        return dict.fromkeys(scales, DecodingResult(first))
    rescored, results = search.rescore(lattices, lengths, search_scale), {}
    for scale in scales:
        pairs = list(zip(first, search.best_rescored_texts(rescored, scale)))
        lost = sum(new is None and old is not None for old, new in pairs)
        results[scale] = DecodingResult([old if new is None else new for old, new in pairs], lost)
    return results


@dataclass(frozen=True)
class Decoder:
    """A decoding method. One without graphs has no LM scale to tune, and gives phones where asr.tokens is phone."""

    function: Callable[..., Results]  # with the arguments of ctc_1best
    title: str  # its name in reports
    graphs: tuple[str, ...] = ()  # kinds of graph that it searches, of HLG and G, HLG first
    first_pass: str | None = None  # whose tuned LM scale prunes its search; None: tuned with one search at the mean scale


DECODERS = {
    "ctc_1best": Decoder(ctc_1best, "CTC, best path"),
    "hlg": Decoder(hlg, "HLG with n-gram LM", ("HLG",)),
    "hlg_lattice": Decoder(hlg_lattice, "HLG, lattices rescored", ("HLG", "G"), "hlg"),
}


def decode_in_pieces(work: Callable[[Tensor, Tensor], Results], names: list[str], log_probs: Tensor, lengths: Tensor) -> Results:
    """Decodes a batch at once; where k2 or the memory fails, in halves. Raises ResourceError where it fails for one utterance.

    Each utterance has a lattice of its own, so the halves give the same as the whole. (k2 counts the arcs of a batch in 32 bits:
    an undecided model, a large graph and many utterances exceed that long before the memory is full. On a GPU such a failure may
    leave the device unusable. Then the halves fail too, and the message says what to set.)

    `work` is a function of log-probabilities (B, T, V) and lengths (B,), which do not increase; `names` are ids of utterances.
    """
    try:
        return work(log_probs, lengths)
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
    first = decode_in_pieces(work, names[:middle], log_probs[:middle], lengths[:middle])
    second = decode_in_pieces(work, names[middle:], log_probs[middle:, : int(lengths[middle])], lengths[middle:])
    return {scale: result + second[scale] for scale, result in first.items()}
