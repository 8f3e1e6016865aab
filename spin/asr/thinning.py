"""Lattices small enough for a larger LM: the best arcs of each, and runs of work that fit into memory."""

from __future__ import annotations

import k2
import torch

ROUNDING = 1e-4  # of log-probabilities summed along a path


def thinned(lattices: k2.Fsa, lengths: torch.Tensor, arcs_a_frame: float) -> k2.Fsa:
    """Without the arcs that only poor paths take: what a larger LM costs grows faster than the lattices do.

    The lattices of a good model are small; those of a poor one, which has no opinion on most frames, would take hours and all
    memory. Arcs are ranked by the best path through each, as in Kaldi's lattice-prune: so the best path stays, and every arc that
    stays is on a path that does. Every lattice is thinned by itself; the rest of the batch has no say.

    Args:
        lattices: FsaVec of GraphDecoder.lattices, with `lm_scores` and `aux_labels`.
        lengths: (B,) frames of each.
        arcs_a_frame: how many stay, with those that are just as good as the last of them.
    """
    kept = []
    for row, (arcs, frames) in enumerate(zip(arc_counts(lattices), lengths.tolist())):
        one = k2.index_fsa(lattices, torch.tensor([row], dtype=torch.int32, device=lattices.device))
        budget = max(1, int(arcs_a_frame * frames))
        kept.append(_best_arcs(one, budget) if arcs > budget else one)
    return k2.cat(kept)


def _best_arcs(lattice: k2.Fsa, count: int) -> k2.Fsa:
    """An FsaVec of one FSA -> the same with the `count` best arcs, by the best path through each."""
    arcs, scores = lattice.arcs.values(), lattice.scores.detach().double()
    forward, backward = (
        scores_of(True, False).detach() for scores_of in (lattice.get_forward_scores, lattice.get_backward_scores)
    )
    through = forward[arcs[:, 0].long()] + scores + backward[arcs[:, 1].long()]
    # Sums in another order round differently: the arcs of one path must not be parted by that.
    chosen = (through >= through.topk(count).values[-1] - ROUNDING).nonzero().flatten().to(torch.int32)
    part = k2.Fsa(arcs[chosen.long()].contiguous())
    part.lm_scores = lattice.lm_scores[chosen.long()]
    labels = lattice.aux_labels
    part.aux_labels = labels[chosen.long()] if isinstance(labels, torch.Tensor) else labels.index(chosen, axis=0)[0]
    return k2.create_fsa_vec([part])


def arc_counts(fsas: k2.Fsa) -> list[int]:
    """Arcs of each FSA of an FsaVec."""
    return fsas.arcs.row_splits(2)[fsas.arcs.row_splits(1).long()].diff().tolist()


def portions(sizes: list[int], at_most: int) -> list[tuple[int, int]]:
    """Cuts a row into runs [first, last) of at most that much together; what is larger alone is a run of its own."""
    runs, first, total = [], 0, 0
    for place, size in enumerate(sizes):
        if place > first and total + size > at_most:
            runs.append((first, place))
            first, total = place, 0
        total += size
    return [*runs, (first, len(sizes))] if sizes else []
