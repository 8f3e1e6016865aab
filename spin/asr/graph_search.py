"""The search through H o L o G, and the best paths of its lattices."""

from __future__ import annotations

import k2
import torch

from spin.asr.lang import Lang
from spin.asr.loss import dense_segments
from spin.config import DecodingConfig

MIN_ACTIVE_STATES = 30


class GraphSearch:
    """Pruned search. A lattice can be rescored with other LM scales at almost no cost.

    Args:
        graph: H o L o G with `lm_scores`, as load_graph gives it.
        lang: word table.
        config: beams and the bound of active states.
    """

    def __init__(self, graph: k2.Fsa, lang: Lang, config: DecodingConfig):
        self.graph, self.words, self.config = graph, lang.word_table, config

    def lattices(self, log_probs: torch.Tensor, lengths: torch.Tensor, scale: float) -> k2.Fsa:
        """Pruned lattices, one per utterance; empty where no path reached the end of the graph.

        Args:
            log_probs: (B, T, V) float32.
            lengths: (B,) frames, not increasing.
            scale: LM scale by which the search prunes.
        """
        self.graph.scores = self.graph.lm_scores * scale
        return k2.intersect_dense_pruned(
            self.graph,
            k2.DenseFsaVec(log_probs, dense_segments(lengths)),
            search_beam=self.config.search_beam,
            output_beam=self.config.output_beam,
            min_active_states=MIN_ACTIVE_STATES,
            max_active_states=self.config.max_active_states,
        )

    def best_texts(self, lattices: k2.Fsa, search_scale: float, scale: float) -> list[str | None]:
        """Text of the best path of each lattice; None where the lattice is empty.

        Args:
            lattices: of this search.
            search_scale: LM scale of the search.
            scale: LM scale of the best path.
        """
        if scale == search_scale:
            return format_paths(k2.shortest_path(lattices, use_double_scores=True), self.words)
        searched = lattices.scores.clone()  # the attribute is a view that an assignment writes through
        lattices.scores = searched + (scale - search_scale) * lattices.lm_scores
        best = k2.shortest_path(lattices, use_double_scores=True)
        lattices.scores = searched
        return format_paths(best, self.words)


def format_paths(paths: k2.Fsa, words: tuple[str, ...], skipped: int = 0) -> list[str | None]:
    """Texts of linear FSAs; None where one has no state.

    Args:
        paths: linear FSAs with word ids as `aux_labels`, a tensor or ragged.
        words: word table.
        skipped: a word id to leave out, like epsilons and the final arc.
    """
    labels = paths.aux_labels
    if isinstance(labels, k2.RaggedTensor):
        labels = labels.remove_values_leq(0)
        shape = paths.arcs.shape().compose(labels.shape).remove_axis(1).remove_axis(1)
        ids = k2.RaggedTensor(shape, labels.values)
    else:
        ids = k2.RaggedTensor(paths.arcs.shape().remove_axis(1), labels).remove_values_leq(0)
    states = paths.arcs.shape().row_splits(1).diff().tolist()
    rows = ids.remove_values_eq(skipped).tolist()
    return [" ".join(words[number] for number in row) if count > 0 else None for row, count in zip(rows, states)]
