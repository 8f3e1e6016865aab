"""CTC best path, search and rescoring: perfect posteriors, one sentence only, walking every path by hand, empty lattices."""

import math

import k2
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin.asr.decoders import DECODERS, DecodingResult, best_path
from spin.asr.graph_search import GraphSearch, count_arcs, prune_lattices, remove_search_lm
from spin.asr.graphs import compose_graph, make_grammar, save_graph, train_arpa
from spin.asr.lang import WORDS_FILE, make_lang, save_lang
from spin.config import AsrConfig, DecodingConfig
from spin.runtime.files import write_text
from tests.asr.tiny_asr import ONE_SENTENCE, TEXTS, make_posteriors, walks

SCALES = (0.0, 0.5, 1.0, 2.5)
CONFIG = DecodingConfig(search_beam=20.0, output_beam=6.0)
ALL_ARCS = 1e6  # per frame: no pruning


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """(lang, folder) with HLG and G of the uni- and bigram of TEXTS and of ONE_SENTENCE."""
    folder = tmp_path_factory.mktemp("toy")
    lang = make_lang(AsrConfig(tokens="characters"), TEXTS, [])
    save_lang(lang, folder)
    write_text(folder / "one.arpa", ONE_SENTENCE)
    for name, order in (("unigram", 1), ("bigram", 2), ("one", 2)):
        if name != "one":
            train_arpa(TEXTS * 2, order, lang.words, folder / f"{name}.arpa")
        grammar = make_grammar(folder / f"{name}.arpa", folder / WORDS_FILE)
        save_graph(grammar, folder / f"G_{name}.safetensors")
        save_graph(compose_graph(lang, grammar), folder / f"HLG_{name}.safetensors")
    return lang, folder


def search_of(toy, first: str, second: str = "bigram", config: DecodingConfig = CONFIG) -> GraphSearch:
    lang, folder = toy
    graphs = {"HLG": folder / f"HLG_{first}.safetensors", "G": folder / f"G_{second}.safetensors"}
    return GraphSearch(lang, graphs, config, torch.device("cpu"))


def decode(search: GraphSearch, method: str, posteriors, search_scale: float = 0.5, scale: float = 0.5):
    return DECODERS[method].function(search, *posteriors, search_scale, (scale,))[scale]


def best(search: GraphSearch, log_probs, lengths, scale: float = 1.0) -> list[str | None]:
    return search.best_texts(search.lattices(log_probs, lengths, scale), scale, scale)


def longest_first(lang, texts: list[str]) -> list[str]:
    return sorted(texts, key=lambda text: -int(make_posteriors(lang, [text])[1]))


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(0, 5))
def test_best_path_joins_and_drops_blanks(frames, padding):
    log_probs = torch.full((1, len(frames) + padding, 4), -5.0)
    log_probs[0, len(frames) :, 2] = 0.0  # frames beyond the length are ignored
    for position, token in enumerate(frames):
        log_probs[0, position, token] = 0.0
    expected = [token for position, token in enumerate(frames) if token and (position == 0 or frames[position - 1] != token)]
    assert best_path(log_probs, torch.tensor([len(frames)])) == [expected]


@pytest.mark.parametrize("seed", [0, 1])
def test_grammar_of_one_sentence_gives_it_back(toy, seed):
    log_probs = torch.randn(2, 30, toy[0].vocabulary_size, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)
    assert best(search_of(toy, "one"), log_probs, torch.tensor([30, 25])) == ["CAB A", "CAB A"]


def test_another_scale_equals_a_search_with_that_scale_and_leaves_the_lattice_unchanged(toy):
    log_probs, lengths = make_posteriors(toy[0], longest_first(toy[0], TEXTS), 3.0, noise=1.5)
    search = search_of(toy, "bigram", config=DecodingConfig(search_beam=60.0, output_beam=40.0, max_active_states=100_000))
    lattices = search.lattices(log_probs, lengths, 1.0)
    before, texts = lattices.scores.clone(), {}
    for scale in (0.0, 1.0, 3.0):
        texts[scale] = best(search_of(toy, "bigram", config=search.config), log_probs, lengths, scale)
        assert search.best_texts(lattices, 1.0, scale) == texts[scale]
    assert torch.equal(lattices.scores, before)
    assert texts[0.0] != texts[3.0]


@pytest.fixture
def searched(toy):
    """(search with the unigram and then the bigram, lattices, lengths) of two noisy utterances."""
    log_probs, lengths = make_posteriors(toy[0], ["BE CC", "A CAB"], 2.5, noise=1.2)
    search = search_of(toy, "unigram")
    return search, search.lattices(log_probs, lengths, 0.4), lengths


def grammar_score(grammar: k2.Fsa, back_off: int, words: list[int]) -> float:
    """The best way of a sentence through G; #0 takes no word."""
    return max(score for score, _ in walks(grammar, grammar.lm_scores.tolist(), words, back_off))


