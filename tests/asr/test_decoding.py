"""CTC best path and decoding through the graph: perfect posteriors, one sentence only, rescoring, empty lattices."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin.asr.decoding import GraphDecoder, best_path
from spin.asr.graphs import compose_graph, load_graph, save_graph
from spin.asr.lang import WORDS_FILE, make_lang, save_lang
from spin.asr.lm import grammar, train_arpa
from spin.config import AsrConfig, DecodingConfig
from spin.runtime.files import write_text
from tests.asr.toys import ONE_SENTENCE, TEXTS

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
        graph = compose_graph(lang, grammar(folder / f"{name}.arpa", folder / WORDS_FILE, 2))
        save_graph(graph, folder / f"{name}.safetensors", name)
    return lang, folder


def decoder(toy, name: str, scale: float = 1.0) -> GraphDecoder:
    lang, folder = toy
    return GraphDecoder(load_graph(folder / f"{name}.safetensors"), lang, CONFIG, scale)


def perfect(lang, texts: list[str], sharpness: float = 20.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Posteriors that say each token in two frames, with a blank between equal neighbours; longest text first."""
    rows = []
    for text in texts:
        frames: list[int] = [0]
        for token in lang.encode(text):
            frames += [0, token, token] if frames[-1] == token else [token, token]
        rows.append([*frames, 0])
    logits = torch.zeros(len(rows), max(map(len, rows)), lang.vocabulary_size)
    for row, frames in enumerate(rows):
        logits[row, torch.arange(len(frames)), torch.tensor(frames)] = sharpness
    return logits.log_softmax(-1), torch.tensor([len(frames) for frames in rows])


def longest_first(lang, texts: list[str]) -> list[str]:
    return sorted(texts, key=lambda text: -int(perfect(lang, [text])[1]))


def test_perfect_posteriors_are_read_back_by_every_method(toy):
    lang, _ = toy
    texts = longest_first(lang, TEXTS)
    log_probs, lengths = perfect(lang, texts)
    assert [lang.decode(ids) for ids in best_path(log_probs, lengths)] == texts
    search = decoder(toy, "lm")
    assert search.best_texts(search.lattices(log_probs, lengths)) == texts


@given(st.lists(st.integers(0, 3), max_size=12), st.integers(0, 5))
def test_best_path_joins_and_drops_blanks(frames, padding):
    log_probs = torch.full((1, len(frames) + padding, 4), -5.0)
    log_probs[0, len(frames) :, 2] = 0.0  # what lies behind the end is not read
    for position, token in enumerate(frames):
        log_probs[0, position, token] = 0.0
    wanted = [token for position, token in enumerate(frames) if token and (position == 0 or frames[position - 1] != token)]
    assert best_path(log_probs, torch.tensor([len(frames)])) == [wanted]


@pytest.mark.parametrize("seed", [0, 1])
def test_grammar_of_one_sentence_gives_it_back(toy, seed):
    lang, _ = toy
    generator = torch.Generator().manual_seed(seed)
    log_probs = torch.randn(2, 30, lang.vocabulary_size, generator=generator).log_softmax(-1)
    search = decoder(toy, "one")
    assert search.best_texts(search.lattices(log_probs, torch.tensor([30, 25]))) == ["CAB A", "CAB A"]


def test_too_few_frames_give_an_empty_lattice(toy):
    lang, _ = toy
    search = decoder(toy, "one")
    log_probs, lengths = perfect(lang, ["CAB A"])
    both = torch.cat([log_probs, log_probs])
    found = search.best_texts(search.lattices(both, torch.tensor([int(lengths[0]), 3])))
    assert found == ["CAB A", None]


def test_rescoring_equals_a_search_with_that_scale_and_leaves_the_lattice_as_it_was(toy):
    lang, _ = toy
    generator = torch.Generator().manual_seed(7)
    log_probs, lengths = perfect(lang, longest_first(lang, TEXTS), 3.0)
    log_probs = (log_probs + 1.5 * torch.randn(log_probs.shape, generator=generator)).log_softmax(-1)
    wide = DecodingConfig(search_beam=60.0, output_beam=40.0, max_active_states=100_000)
    searches = {scale: decoder(toy, "lm", scale) for scale in (0.0, 1.0, 3.0)}
    for search in searches.values():
        search.config = wide
    lattices = searches[1.0].lattices(log_probs, lengths)
    before = lattices.scores.clone()
    texts = {}
    for scale, search in searches.items():
        texts[scale] = search.best_texts(search.lattices(log_probs, lengths))
        assert searches[1.0].best_texts(lattices, scale) == texts[scale]
    assert torch.equal(lattices.scores, before)
    assert texts[0.0] != texts[3.0]


def test_same_input_same_text(toy):
    lang, _ = toy
    log_probs = torch.randn(3, 40, lang.vocabulary_size, generator=torch.Generator().manual_seed(1)).log_softmax(-1)
    lengths = torch.tensor([40, 30, 20])
    first, second = (decoder(toy, "lm", 0.5) for _ in range(2))
    assert first.best_texts(first.lattices(log_probs, lengths)) == second.best_texts(second.lattices(log_probs, lengths))
