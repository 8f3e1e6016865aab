"""The search through H o L o G, the best paths of its lattices, and rescoring of whole lattices under a larger LM.

Rescoring takes the LM of the search out and puts the larger one in, as in Kaldi and icefall: score = acoustic + scale * LM.

Back-off arcs of the larger G carry #0. The lattice gets a #0 loop at every state, and G an epsilon loop. So a frame without a
word leaves G where it is, and backing off takes no frame. (With epsilon for both, as is common, a lattice has to spend one of its
frames on every back-off arc.)
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import k2
import torch

from spin.asr.graphs import HLG, G, load_graph
from spin.asr.lang import Lang
from spin.asr.model import dense_segments
from spin.config import DecodingConfig

MIN_ACTIVE_STATES = 30
MAX_ARCS_PER_FRAME = 10.0  # of larger lattices the best arcs are rescored; bounds time and memory
ROUNDING = 1e-4  # of log-probabilities summed along a path


@dataclass
class GraphSearch:
    """What the methods search with. Graphs are loaded when first needed: a large LM takes minutes and much memory to read."""

    lang: Lang  # tokens and words of the search
    graphs: dict[str, Path]  # kind of graph -> its file
    config: DecodingConfig
    device: torch.device

    @functools.cached_property
    def graph(self) -> k2.Fsa:
        """H o L o G."""
        return load_graph(self.graphs[HLG], self.device)

    @functools.cached_property
    def grammar(self) -> k2.Fsa:
        """The larger LM: an FsaVec of one acceptor over word ids, arc-sorted, with epsilon loops and `lm_scores`."""
        acceptor = k2.Fsa(load_graph(self.graphs[G]).arcs)
        looped = k2.arc_sort(k2.add_epsilon_self_loops(k2.create_fsa_vec([acceptor]))).to(self.device)
        looped.lm_scores = looped.scores.clone()
        return looped

    def lattices(self, log_probs: torch.Tensor, lengths: torch.Tensor, scale: float) -> k2.Fsa:
        """Pruned lattices of (B, T, V) float32 and (B,) frames, which must not increase; empty where no path reached the end.

        The search prunes by the LM scale; other scales for its lattices cost almost nothing.
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
        """Text of the best path of each lattice under another LM scale than that of the search; None for an empty lattice."""
        searched = lattices.scores.clone()  # the attribute is a view that an assignment writes through
        lattices.scores = searched + (scale - search_scale) * lattices.lm_scores
        best = k2.shortest_path(lattices, use_double_scores=True)
        lattices.scores = searched
        return format_paths(best, self.lang.word_table)

    def rescore(
        self, lattices: k2.Fsa, lengths: torch.Tensor, search_scale: float, arcs_per_frame: float = MAX_ARCS_PER_FRAME
    ) -> k2.Fsa:
        """Puts the larger LM onto every path of the lattices: tokens to words with `acoustic` and `lm_scores`.

        At least one lattice is not empty; empty ones stay so. Their scores hold the LM at `search_scale`. Those with more than
        `arcs_per_frame` arcs for each of their (B,) `lengths` in frames are pruned first.
        """
        acoustic = remove_search_lm(prune_lattices(lattices, lengths, arcs_per_frame), search_scale)
        looped = k2.add_epsilon_self_loops(acoustic)
        arcs, labels = looped.arcs.values(), looped.labels.clone()
        labels[arcs[:, 0] == arcs[:, 1]] = self.lang.back_off
        looped.labels = labels
        one = torch.zeros(looped.shape[0], dtype=torch.int32, device=looped.device)
        rescored = k2.intersect_device(self.grammar, looped, b_to_a_map=one, sorted_match_a=True)
        return k2.invert(k2.top_sort(k2.connect(rescored)))

    def best_rescored_texts(self, rescored: k2.Fsa, scale: float) -> list[str | None]:
        """Text of each rescored lattice for an LM scale; None for an empty lattice."""
        rescored.scores = rescored.acoustic + scale * rescored.lm_scores
        best = k2.shortest_path(rescored, use_double_scores=True)
        return format_paths(best, self.lang.word_table, self.lang.back_off)


def format_paths(paths: k2.Fsa, words: tuple[str, ...], skipped: int = 0) -> list[str | None]:
    """Texts of linear FSAs with word ids as `aux_labels`, a tensor or ragged; None where one has no state.

    `skipped` is a word id to leave out, like epsilons and the final arc.
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


def remove_search_lm(lattices: k2.Fsa, search_scale: float) -> k2.Fsa:
    """Copies with `acoustic` scores, without the LM of the search: words on the input side, tokens on the output side."""
    copy = k2.Fsa(lattices.arcs.clone())
    copy.scores = (lattices.scores - search_scale * lattices.lm_scores).detach().clone()
    copy.aux_labels = lattices.aux_labels
    copy.acoustic = copy.scores.clone()
    return k2.invert(copy)


def prune_lattices(lattices: k2.Fsa, lengths: torch.Tensor, arcs_per_frame: float) -> k2.Fsa:
    """Removes the arcs that only poor paths take: the cost of a larger LM grows faster than the lattices do.

    Lattices of a good model are small. Those of a poor one, which is undecided in most frames, would take hours and all memory.
    Arcs are ranked by the best path through each, as in Kaldi's lattice-prune. So the best path stays, and every arc that stays
    is on a path that does. Each lattice is pruned by itself, whatever the rest of the batch. Of `lengths` (B,) frames,
    `arcs_per_frame` arcs stay, with those that are as good as the last of them.
    """
    pruned = []
    for row, (arcs, frames) in enumerate(zip(count_arcs(lattices), lengths.tolist())):
        one = k2.index_fsa(lattices, torch.tensor([row], dtype=torch.int32, device=lattices.device))
        budget = max(1, int(arcs_per_frame * frames))
        pruned.append(_keep_best_arcs(one, budget) if arcs > budget else one)
    return k2.cat(pruned)


def _keep_best_arcs(lattice: k2.Fsa, count: int) -> k2.Fsa:
    """An FsaVec of one FSA -> the same with the `count` best arcs, by the best path through each."""
    arcs, scores = lattice.arcs.values(), lattice.scores.detach().double()
    forward = lattice.get_forward_scores(True, False).detach()
    backward = lattice.get_backward_scores(True, False).detach()
    through = forward[arcs[:, 0].long()] + scores + backward[arcs[:, 1].long()]
    # Sums in another order round differently, which must not separate the arcs of one path.
    chosen = (through >= through.topk(count).values[-1] - ROUNDING).nonzero().flatten().to(torch.int32)
    part = k2.Fsa(arcs[chosen.long()].contiguous())
    part.lm_scores = lattice.lm_scores[chosen.long()]
    labels = lattice.aux_labels
    part.aux_labels = labels[chosen.long()] if isinstance(labels, torch.Tensor) else labels.index(chosen, axis=0)[0]
    return k2.create_fsa_vec([part])


def count_arcs(fsas: k2.Fsa) -> list[int]:
    """Arcs of each FSA of an FsaVec."""
    return fsas.arcs.row_splits(2)[fsas.arcs.row_splits(1).long()].diff().tolist()
