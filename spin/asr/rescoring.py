"""Second thoughts of the decoder: the lattices of the first search under a larger LM, as a whole or as lists of best texts.

The LM of the first search is taken out and the larger one put in, as in Kaldi and icefall: score = acoustic + scale * LM.

Back-off arcs of the larger G carry #0. In the whole-lattice method the lattice has a #0 loop at every state, and G an epsilon
loop: so a frame without a word leaves G where it is, and backing off takes no frame. (With epsilon for both, as is common, a
lattice has to spend one of its frames for every back-off arc.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import k2
import torch

from spin.asr.lang import Lang
from spin.asr.thinning import arc_counts, portions

ARCS_AT_ONCE = 3_000_000  # of the lattices that texts are aligned with: about a gigabyte


class Rescored(Protocol):
    """What rescoring gives: for each LM scale a text for each utterance, None for an empty lattice."""

    def best_texts(self, scale: float) -> list[str | None]: ...


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
    def of(cls, grammar: k2.Fsa, lang: Lang, device: torch.device | str = "cpu") -> RescoringGrammar:
        """Takes G as spin.asr.lm.grammar gives it."""
        acceptor = k2.Fsa(grammar.arcs)
        looped = k2.arc_sort(k2.add_epsilon_self_loops(k2.create_fsa_vec([acceptor]))).to(device)
        looped.lm_scores = looped.scores.clone()
        return cls(looped, lang)

    @property
    def back_off(self) -> int:
        """The id of #0 in the word table."""
        return len(self.lang.word_table) - 3

    def with_back_off_loops(self, fsas: k2.Fsa) -> k2.Fsa:
        """Acyclic FsaVec over words -> the same with a #0 loop of score 0 at every state but the last."""
        looped = k2.add_epsilon_self_loops(fsas)
        arcs = looped.arcs.values()
        labels = looped.labels.clone()
        labels[arcs[:, 0] == arcs[:, 1]] = self.back_off
        looped.labels = labels
        return looped


def acoustic_lattices(lattices: k2.Fsa, search_scale: float) -> k2.Fsa:
    """Copies without the LM of the search: scores are acoustic; words on the input side, tokens on the output side.

    Args:
        lattices: FsaVec of GraphDecoder.lattices, with `lm_scores`.
        search_scale: of the LM in `scores`.

    Returns:
        FsaVec with `acoustic` scores and `frames`, 1 for an arc that takes a frame.
    """
    copy = k2.Fsa(lattices.arcs.clone())
    scores = (lattices.scores - search_scale * lattices.lm_scores).detach().clone()
    copy.scores = scores
    copy.aux_labels = lattices.aux_labels
    copy.acoustic = scores
    copy.frames = (copy.labels >= 0).to(torch.int32)
    return k2.invert(copy)


@dataclass
class RescoredLattices:
    """Whole lattices under the larger LM.

    Attributes:
        fsas: FsaVec from tokens to words with `acoustic`, `lm_scores` and `frames`; empty where the search found nothing.
        lang: word table.
        back_off: id of #0, which some arcs say and no text holds.
    """

    fsas: k2.Fsa
    lang: Lang
    back_off: int

    def best_paths(self, scale: float) -> k2.Fsa:
        """Linear FSAs of the best path for an LM scale; empty for an empty lattice."""
        self.fsas.scores = self.fsas.acoustic + scale * self.fsas.lm_scores
        return k2.shortest_path(self.fsas, use_double_scores=True)

    def best_texts(self, scale: float) -> list[str | None]:
        """Text of each utterance, None for an empty lattice."""
        best = self.best_paths(scale)
        shape = best.arcs.shape()
        words = k2.RaggedTensor(shape.remove_axis(1), best.aux_labels).remove_values_leq(0).remove_values_eq(self.back_off)
        return texts_of(words.tolist(), shape.row_splits(1).diff().tolist(), self.lang)


def rescore_lattices(lattices: k2.Fsa, search_scale: float, grammar: RescoringGrammar) -> RescoredLattices:
    """Puts the larger LM onto every path of the lattices.

    Args:
        lattices: of GraphDecoder.lattices; at least one is not empty.
        search_scale: of the LM in their scores.
        grammar: the larger LM.
    """
    looped = grammar.with_back_off_loops(acoustic_lattices(lattices, search_scale))
    one = torch.zeros(looped.shape[0], dtype=torch.int32, device=looped.device)
    found = k2.intersect_device(grammar.fsa, looped, b_to_a_map=one, sorted_match_a=True)
    found = k2.top_sort(k2.connect(found))
    return RescoredLattices(k2.invert(found), grammar.lang, grammar.back_off)


