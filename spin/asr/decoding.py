"""From log-probabilities to text: CTC's best path, and the best path through the graph of lexicon and LM."""

from __future__ import annotations

from dataclasses import dataclass

import k2
import torch

from spin.asr.lang import Lang
from spin.asr.loss import dense_segments
from spin.asr.tokens import BLANK_ID
from spin.config import DecodingConfig

CTC_1BEST, HLG, NBEST, LATTICE = "ctc_1best", "hlg", "hlg_nbest", "hlg_lattice"
METHODS = (CTC_1BEST, HLG, NBEST, LATTICE)
RESCORING = (NBEST, LATTICE)


def best_path(log_probs: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
    """CTC 1-best: the likeliest token of each frame, repeats joined, blanks dropped.

    Args:
        log_probs: (B, T, V).
        lengths: (B,) frames.

    Returns:
        Token ids of each utterance.
    """
    best = log_probs.argmax(dim=-1).cpu()
    joined = (row[: int(length)].unique_consecutive() for row, length in zip(best, lengths))
    return [[token for token in row.tolist() if token != BLANK_ID] for row in joined]


@dataclass
class GraphDecoder:
    """The best path through H o L o G.

    The search prunes by the sum of acoustic score and `search_scale` times LM score; the lattice that it leaves may then be
    rescored with other scales, which costs next to nothing.

    Attributes:
        graph: of load_graph, with `lm_scores`.
        lang: word table.
        config: beams and bounds of active states.
        search_scale: of the LM in the search.
    """

    graph: k2.Fsa
    lang: Lang
    config: DecodingConfig
    search_scale: float

    def __post_init__(self):
        self.words = self.lang.word_table
        self.graph.scores = self.graph.lm_scores * self.search_scale

    def lattices(self, log_probs: torch.Tensor, lengths: torch.Tensor) -> k2.Fsa:
        """Pruned lattices, one an utterance; empty where no path reached the end of the graph.

        Args:
            log_probs: (B, T, V) float32.
            lengths: (B,) frames, not increasing.
        """
        return k2.intersect_dense_pruned(
            self.graph,
            k2.DenseFsaVec(log_probs, dense_segments(lengths)),
            search_beam=self.config.search_beam,
            output_beam=self.config.output_beam,
            min_active_states=self.config.min_active_states,
            max_active_states=self.config.max_active_states,
        )

    def best_paths(self, lattices: k2.Fsa, scale: float | None = None) -> k2.Fsa:
        """Linear FSAs of the best paths; empty where the lattice is.

        Args:
            lattices: of this decoder.
            scale: of the LM; default: the search's.
        """
        if scale is None or scale == self.search_scale:
            return k2.shortest_path(lattices, use_double_scores=True)
        searched = lattices.scores.clone()  # the attribute is a view that an assignment writes through
        lattices.scores = searched + (scale - self.search_scale) * lattices.lm_scores
        best = k2.shortest_path(lattices, use_double_scores=True)
        lattices.scores = searched
        return best

    def best_texts(self, lattices: k2.Fsa, scale: float | None = None) -> list[str | None]:
        """Text of the best path of each lattice, None where the lattice is empty; arguments as of best_paths."""
        return self.texts(self.best_paths(lattices, scale))

    def texts(self, best: k2.Fsa) -> list[str | None]:
        """Texts of best_paths."""
        states = best.arcs.shape().row_splits(1).diff().tolist()
        return [
            " ".join(self.words[number] for number in numbers) if count > 0 else None
            for count, numbers in zip(states, word_ids(best))
        ]


def word_ids(paths: k2.Fsa) -> list[list[int]]:
    """Word ids along linear FSAs, epsilons and the final arc left out; handles tensors and ragged labels."""
    labels = paths.aux_labels
    if isinstance(labels, k2.RaggedTensor):
        labels = labels.remove_values_leq(0)
        shape = paths.arcs.shape().compose(labels.shape).remove_axis(1).remove_axis(1)
        return k2.RaggedTensor(shape, labels.values).tolist()
    return k2.RaggedTensor(paths.arcs.shape().remove_axis(1), labels).remove_values_leq(0).tolist()
