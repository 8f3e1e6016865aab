"""Rescoring: whole lattices of the first search under a larger LM.

The LM of the search is taken out and the larger one put in, as in Kaldi and icefall: score = acoustic + scale * LM.

Back-off arcs of the larger G carry #0. The lattice gets a #0 loop at every state, and G an epsilon loop. So a frame without a
word leaves G where it is, and backing off takes no frame. (With epsilon for both, as is common, a lattice has to spend one of its
frames on every back-off arc.)
"""

from __future__ import annotations

from dataclasses import dataclass

import k2
import torch

from spin.asr.graph_search import format_paths
from spin.asr.lang import Lang

MAX_ARCS_PER_FRAME = 10.0  # of larger lattices the best arcs are rescored; bounds time and memory
ROUNDING = 1e-4  # of log-probabilities summed along a path


@dataclass
class RescoringGrammar:
    """A larger LM, ready to be intersected with lattices over words.

    Attributes:
        fsa: FsaVec of one acceptor over word ids, arc-sorted, with epsilon loops and `lm_scores`; back-off arcs carry #0.
        lang: word table.
    """

    fsa: k2.Fsa
    lang: Lang

    @classmethod
    def from_fsa(cls, grammar: k2.Fsa, lang: Lang, device: torch.device | str = "cpu") -> RescoringGrammar:
        """Takes G as spin.asr.lm.make_grammar gives it."""
        acceptor = k2.Fsa(grammar.arcs)
        looped = k2.arc_sort(k2.add_epsilon_self_loops(k2.create_fsa_vec([acceptor]))).to(device)
        looped.lm_scores = looped.scores.clone()
        return cls(looped, lang)

    def add_back_off_loops(self, fsas: k2.Fsa) -> k2.Fsa:
        """Acyclic FsaVec over words -> the same with a #0 loop of score 0 at every state but the last."""
        looped = k2.add_epsilon_self_loops(fsas)
        arcs = looped.arcs.values()
        labels = looped.labels.clone()
        labels[arcs[:, 0] == arcs[:, 1]] = self.lang.back_off
        looped.labels = labels
        return looped


@dataclass
class RescoredLattices:
    """Whole lattices under the larger LM.

    Attributes:
        fsas: FsaVec from tokens to words with `acoustic` and `lm_scores`; empty where the search found nothing.
        lang: word table.
    """

    fsas: k2.Fsa
    lang: Lang

    def best_texts(self, scale: float) -> list[str | None]:
        """Text of each utterance for an LM scale; None for an empty lattice."""
        self.fsas.scores = self.fsas.acoustic + scale * self.fsas.lm_scores
        best = k2.shortest_path(self.fsas, use_double_scores=True)
        return format_paths(best, self.lang.word_table, self.lang.back_off)


def rescore_lattices(
    lattices: k2.Fsa,
    lengths: torch.Tensor,
    search_scale: float,
    grammar: RescoringGrammar,
    arcs_per_frame: float = MAX_ARCS_PER_FRAME,
) -> RescoredLattices:
    """Puts the larger LM onto every path of the lattices.

    Args:
        lattices: FsaVec of GraphSearch.lattices; at least one is not empty.
        lengths: (B,) their frames.
        search_scale: LM scale in their scores.
        grammar: the larger LM.
        arcs_per_frame: larger lattices are pruned to this size first.
    """
    acoustic = remove_search_lm(prune_lattices(lattices, lengths, arcs_per_frame), search_scale)
    looped = grammar.add_back_off_loops(acoustic)
    one = torch.zeros(looped.shape[0], dtype=torch.int32, device=looped.device)
    rescored = k2.intersect_device(grammar.fsa, looped, b_to_a_map=one, sorted_match_a=True)
    return RescoredLattices(k2.invert(k2.top_sort(k2.connect(rescored))), grammar.lang)


def remove_search_lm(lattices: k2.Fsa, search_scale: float) -> k2.Fsa:
    """Copies without the LM of the search: scores are acoustic; words on the input side, tokens on the output side.

    Args:
        lattices: FsaVec of GraphSearch.lattices, with `lm_scores`.
        search_scale: LM scale in `scores`.

    Returns:
        FsaVec with `acoustic` scores.
    """
    copy = k2.Fsa(lattices.arcs.clone())
    copy.scores = (lattices.scores - search_scale * lattices.lm_scores).detach().clone()
    copy.aux_labels = lattices.aux_labels
    copy.acoustic = copy.scores.clone()
    return k2.invert(copy)


def prune_lattices(lattices: k2.Fsa, lengths: torch.Tensor, arcs_per_frame: float) -> k2.Fsa:
    """Removes the arcs that only poor paths take: the cost of a larger LM grows faster than the lattices do.

    Lattices of a good model are small. Those of a poor one, which is undecided in most frames, would take hours and all memory.
    Arcs are ranked by the best path through each, as in Kaldi's lattice-prune. So the best path stays, and every arc that stays
    is on a path that does. Each lattice is pruned by itself, whatever the rest of the batch.

    Args:
        lattices: FsaVec of GraphSearch.lattices, with `lm_scores` and `aux_labels`.
        lengths: (B,) frames of each.
        arcs_per_frame: number of arcs that stay, with those that are as good as the last of them.
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
