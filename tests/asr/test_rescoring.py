"""Rescoring with a larger LM against walking every path by hand; all methods on perfect posteriors; times and lattices."""

from __future__ import annotations

import math

import k2
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin import artifacts
from spin.asr import rescoring
from spin.asr.decoding import HLG, LATTICE, METHODS, NBEST, GraphDecoder
from spin.asr.graphs import load_graph, prepare_graph, prepare_rescoring
from spin.asr.lang import make_lang, save_lang
from spin.asr.lm_sources import LmSource
from spin.asr.recognise import Recogniser
from spin.asr.rescoring import (
    RescoringGrammar,
    acoustic_lattices,
    rescore_lattices,
    rescore_lists,
)
from spin.asr.thinning import arc_counts, portions, thinned
from spin.asr.timings import ctm_lines, lattice_blocks, token_spans, word_spans
from spin.config import AsrConfig, DecodingConfig
from spin.runtime.files import write_text
from tests.asr.toys import ONE_SENTENCE, TEXTS, posteriors

SCALES = (0.0, 0.5, 1.0, 2.5)
CONFIG = DecodingConfig(
    search_beam=20.0, output_beam=6.0, lm_order=1, rescore_order=2, nbest_paths=400, word_times=True, lattices=True
)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """(lang, folder) with a unigram HLG and a bigram G of TEXTS."""
    folder = tmp_path_factory.mktemp("toy")
    lang = make_lang(AsrConfig(tokens="characters"), TEXTS, [])
    save_lang(lang, folder)
    write_text(folder / "text", "".join(f"{text}\n" for text in TEXTS * 2))
    prepare_graph(lang, folder, LmSource(folder / "text", 1))
    prepare_rescoring(lang, folder, LmSource(folder / "text", 2))
    return lang, folder


def grammar_score(grammar: RescoringGrammar, words: list[int]) -> float:
    """The best way of a sentence through G, by trying all; #0 takes no word."""
    arcs, scores = grammar.fsa.arcs.values().tolist(), grammar.fsa.lm_scores.tolist()
    leaving: dict[int, list[int]] = {}
    for number, arc in enumerate(arcs):
        leaving.setdefault(arc[0], []).append(number)
    best, stack = -math.inf, [(0, 0, 0.0)]
    while stack:
        state, place, score = stack.pop()
        for number in leaving.get(state, ()):
            _, stop, label, _ = arcs[number]
            if label == grammar.back_off:
                stack.append((stop, place, score + scores[number]))
            elif label == -1 and place == len(words):
                best = max(best, score + scores[number])
            elif place < len(words) and label == words[place]:
                stack.append((stop, place + 1, score + scores[number]))
    return best


def acoustic_by_text(lattices, scale: float, index: int) -> dict[tuple[int, ...], float]:
    """Text -> acoustic score of its best path in one lattice: the best of each text at each state, in topological order."""
    words_first = acoustic_lattices(lattices, scale)[index]
    arcs, scores = words_first.arcs.values().tolist(), words_first.acoustic.tolist()
    states: dict[int, dict[tuple[int, ...], float]] = {0: {(): 0.0}}
    for number in sorted(range(len(arcs)), key=lambda number: arcs[number][0]):
        start, stop, label, _ = arcs[number]
        for said, score in list(states.get(start, {}).items()):
            said = (*said, label) if label > 0 else said
            there = states.setdefault(stop, {})
            there[said] = max(there.get(said, -math.inf), score + scores[number])
    return states[words_first.shape[0] - 1]


def test_rescoring_equals_the_best_of_all_texts(toy):
    lang, folder = toy
    log_probs, lengths = posteriors(lang, ["BE CC", "A CAB"], 2.5, noise=1.2)
    search = GraphDecoder(load_graph(artifacts.decoding_graph(folder, 1)), lang, CONFIG, 0.4)
    grammar = RescoringGrammar.of(load_graph(artifacts.rescoring_grammar(folder, 2)), lang)
    lattices = search.lattices(log_probs, lengths)
    whole = rescore_lattices(lattices, 0.4, grammar)
    lists = rescore_lists(lattices, 0.4, grammar, 400, 0.3)
    for index in range(2):
        texts = acoustic_by_text(lattices, 0.4, index)
        assert len(texts) > 5
        spoken = {said: grammar_score(grammar, list(said)) for said in texts}
        for scale in SCALES:
            totals = {said: texts[said] + scale * spoken[said] for said in texts}
            best = max(totals, key=totals.get)
            assert whole.best_texts(scale)[index] == " ".join(lang.word_table[word] for word in best)
            path = whole.best_paths(scale)[index]
            assert float(path.scores.sum()) == pytest.approx(totals[best], abs=1e-3)
        for words, owner, acoustic, spoken_score in zip(lists.words, lists.owners, lists.acoustic, lists.lm_scores):
            if owner == index:
                assert float(acoustic) == pytest.approx(texts[tuple(words)], abs=1e-3)
                assert float(spoken_score) == pytest.approx(spoken[tuple(words)], abs=1e-3)