@dataclass
class RescoredLists:
    """Lists of texts with the scores of each.

    Attributes:
        words: word ids of each text, all utterances' texts one after the other.
        owners: utterance of each text.
        utterances: how many there are.
        acoustic, lm_scores: (texts,) float64, of each text's best path.
        lang: word table.
    """

    words: list[list[int]]
    owners: list[int]
    utterances: int
    acoustic: torch.Tensor
    lm_scores: torch.Tensor
    lang: Lang

    @classmethod
    def empty(cls, utterances: int, lang: Lang) -> RescoredLists:
        """Of lattices that are all empty."""
        nowhere = torch.zeros(0, dtype=torch.float64)
        return cls([], [], utterances, nowhere, nowhere, lang)

    def best_texts(self, scale: float) -> list[str | None]:
        """Text of each utterance, None where the list is empty; of equals the first."""
        best: dict[int, tuple[float, int]] = {}
        for number, (owner, score) in enumerate(zip(self.owners, (self.acoustic + scale * self.lm_scores).tolist())):
            if score > float("-inf") and (owner not in best or score > best[owner][0]):
                best[owner] = (score, number)
        table = self.lang.word_table
        return [
            " ".join(table[word] for word in self.words[best[owner][1]]) if owner in best else None
            for owner in range(self.utterances)
        ]


def rescore_lists(lattices: k2.Fsa, search_scale: float, grammar: RescoringGrammar, paths: int, spread: float) -> RescoredLists:
    """Draws texts from the lattices (k2.random_paths, which is not random) and scores each by itself.

    Args:
        lattices: of GraphDecoder.lattices; at least one is not empty.
        search_scale: of the LM in their scores.
        grammar: the larger LM.
        paths: drawn from each lattice; those with the same text count once.
        spread: the lattice's scores times this rule the draws: the smaller, the more texts.
    """
    words, owners = draw_texts(lattices, paths, spread)
    if not words:
        return RescoredLists.empty(lattices.shape[0], grammar.lang)
    inverted = k2.arc_sort(acoustic_lattices(lattices, search_scale))
    device, sizes = inverted.device, arc_counts(inverted)
    acoustic, lm_scores = [], []
    for first, last in portions([sizes[owner] for owner in owners], ARCS_AT_ONCE):
        texts = k2.linear_fsa(words[first:last], device)
        to_lattice = torch.tensor(owners[first:last], dtype=torch.int32, device=device)
        aligned = k2.intersect_device(inverted, k2.add_epsilon_self_loops(texts), b_to_a_map=to_lattice, sorted_match_a=True)
        spoken = k2.intersect_device(
            grammar.fsa, grammar.with_back_off_loops(texts), b_to_a_map=torch.zeros_like(to_lattice), sorted_match_a=True
        )
        acoustic.append(_best_scores(aligned))
        lm_scores.append(_best_scores(spoken))
    return RescoredLists(words, owners, lattices.shape[0], torch.cat(acoustic), torch.cat(lm_scores), grammar.lang)


def draw_texts(lattices: k2.Fsa, paths: int, spread: float) -> tuple[list[list[int]], list[int]]:
    """Different texts of each lattice as word ids, and the number of the lattice of each."""
    scores = lattices.scores.clone()
    lattices.scores = scores * spread
    drawn = k2.random_paths(lattices, use_double_scores=True, num_paths=paths)
    lattices.scores = scores
    if isinstance(lattices.aux_labels, torch.Tensor):
        said = k2.ragged.index(lattices.aux_labels, drawn)
    else:
        said = lattices.aux_labels.index(drawn)
        said = said.remove_axis(said.num_axes - 2)
    words, owners = [], []
    for owner, texts in enumerate(said.remove_values_leq(0).tolist()):
        different = list(dict.fromkeys(map(tuple, texts)))
        words += map(list, different)
        owners += [owner] * len(different)
    return words, owners


def _best_scores(fsas: k2.Fsa) -> torch.Tensor:
    """(N,) float64 score of each FSA's best path, minus infinity where it has none."""
    fsas = k2.top_sort(k2.connect(fsas))
    return fsas.get_tot_scores(use_double_scores=True, log_semiring=False).detach().double().cpu()


def texts_of(words: list[list[int]], states: list[int], lang: Lang) -> list[str | None]:
    """Texts of word ids; None where the path has no state."""
    table = lang.word_table
    return [" ".join(table[word] for word in row) if count > 0 else None for row, count in zip(words, states)]
