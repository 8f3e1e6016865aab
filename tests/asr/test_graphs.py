"""L, G and HLG: a toy language of ten words enumerated, the costs of the LM, storing and reusing."""

from __future__ import annotations

import itertools
import math

import k2
import pytest
import torch

from spin.asr.graphs import compose_graph, lexicon_fst, load_graph, save_graph
from spin.asr.lang import WORDS_FILE, make_lang, save_lang
from spin.asr.lm import make_grammar, train_arpa
from spin.config import AsrConfig
from spin.errors import DataError

WORDS = ("A", "AB", "ABBA", "B", "BAB", "CAB", "CC", "C", "BE", "EEL")
CHARACTERS = AsrConfig(tokens="characters")


@pytest.fixture
def toy(tmp_path):
    """(lang, folder) of ten words, several of which begin others and some with doubled letters."""
    lang = make_lang(CHARACTERS, [" ".join(WORDS)], [])
    save_lang(lang, tmp_path)
    return lang, tmp_path


def make_graph(lang, folder, sentences, order=2):
    train_arpa(sentences, order, lang.words, folder / "lm.arpa")
    return compose_graph(lang, make_grammar(folder / "lm.arpa", folder / WORDS_FILE))


def paths_through(graph: k2.Fsa, labels: list[int]) -> dict[str, float]:
    """Word sequences that the graph can give for a sequence of CTC labels, with their best scores; by walking every arc."""
    arcs = graph.arcs.values().tolist()
    scores, words = graph.scores.tolist(), k2.RaggedTensor(graph.aux_labels.shape, graph.aux_labels.values).tolist()
    leaving: dict[int, list[int]] = {}
    for number, (start, _, _, _) in enumerate(arcs):
        leaving.setdefault(start, []).append(number)
    found: dict[str, float] = {}
    stack = [(0, 0, 0.0, ())]
    while stack:
        state, position, score, said = stack.pop()
        for number in leaving.get(state, ()):
            label = arcs[number][2]
            if position < len(labels) and label == labels[position]:
                stack.append(
                    (
                        arcs[number][1],
                        position + 1,
                        score + scores[number],
                        (*said, *(word for word in words[number] if word > 0)),
                    )
                )
            elif position == len(labels) and label == -1:
                key = " ".join(map(str, said))
                found[key] = max(found.get(key, -math.inf), score + scores[number])
    return found


def ctc_labels(lang, text: str) -> list[int]:
    """The shortest CTC labels of a text: a blank between equal neighbours."""
    labels: list[int] = []
    for token in lang.encode(text):
        labels += [0, token] if labels and labels[-1] == token else [token]
    return labels


def arpa_score(path, words: list[str]) -> float:
    """Natural log probability of a sentence by a bigram ARPA file, read by hand.

    The back-off arcs of G are free to all, as in every such graph: where backing off is likelier than the bigram, it counts.
    """
    table: dict[tuple, tuple[float, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        if len(fields) >= 2:
            table[tuple(fields[1].split())] = (float(fields[0]), float(fields[2]) if len(fields) > 2 else 0.0)
    total = 0.0
    for first, second in itertools.pairwise(["<s>", *words, "</s>"]):
        backing_off = table[(first,)][1] + table[(second,)][0]
        total += max(table.get((first, second), (-math.inf,))[0], backing_off)
    return total * math.log(10)


def test_lexicon_maps_tokens_to_words(toy):
    lang, _ = toy
    lexicon = k2.arc_sort(lexicon_fst(lang, disambiguated=False))
    for text in ("A", "AB B", "ABBA CC A"):
        spoken = k2.linear_fst([lang.encode(text)], [lang.encode(text)])
        said = k2.connect(k2.compose(spoken, lexicon))
        assert [lang.word_table[number] for number in said.aux_labels.tolist() if number > 0] == text.split()


def test_every_pair_of_the_toy_language(toy):
    lang, folder = toy
    sentences = [" ".join(pair) for pair in itertools.product(WORDS, WORDS[:4])]
    graph = make_graph(lang, folder, sentences)
    for first, second in itertools.product(WORDS, WORDS):
        found = paths_through(graph, ctc_labels(lang, f"{first} {second}"))
        expected = " ".join(str(lang.word_table.index(word)) for word in (first, second))
        assert list(found) == [expected]
        assert found[expected] == pytest.approx(arpa_score(folder / "lm.arpa", [first, second]), abs=1e-4)


def test_blanks_and_repeats_change_nothing_and_other_letters_lead_nowhere(toy):
    lang, folder = toy
    graph = make_graph(lang, folder, ["A CAB", "CC BE"])
    labels = ctc_labels(lang, "CC BE")
    stretched = [label for token in labels for label in (0, token, token)] + [0]
    assert paths_through(graph, stretched) == paths_through(graph, labels) != {}
    assert paths_through(graph, ctc_labels(lang, "CCC")) == {}


def test_order_one_and_three(toy):
    lang, folder = toy
    for order in (1, 3):
        graph = make_graph(lang, folder, ["A CAB BE", "CC BE A", "A B"], order)
        assert len(paths_through(graph, ctc_labels(lang, "A CAB BE"))) == 1


def test_unknown_words_of_the_lm_text_are_never_said(toy):
    lang, folder = toy
    number = train_arpa(["A ZEBRA", "A B", "", "   "], 2, lang.words, folder / "lm.arpa")
    assert number == 2
    text = (folder / "lm.arpa").read_text(encoding="utf-8")
    assert "<UNK>" in text and "ZEBRA" not in text
    graph = compose_graph(lang, make_grammar(folder / "lm.arpa", folder / WORDS_FILE))
    assert lang.word_table.index("<UNK>") not in graph.aux_labels.values.tolist()


def test_empty_text_and_no_common_word_are_errors(toy):
    lang, folder = toy
    with pytest.raises(DataError, match="LM text"):
        train_arpa(["", " "], 2, lang.words, folder / "lm.arpa")
    train_arpa(["ZEBRA"], 2, lang.words, folder / "lm.arpa")
    with pytest.raises(DataError, match="L o G"):
        compose_graph(lang, make_grammar(folder / "lm.arpa", folder / WORDS_FILE))


def test_a_stored_graph_is_the_same_and_a_damaged_one_an_error(toy):
    lang, folder = toy
    graph = make_graph(lang, folder, ["A CAB BE", "CC BE A"])
    save_graph(graph, folder / "g.safetensors")
    again = load_graph(folder / "g.safetensors")
    assert torch.equal(again.arcs.values(), graph.arcs.values())
    assert again.aux_labels.tolist() == graph.aux_labels.tolist()
    assert torch.equal(again.lm_scores, graph.scores)
    for content in (b"", b"torn"):
        (folder / "g.safetensors").write_bytes(content)
        with pytest.raises(DataError, match="g.safetensors"):
            load_graph(folder / "g.safetensors")