def test_texts_in_portions_have_the_same_scores(toy, monkeypatch):
    lang, folder = toy
    log_probs, lengths = posteriors(lang, ["BE CC", "A CAB"], 2.5, noise=1.2)
    search = GraphDecoder(load_graph(artifacts.decoding_graph(folder, 1)), lang, CONFIG, 0.4)
    grammar = RescoringGrammar.of(load_graph(artifacts.rescoring_grammar(folder, 2)), lang)
    lattices = search.lattices(log_probs, lengths)
    whole = rescore_lists(lattices, 0.4, grammar, 40, 0.3)
    monkeypatch.setattr(rescoring, "ARCS_AT_ONCE", 2 * max(arc_counts(lattices)))
    parted = rescore_lists(lattices, 0.4, grammar, 40, 0.3)
    assert len(whole.words) > 4 and parted.words == whole.words
    assert torch.equal(parted.acoustic, whole.acoustic) and torch.equal(parted.lm_scores, whole.lm_scores)


@given(st.lists(st.integers(0, 9), max_size=20), st.integers(1, 12))
def test_portions_cover_everything_once_and_keep_their_size(sizes, at_most):
    runs = portions(sizes, at_most)
    assert [place for first, last in runs for place in range(first, last)] == list(range(len(sizes)))
    for first, last in runs:
        assert last > first and (last == first + 1 or sum(sizes[first:last]) <= at_most)
    assert portions([4, 4, 9, 1, 1], 8) == [(0, 2), (2, 3), (3, 5)]


def through(lattice) -> list[float]:
    """The score of the best path through each arc of one lattice, by walking all states in order and back."""
    arcs, scores = lattice.arcs.values().tolist(), lattice.scores.tolist()
    order = sorted(range(len(arcs)), key=lambda number: arcs[number][0])
    ahead, behind = {0: 0.0}, {lattice.shape[0] - 1: 0.0}
    for number in order:
        start, stop, _, _ = arcs[number]
        ahead[stop] = max(ahead.get(stop, -math.inf), ahead[start] + scores[number])
    for number in reversed(order):
        start, stop, _, _ = arcs[number]
        behind[start] = max(behind.get(start, -math.inf), behind[stop] + scores[number])
    return [ahead[start] + score + behind[stop] for (start, stop, _, _), score in zip(arcs, scores)]


@pytest.mark.parametrize("sharpness", [0.3, 2.5])
def test_thinned_lattices_keep_the_arcs_of_the_best_paths_each_by_itself(toy, sharpness):
    lang, folder = toy
    log_probs, lengths = posteriors(lang, ["BE CC", "A CAB"], sharpness, noise=1.2)
    search = GraphDecoder(load_graph(artifacts.decoding_graph(folder, 1)), lang, CONFIG, 0.4)
    lattices = search.lattices(log_probs, lengths)
    before, frames = arc_counts(lattices), lengths.tolist()
    assert arc_counts(thinned(lattices, lengths, 1e6)) == before  # nothing to do
    for arcs_a_frame in (4.0, 2.0, 0.01):
        fewer = thinned(lattices, lengths, arcs_a_frame)
        assert search.best_texts(fewer) == search.best_texts(lattices)
        for row in range(2):
            values = sorted(through(lattices[row]), reverse=True)
            budget = max(1, int(arcs_a_frame * frames[row]))
            bound = values[budget - 1] - 1e-3
            assert budget <= arc_counts(fewer)[row] <= sum(value >= bound for value in values)
            assert min(through(fewer[row])) >= bound  # also once the others are gone: no path was cut
            one = torch.tensor([row], dtype=torch.int32)
            alone = thinned(k2.index_fsa(lattices, one), lengths[row : row + 1], arcs_a_frame)
            assert alone[0].arcs.values().tolist() == fewer[row].arcs.values().tolist()
            assert torch.equal(alone.lm_scores, k2.index_fsa(fewer, one).lm_scores)


