"""Times and lattices of the recogniser against its texts: where the first text stands, empty lattices, Kaldi's conventions."""

from __future__ import annotations

import dataclasses
import types

import pytest
import torch

from spin.asr.decoding import HLG, LATTICE, NBEST
from spin.asr.decoding_job import Decoding
from spin.asr.graphs import prepare_graph, prepare_rescoring
from spin.asr.lang import make_lang, save_lang
from spin.asr.lm_sources import LmSource
from spin.asr.recognise import Recogniser, kept_first
from spin.asr.timings import lattice_blocks, token_spans
from spin.config import AsrConfig, DecodingConfig
from spin.runtime.files import write_text
from tests.asr.toys import ONE_SENTENCE, TEXTS, posteriors

CONFIG = DecodingConfig(
    search_beam=20.0, output_beam=6.0, lm_order=1, rescore_order=2, nbest_paths=100, word_times=True, lattices=True
)


def recogniser_of(folder, search: LmSource, second: LmSource) -> Recogniser:
    """A recogniser over the characters of TEXTS with two given LMs."""
    lang = make_lang(AsrConfig(tokens="characters"), TEXTS, [])
    save_lang(lang, folder)
    prepare_graph(lang, folder, search)
    prepare_rescoring(lang, folder, second)
    return Recogniser(lang, folder, CONFIG, torch.device("cpu"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """(unigram of TEXTS, bigram of TEXTS, LM of orders 1 and 2 that says CAB A only)."""
    folder = tmp_path_factory.mktemp("sources")
    write_text(folder / "text", "".join(f"{text}\n" for text in TEXTS * 2))
    write_text(folder / "one.arpa", ONE_SENTENCE)
    one = [LmSource(folder / "text", order, folder / "one.arpa") for order in (1, 2)]
    return LmSource(folder / "text", 1), LmSource(folder / "text", 2), one


@pytest.fixture(scope="module")
def strict(sources, tmp_path_factory):
    """The search knows all words, the larger LM one sentence only."""
    return recogniser_of(tmp_path_factory.mktemp("strict"), sources[0], sources[2][1])


@pytest.fixture(scope="module")
def open_minded(sources, tmp_path_factory):
    """Both LMs know all words."""
    return recogniser_of(tmp_path_factory.mktemp("open"), sources[0], sources[1])


def test_times_are_of_the_path_whose_text_stands(strict):
    lang = strict.lang
    log_probs, lengths = posteriors(lang, ["EEL EEL", "CAB A"])
    assert lengths[0] > lengths[1]
    first = strict.recognise(HLG, (0.5, 0.5), log_probs, lengths)
    found = strict.recognise(LATTICE, (0.5, 1.0), log_probs, lengths)
    assert found.texts == ["EEL EEL", "CAB A"] and found.not_rescored == 1
    assert found.times[0] == first.times[0] and [word for word, _, _ in found.times[0]] == ["EEL", "EEL"]
    assert [word for word, _, _ in found.times[1]] == ["CAB", "A"]


def test_a_list_of_texts_has_neither_times_nor_lattices(open_minded):
    found = open_minded.recognise(NBEST, (0.5, 0.5), *posteriors(open_minded.lang, ["A CAB"]))
    assert found.texts == ["A CAB"] and found.times is None and found.lattices is None


def test_times_and_texts_agree_on_noisy_speech(open_minded):
    log_probs, lengths = posteriors(open_minded.lang, ["ABBA BE A", "EEL EEL", "A CAB"], 2.5, noise=1.2)
    for method in (HLG, LATTICE):
        found = open_minded.recognise(method, (0.4, 0.9), log_probs, lengths)
        assert [" ".join(word for word, _, _ in spans) for spans in found.times] == found.texts


def test_the_first_text_stands_only_where_there_is_no_second():
    assert kept_first(["A", "B", None, ""], [None, "C", None, "D"]) == ["A", "C", None, "D"]


@pytest.mark.parametrize("method", [HLG, NBEST, LATTICE])
def test_tuning_hears_what_decoding_says(strict, method):
    log_probs, lengths = posteriors(strict.lang, ["EEL EEL", "CAB A"])
    job = types.SimpleNamespace(recogniser=strict)
    texts = Decoding.texts_by_scale(job, method, strict.decoder(0.5), [0.5, 1.0], log_probs, lengths)
    assert texts == {scale: strict.recognise(method, (0.5, scale), log_probs, lengths).texts for scale in (0.5, 1.0)}
    assert texts[1.0][0] == "EEL EEL"  # which the larger LM does not know


def test_no_times_unless_asked(open_minded):
    plain = Recogniser(open_minded.lang, open_minded.folder, dataclasses.replace(CONFIG, word_times=False), torch.device("cpu"))
    found = plain.recognise(LATTICE, (0.5, 0.5), *posteriors(plain.lang, ["A CAB"]))
    assert found.times is None and found.lattices is not None


def read_lattices(blocks: list[str]) -> dict[str, tuple[list[tuple], int | None]]:
    """Name -> (arcs as (from, to, token, word, graph cost, acoustic cost), final state), read as Kaldi's text form."""
    found = {}
    for block in "".join(blocks).split("\n\n")[:-1]:
        name, *lines = block.split("\n")
        rows = [line.split() for line in lines]
        arcs = [(*map(int, row[:4]), *map(float, row[4].split(","))) for row in rows if len(row) == 5]
        finals = [int(row[0]) for row in rows if len(row) == 2]
        found[name] = (arcs, finals[0] if finals else None)
    return found


def best_way(arcs: list[tuple], final: int, scale: float) -> tuple[list[int], list[int]]:
    """Tokens and words of the cheapest path, epsilons left out; states are in topological order."""
    best: dict[int, tuple[float, list[int], list[int]]] = {0: (0.0, [], [])}
    for start, stop, token, word, graph, acoustic in sorted(arcs):
        cost, tokens, words = best[start]
        cost += scale * graph + acoustic
        if stop not in best or cost < best[stop][0]:
            best[stop] = (cost, tokens + [token] * (token > 0), words + [word] * (word > 0))
    return best[final][1:]


@pytest.mark.parametrize(
    ("texts", "sharpness", "noise"),
    [
        (["ABBA BE A", "EEL EEL", "CC EEL"], 2.5, 1.2),
        (["ABBA BAB EEL", "CAB CAB BE", "CC ABBA"], 20.0, 0.0),  # the larger LM backs off on the way, which takes no frame
    ],
)
@pytest.mark.parametrize("method", [HLG, LATTICE])
def test_lattices_are_kaldis(open_minded, method, texts, sharpness, noise):
    lang = open_minded.lang
    log_probs, lengths = posteriors(lang, texts, sharpness, noise)
    assert (lengths[1:] <= lengths[:-1]).all()
    found = open_minded.recognise(method, (0.4, 0.9), log_probs, lengths)
    lattices = read_lattices(list(lattice_blocks(texts, found.lattices, lang)))
    back_off = lang.word_table.index("#0")
    scale = 0.9 if method == LATTICE else 0.4
    for row, (name, (arcs, final)) in enumerate(lattices.items()):
        assert name == texts[row]
        assert all(0 <= token <= lang.vocabulary_size and 0 <= word < back_off for _, _, token, word, _, _ in arcs)
        tokens, words = best_way(arcs, final, scale)
        assert len(tokens) == lengths[row]  # every frame has a label, blank among them
        assert " ".join(lang.word_table[word] for word in words) == found.texts[row]
        spans = token_spans(token - 1 for token in tokens)
        assert spans[0][1] == found.times[row][0][1] and spans[-1][2] == found.times[row][-1][2]


@pytest.mark.parametrize("method", [HLG, LATTICE])
def test_a_wholly_empty_batch_has_empty_lattices(sources, tmp_path, method):
    recogniser = recogniser_of(tmp_path, sources[2][0], sources[1])
    log_probs, _ = posteriors(recogniser.lang, ["CAB A", "CAB A"])
    found = recogniser.recognise(method, (0.4, 1.0), log_probs, torch.tensor([3, 3]))
    assert found.texts == [None, None] and found.times == [None, None]
    assert list(lattice_blocks(["u", "v"], found.lattices, recogniser.lang)) == ["u\n\n", "v\n\n"]
