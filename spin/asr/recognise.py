"""The methods of decoding side by side: what each makes of a batch of log-probabilities."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import k2
import torch

from spin import artifacts
from spin.asr.decoding import CTC_1BEST, HLG, NBEST, RESCORING, GraphDecoder, best_path
from spin.asr.graphs import load_graph
from spin.asr.lang import Lang, load_lang
from spin.asr.rescoring import (
    Rescored,
    RescoredLattices,
    RescoredLists,
    RescoringGrammar,
    rescore_lattices,
    rescore_lists,
)
from spin.asr.thinning import thinned
from spin.asr.timings import Span, frame_labels, spelled_spans, token_spans, word_spans
from spin.config import DecodingConfig


@dataclass
class Recognised:
    """What a method makes of a batch.

    Attributes:
        texts: of each utterance; None for an empty lattice.
        times: words with their frames, of the very path that gave the text, where the method has one (a list of texts has none)
            and was asked; None for an utterance without.
        lattices: with `acoustic` and `lm_scores`, where the method has them (lists of texts have none) and was asked; one for
            each utterance, empty where the search or the larger LM left nothing.
        not_rescored: utterances whose first text stands because the larger LM let no path through.
    """

    texts: list[str | None]
    times: list[list[Span] | None] | None = None
    lattices: k2.Fsa | None = None
    not_rescored: int = 0


def joined(pieces: list[Recognised]) -> Recognised:
    """Pieces of a batch as one, their lattices left out."""
    times = None if pieces[0].times is None else [spans for piece in pieces for spans in piece.times]
    texts = [text for piece in pieces for text in piece.texts]
    return Recognised(texts, times, not_rescored=sum(piece.not_rescored for piece in pieces))


class Recogniser:
    """The graphs and the LMs of a lang folder, read when they are first needed.

    Args:
        lang: its content.
        folder: the lang folder, with the products of prepare_graph and prepare_rescoring.
        config: beams, orders, what to write.
        device: where to search.
    """

    def __init__(self, lang: Lang, folder, config: DecodingConfig, device: torch.device):
        self.lang, self.folder, self.config, self.device = lang, folder, config, device
        self._graph: k2.Fsa | None = None
        self._grammar: RescoringGrammar | None = None
        self._pronunciations: dict[str, list[tuple[int, ...]]] | None = None

    def decoder(self, scale: float) -> GraphDecoder:
        """A decoder whose search uses the LM scale."""
        if self._graph is None:
            self._graph = load_graph(artifacts.decoding_graph(self.folder, self.config.lm_order), self.device)
        return GraphDecoder(self._graph, self.lang, self.config, scale)

    @property
    def grammar(self) -> RescoringGrammar:
        """The larger LM."""
        if self._grammar is None:
            path = artifacts.rescoring_grammar(self.folder, self.config.rescore_order)
            self._grammar = RescoringGrammar.of(load_graph(path), self.lang, self.device)
        return self._grammar

    def rescored(self, method: str, search: GraphDecoder, lattices: k2.Fsa, lengths: torch.Tensor) -> Rescored:
        """The lattices of a search under the larger LM; `lengths` are their (B,) frames."""
        if lattices.num_arcs == 0:  # some operations of k2 refuse vectors of empty FSAs only
            return RescoredLists.empty(lattices.shape[0], self.lang)
        lattices = thinned(lattices, lengths, self.config.rescore_max_arcs)
        if method == NBEST:
            paths, spread = self.config.nbest_paths, self.config.nbest_spread
            return rescore_lists(lattices, search.search_scale, self.grammar, paths, spread)
        return rescore_lattices(lattices, search.search_scale, self.grammar)

    def recognise(self, method: str, scales: tuple[float, float], log_probs: torch.Tensor, lengths: torch.Tensor) -> Recognised:
        """One batch by one method.

        Args:
            method: one of METHODS.
            scales: of the LM in the search and in rescoring; not looked at where the method has none.
            log_probs: (B, T, V) float32.
            lengths: (B,) frames, not increasing.
        """
        if method == CTC_1BEST:
            return self._by_best_path(log_probs, lengths)
        search = self.decoder(scales[0])
        lattices = search.lattices(log_probs, lengths)
        best = search.best_paths(lattices)
        texts = search.texts(best)
        found = Recognised(texts)
        if method in RESCORING:
            rescored = self.rescored(method, search, lattices, lengths)
            second = rescored.best_texts(scales[1])
            found = Recognised(kept_first(texts, second))
            found.not_rescored = sum(new is None and old is not None for old, new in zip(texts, second))
            if method == NBEST:
                return found
            if isinstance(rescored, RescoredLattices):  # else all lattices are empty, and stay so: what follows says that
                return self._with_alignments(found, rescored, scales[1], (best, texts), second)
        if self.config.word_times:
            found.times = self._times(best, texts)
        if self.config.lattices:
            lattices.acoustic = lattices.scores - search.search_scale * lattices.lm_scores
            found.lattices = lattices
        return found

    def _by_best_path(self, log_probs: torch.Tensor, lengths: torch.Tensor) -> Recognised:
        found = Recognised([self.lang.decode(ids) for ids in best_path(log_probs, lengths)])
        if self.config.word_times:
            rows = zip(log_probs.argmax(dim=-1).tolist(), lengths.tolist())
            found.times = [spelled_spans(token_spans(row[:length]), self.lang) for row, length in rows]
        return found

    def _with_alignments(
        self, found: Recognised, rescored: RescoredLattices, scale: float, first: tuple, second: list
    ) -> Recognised:
        """Adds times and lattices; where the first text stands, the times are those of the first search."""
        if self.config.word_times:
            best, texts = first
            times = self._times(rescored.best_paths(scale), second)
            standing = self._times(best, [old if new is None else None for old, new in zip(texts, second)])
            found.times = [old if new is None else spans for old, new, spans in zip(standing, second, times)]
        if self.config.lattices:
            found.lattices = rescored.fsas
        return found

    def _times(self, best: k2.Fsa, texts: list[str | None]) -> list[list[Span] | None]:
        if self._pronunciations is None:
            self._pronunciations = {}
            for word, ids in self.lang.lexicon:
                self._pronunciations.setdefault(word, []).append(ids)
        return [
            None if text is None else word_spans(token_spans(labels), text.split(), self._pronunciations)
            for labels, text in zip(frame_labels(best), texts)
        ]


def shared_recogniser(folder: Path, config: DecodingConfig, device: torch.device) -> Recogniser:
    """The recogniser that this process used last, where nothing has changed: a large LM takes minutes and much memory to read.

    Only one user at a time: each decoder sets the scores of the one graph.
    """
    files = (*folder.glob("*.txt"), *folder.glob("*.safetensors"))
    stamps = tuple(sorted((path.name, path.stat().st_mtime_ns, path.stat().st_ino) for path in files))
    return _recogniser(folder, config, device, stamps)


@functools.lru_cache(maxsize=1)
def _recogniser(folder: Path, config: DecodingConfig, device: torch.device, _stamps: tuple) -> Recogniser:
    return Recogniser(load_lang(folder), folder, config, device)


def release_recogniser() -> None:
    """Gives the memory of the shared recogniser back."""
    _recogniser.cache_clear()


def needs_graph(methods: tuple[str, ...]) -> bool:
    """Whether any of the methods searches the decoding graph."""
    return any(method in (HLG, *RESCORING) for method in methods)


def search_lang_folder(config: DecodingConfig, exp: Path) -> Path:
    """The lang folder of the decodings: the one with the words of a given ARPA file, where a graph of that file is searched."""
    with_more_words = config.arpa and needs_graph(config.methods)
    return artifacts.decoding_lang_folder(exp) if with_more_words else artifacts.lang_folder(exp)


def kept_first(first: list[str | None], second: list[str | None]) -> list[str | None]:
    """Texts of the second pass; where the larger LM let no path through, the text of the first search stands."""
    return [old if new is None else new for old, new in zip(first, second)]