def test_the_larger_lm_finds_the_same_in_thinned_lattices(toy):
    lang, folder = toy
    log_probs, lengths = posteriors(lang, ["BE CC", "A CAB"], 2.5, noise=1.2)
    search = GraphDecoder(load_graph(artifacts.decoding_graph(folder, 1)), lang, CONFIG, 0.4)
    grammar = RescoringGrammar.of(load_graph(artifacts.rescoring_grammar(folder, 2)), lang)
    lattices = search.lattices(log_probs, lengths)
    fewer = thinned(lattices, lengths, 5.0)
    assert sum(arc_counts(fewer)) < sum(arc_counts(lattices))
    for scale in SCALES[:3]:
        whole, part = (rescore_lattices(some, 0.4, grammar).best_texts(scale) for some in (lattices, fewer))
        assert part == whole


@pytest.mark.parametrize("method", METHODS)
def test_perfect_posteriors_are_read_back_with_their_times(toy, method):
    lang, folder = toy
    texts = sorted(TEXTS, key=lambda text: -int(posteriors(lang, [text])[1]))
    log_probs, lengths = posteriors(lang, texts)
    recogniser = Recogniser(lang, folder, CONFIG, torch.device("cpu"))
    found = recogniser.recognise(method, (0.5, 0.5), log_probs, lengths)
    assert found.texts == texts and found.not_rescored == 0
    if method == NBEST:
        return
    for row, (text, spans) in enumerate(zip(texts, found.times)):
        assert [word for word, _, _ in spans] == text.split()
        assert spans[0][1] == 1 and spans[-1][2] == int(lengths[row]) - 1  # silence of one frame around
        assert all(first[2] <= second[1] for first, second in zip(spans, spans[1:]))
    if method in (HLG, LATTICE):
        blocks = list(lattice_blocks(texts, found.lattices, lang))
        assert [block.split("\n")[0] for block in blocks] == texts
        assert all(block.endswith("\n\n") and len(block.split("\n")) > 5 for block in blocks)


def test_a_larger_lm_of_one_sentence_says_it_or_nothing(toy, tmp_path):
    lang, folder = toy
    write_text(tmp_path / "one.arpa", ONE_SENTENCE)
    save_lang(lang, tmp_path)
    source = LmSource(folder / "text", 2, tmp_path / "one.arpa")
    prepare_graph(lang, tmp_path, LmSource(folder / "text", 1))
    prepare_rescoring(lang, tmp_path, source)
    recogniser = Recogniser(lang, tmp_path, CONFIG, torch.device("cpu"))
    log_probs, lengths = posteriors(lang, ["CAB A"], 3.0, noise=0.3)
    for method in (NBEST, LATTICE):
        found = recogniser.recognise(method, (0.5, 1.0), log_probs, lengths)
        assert found.texts == ["CAB A"] and found.not_rescored == 0
        wrong = recogniser.recognise(method, (0.5, 1.0), *posteriors(lang, ["EEL EEL"]))
        assert wrong.texts == ["EEL EEL"] and wrong.not_rescored == 1  # no word of the larger LM: what the search found stands


@pytest.mark.parametrize("method", [HLG, NBEST, LATTICE])
def test_empty_lattices(toy, tmp_path, method):
    lang, folder = toy
    write_text(tmp_path / "one.arpa", ONE_SENTENCE)
    save_lang(lang, tmp_path)
    prepare_graph(lang, tmp_path, LmSource(folder / "text", 1, tmp_path / "one.arpa"))
    prepare_rescoring(lang, tmp_path, LmSource(folder / "text", 2))
    recogniser = Recogniser(lang, tmp_path, CONFIG, torch.device("cpu"))
    log_probs, lengths = posteriors(lang, ["CAB A", "CAB A"])
    found = recogniser.recognise(method, (0.4, 1.0), log_probs, torch.tensor([3, 3]))
    assert found.texts == [None, None] and found.not_rescored == 0
    found = recogniser.recognise(method, (0.4, 1.0), log_probs, torch.tensor([int(lengths[0]), 3]))
    assert found.texts == ["CAB A", None] and found.not_rescored == 0
    if found.times is not None:
        assert found.times[1] is None
    if found.lattices is not None:
        assert list(lattice_blocks(["u", "v"], found.lattices, lang))[1] == "v\n\n"


def test_spans_by_hand():
    assert token_spans([0, 3, 3, 0, 3, 4, 4, 4, 0]) == [(3, 1, 3), (3, 4, 5), (4, 5, 8)]
    assert token_spans([]) == []
    said = {"A": [(3,), (3, 3)], "B": [(3, 4), (4,)]}
    spans = token_spans([3, 0, 3, 4])
    assert word_spans(spans, ["A", "B"], said) == [("A", 0, 1), ("B", 2, 4)]
    assert word_spans(spans, ["B"], said) is None
    assert word_spans(spans, ["A", "C"], said) is None
    assert ctm_lines("u", [("A", 2, 5)], 0.02) == "u 1 0.04 0.06 A\n"