def acoustic_by_text(lattices, scale: float, index: int) -> dict[tuple[int, ...], float]:
    """Text -> acoustic score of its best path in one lattice: the best of each text at each state, in topological order."""
    words_first = remove_search_lm(lattices, scale)[index]
    arcs, scores = words_first.arcs.values().tolist(), words_first.acoustic.tolist()
    states: dict[int, dict[tuple[int, ...], float]] = {0: {(): 0.0}}
    for number in sorted(range(len(arcs)), key=lambda number: arcs[number][0]):
        start, stop, label, _ = arcs[number]
        for said, score in list(states.get(start, {}).items()):
            said = (*said, label) if label > 0 else said
            there = states.setdefault(stop, {})
            there[said] = max(there.get(said, -math.inf), score + scores[number])
    return states[words_first.shape[0] - 1]


def test_rescoring_equals_the_best_of_all_texts_also_in_pruned_lattices(searched):
    search, lattices, lengths = searched
    lang, whole = search.lang, search.rescore(lattices, lengths, 0.4, ALL_ARCS)
    pruned = search.rescore(lattices, lengths, 0.4, 5.0)
    assert sum(count_arcs(prune_lattices(lattices, lengths, 5.0))) < sum(count_arcs(lattices))
    for index in range(2):
        texts = acoustic_by_text(lattices, 0.4, index)
        assert len(texts) > 5
        spoken = {said: grammar_score(search.grammar, lang.back_off, list(said)) for said in texts}
        for scale in SCALES:
            totals = {said: texts[said] + scale * spoken[said] for said in texts}
            best = max(totals, key=totals.get)
            text = " ".join(lang.word_table[word] for word in best)
            assert search.best_rescored_texts(whole, scale)[index] == text
            assert scale == 2.5 or search.best_rescored_texts(pruned, scale)[index] == text
            path = k2.shortest_path(whole, use_double_scores=True)[index]
            assert float(path.scores.sum()) == pytest.approx(totals[best], abs=1e-3)


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
def test_pruned_lattices_keep_the_arcs_of_the_best_paths_each_by_itself(searched, sharpness):
    search = searched[0]
    log_probs, lengths = make_posteriors(search.lang, ["BE CC", "A CAB"], sharpness, noise=1.2)
    lattices = search.lattices(log_probs, lengths, 0.4)
    before, frames = count_arcs(lattices), lengths.tolist()
    assert count_arcs(prune_lattices(lattices, lengths, ALL_ARCS)) == before  # nothing to do
    for arcs_per_frame in (4.0, 2.0, 0.01):
        fewer = prune_lattices(lattices, lengths, arcs_per_frame)
        assert search.best_texts(fewer, 0.4, 0.4) == search.best_texts(lattices, 0.4, 0.4)
        for row in range(2):
            values = sorted(through(lattices[row]), reverse=True)
            budget = max(1, int(arcs_per_frame * frames[row]))
            bound = values[budget - 1] - 1e-3
            assert budget <= count_arcs(fewer)[row] <= sum(value >= bound for value in values)
            assert min(through(fewer[row])) >= bound  # also without the others: no path was cut
            one = torch.tensor([row], dtype=torch.int32)
            alone = prune_lattices(k2.index_fsa(lattices, one), lengths[row : row + 1], arcs_per_frame)
            assert alone[0].arcs.values().tolist() == fewer[row].arcs.values().tolist()
            assert torch.equal(alone.lm_scores, k2.index_fsa(fewer, one).lm_scores)


@pytest.mark.parametrize("method", DECODERS)
def test_perfect_posteriors_are_read_back_and_scales_of_one_search_equal_single_ones(toy, method):
    search, texts = search_of(toy, "unigram"), longest_first(toy[0], TEXTS)
    assert decode(search, method, make_posteriors(toy[0], texts)) == DecodingResult(texts)
    posteriors = make_posteriors(toy[0], ["ABBA BE A", "EEL EEL", "A CAB"], 2.5, noise=1.2)
    together = DECODERS[method].function(search, *posteriors, 0.5, SCALES)
    assert together == {scale: decode(search, method, posteriors, 0.5, scale) for scale in SCALES}


def test_a_larger_lm_of_one_sentence_gives_it_or_keeps_the_first_text(toy):
    search = search_of(toy, "unigram", "one")
    noisy, other = make_posteriors(toy[0], ["CAB A"], 3.0, noise=0.3), make_posteriors(toy[0], ["EEL EEL", "CAB A"])
    assert decode(search, "hlg_lattice", noisy, 0.5, 1.0) == DecodingResult(["CAB A"])
    assert decode(search, "hlg_lattice", other, 0.5, 1.0) == DecodingResult(["EEL EEL", "CAB A"], not_rescored=1)


@pytest.mark.parametrize("method", ["hlg", "hlg_lattice"])
def test_empty_lattices(toy, method):
    search = search_of(toy, "one")
    log_probs, (whole, _) = make_posteriors(toy[0], ["CAB A", "CAB A"])
    for frames, texts in (((whole, 3), ["CAB A", None]), ((whole, whole), ["CAB A", "CAB A"]), ((3, 3), [None, None])):
        assert decode(search, method, (log_probs, torch.tensor(frames)), 0.4, 1.0) == DecodingResult(texts)
