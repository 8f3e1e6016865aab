"""CTC best path and the search through the graph: perfect posteriors, one sentence only, other scales, empty lattices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin.asr.decoders import best_path
from spin.asr.graph_search import GraphSearch
from spin.asr.graphs import compose_graph, load_graph, save_graph
from spin.asr.lang import WORDS_FILE, make_lang, save_lang
from spin.asr.lm import make_grammar, train_arpa
from spin.config import AsrConfig, DecodingConfig
from spin.runtime.files import write_text
from tests.asr.tiny_asr import ONE_SENTENCE, TEXTS, make_posteriors

CONFIG = DecodingConfig(search_beam=20.0, output_beam=8.0)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """(lang, folder with lm.safetensors of TEXTS and one.safetensors of ONE_SENTENCE)."""
    folder = tmp_path_factory.mktemp("toy")
    lang = make_lang(AsrConfig(tokens="characters"), TEXTS, [])
    save_lang(lang, folder)
    train_arpa(TEXTS * 2, 2, lang.words, folder / "lm.arpa")
    write_text(folder / "one.arpa", ONE_SENTENCE)
    for name in ("lm", "one"):
        graph = compose_graph(lang, make_grammar(folder / f"{name}.arpa", folder / WORDS_FILE, 2))
        save_graph(graph, folder / f"{name}.safetensors")
    return lang, folder


def search_of(toy, name: str, config: DecodingConfig = CONFIG) -> GraphSearch:
    lang, folder = toy
    return GraphSearch(load_graph(folder / f"{name}.safetensors"), lang, config)


def best(search: GraphSearch, log_probs, lengths, scale: float = 1.0) -> list[str | None]:
    return search.best_texts(search.lattices(log_probs, lengths, scale), scale, scale)


def longest_first(lang, texts: list[str]) -> list[str]:
    return sorted(texts, key=lambda text: -int(make_posteriors(lang, [text])[1]))


def test_perfect_posteriors_are_read_back(toy):
    lang, _ = toy
    texts = longest_first(lang, TEXTS)
    log_probs, lengths = make_posteriors(lang, texts)
    assert [lang.decode(ids) for ids in best_path(log_probs, lengths)] == texts
    assert best(search_of(toy, "lm"), log_probs, lengths) == texts


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
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(2, 30, toy[0].vocabulary_size, generator=generator).log_softmax(-1)
    assert best(search_of(toy, "one"), log_probs, torch.tensor([30, 25])) == ["CAB A", "CAB A"]


def test_too_few_frames_give_an_empty_lattice(toy):
    log_probs, lengths = make_posteriors(toy[0], ["CAB A"])
    both = torch.cat([log_probs, log_probs])
    assert best(search_of(toy, "one"), both, torch.tensor([int(lengths[0]), 3])) == ["CAB A", None]


def test_another_scale_equals_a_search_with_that_scale_and_leaves_the_lattice_unchanged(toy):
    lang, _ = toy
    log_probs, lengths = make_posteriors(lang, longest_first(lang, TEXTS), 3.0, noise=1.5)
    search = search_of(toy, "lm", DecodingConfig(search_beam=60.0, output_beam=40.0, max_active_states=100_000))
    lattices = search.lattices(log_probs, lengths, 1.0)
    before, texts = lattices.scores.clone(), {}
    for scale in (0.0, 1.0, 3.0):
        texts[scale] = best(search_of(toy, "lm", search.config), log_probs, lengths, scale)
        assert search.best_texts(lattices, 1.0, scale) == texts[scale]
    assert torch.equal(lattices.scores, before)
    assert texts[0.0] != texts[3.0]


def test_same_input_same_text(toy):
    generator = torch.Generator().manual_seed(1)
    log_probs = torch.randn(3, 40, toy[0].vocabulary_size, generator=generator).log_softmax(-1)
    first, second = (best(search_of(toy, "lm"), log_probs, torch.tensor([40, 30, 20]), 0.5) for _ in range(2))
    assert first == second
