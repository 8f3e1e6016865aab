"""LMs, G, L and HLG: a toy language of ten words enumerated, the costs of the LM, given ARPA files."""

import gzip
import itertools
import math

import k2
import pytest
import torch

from spin import artifacts
from spin.asr.graphs import HLG, G, arpa_words, compose_graph, load_graph, make_grammar, prepare_graph, save_graph, train_arpa
from spin.asr.lang import WORDS_FILE, extend_lang, load_lang, make_lang, prepare_lang, save_lang
from spin.config import AsrConfig
from spin.errors import DataError
from spin.runtime.files import write_text
from tests.asr import tiny_asr

WORDS = ("A", "AB", "ABBA", "B", "BAB", "CAB", "CC", "C", "BE", "EEL")


@pytest.fixture
def toy(tmp_path):
    """(lang, folder) of ten words, several of which begin others and some with doubled letters."""
    lang = make_lang(AsrConfig(tokens="characters"), [" ".join(WORDS)], [])
    save_lang(lang, tmp_path)
    return lang, tmp_path


def make_graph(lang, folder, sentences, order=2):
    """HLG as stage 5 reads it: composed, stored and loaded."""
    train_arpa(sentences, order, lang.words, folder / "lm.arpa")
    save_graph(compose_graph(lang, make_grammar(folder / "lm.arpa", folder / WORDS_FILE)), folder / "hlg.safetensors")
    return load_graph(folder / "hlg.safetensors")


def paths_through(graph: k2.Fsa, labels: list[int]) -> dict[str, float]:
    """Word sequences that the graph can give for a sequence of CTC labels, with their best scores."""
    words, found = k2.RaggedTensor(graph.aux_labels.shape, graph.aux_labels.values).tolist(), {}
    for score, arcs in tiny_asr.walks(graph, graph.lm_scores.tolist(), labels):
        key = " ".join(str(word) for number in arcs for word in words[number] if word > 0)
        found[key] = max(found.get(key, -math.inf), score)
    return found


def ctc_labels(lang, text: str) -> list[int]:
    """The shortest CTC labels of a text: a blank between equal neighbours."""
    labels: list[int] = []
    for token in lang.tokens.encode(text):
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
    for order in (1, 2, 3):
        graph = make_graph(lang, folder, ["A CAB BE", "CC BE A", "A B"], order)
        labels = ctc_labels(lang, "CC BE")
        stretched = [label for token in labels for label in (0, token, token)] + [0]
        assert paths_through(graph, stretched) == paths_through(graph, labels) and len(paths_through(graph, labels)) == 1
        assert paths_through(graph, ctc_labels(lang, "CCC")) == {}


def test_unknown_words_are_never_said_and_some_must_be_known(toy):
    lang, folder = toy
    assert train_arpa(["A ZEBRA", "A B", "", "   "], 2, lang.words, folder / "lm.arpa") == 2
    text = (folder / "lm.arpa").read_text(encoding="utf-8")
    assert "<UNK>" in text and "ZEBRA" not in text
    graph = compose_graph(lang, make_grammar(folder / "lm.arpa", folder / WORDS_FILE))
    assert lang.word_table.index("<UNK>") not in graph.aux_labels.values.tolist()
    with pytest.raises(DataError, match="LM text"):
        train_arpa(["", " "], 2, lang.words, folder / "lm.arpa")
    with pytest.raises(DataError, match="decoding graph"):
        make_graph(lang, folder, ["ZEBRA"])


# ARPA files
@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_probabilities_of_all_words_sum_to_one(toy, order):
    """kaldingram's own unigrams give a share to <s>, which never follows anything."""
    folder = toy[1]
    for name in ("lm.arpa", "again.arpa"):
        train_arpa(["A B A", "B C", "A"], order, "ABC", folder / name)
    assert (folder / "lm.arpa").read_bytes() == (folder / "again.arpa").read_bytes()
    unigrams = (folder / "lm.arpa").read_text().split("\\1-grams:\n")[1].split("\n\n")[0].splitlines()
    shares = {fields[1]: 10 ** float(fields[0]) for fields in (line.split("\t") for line in unigrams)}
    assert shares.pop("<s>") < 1e-90
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-6)
    assert order > 1 or shares == pytest.approx({"A": 1 / 3, "B": 2 / 9, "C": 1 / 9, "</s>": 1 / 3}, abs=1e-6)
    assert torch.isfinite(make_grammar(folder / "lm.arpa", folder / WORDS_FILE).scores).all()


def test_gzipped_files(toy):
    lang, folder = toy
    packed, plain = folder / "lm.arpa.gz", folder / "lm.arpa"
    train_arpa(["A CAB BE", "CC BE A"], 2, lang.words, plain)
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(arpa_words(packed)) == list(arpa_words(plain)) and set(arpa_words(packed)) == {"A", "BE", "CAB", "CC"}
    graphs = [make_grammar(path, folder / WORDS_FILE) for path in (packed, plain)]
    assert torch.equal(graphs[0].arcs.values(), graphs[1].arcs.values())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.arpa", b""),
        ("text.arpa", b"no ARPA file"),
        ("no_words.arpa", b"\\data\\\nngram 1=2\n"),
        ("no_count.arpa", b"\\data\\\n\\1-grams:\n-1\tA\n"),
        ("torn.arpa.gz", gzip.compress(b"\\data\\\n")[:10]),
        ("missing.arpa", None),
    ],
)
def test_files_that_are_not_arpa_are_errors(toy, name, content):
    folder = toy[1]
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        list(arpa_words(folder / name))


def test_words_of_a_given_lm_join_the_lexicon_where_the_letters_are_known(toy):
    lang, _ = toy
    more = extend_lang(lang, ["BABE", "ZOO", "<s>", "CAB"])
    assert set(more.words) == {*lang.words, "BABE"} and more.tokens is lang.tokens
    assert list(more.words) == sorted(more.words)
    assert extend_lang(lang, ["CAB", "ZOO", "<UNK>"]) == lang


def test_given_lms_extend_the_search_and_lost_words_are_named(work_folder, caplog, tmp_path):
    train_arpa([*tiny_asr.make_sentences(80, 5), "HOED CAB"], 2, [*tiny_asr.WORDS, "HOED"], tmp_path / "2.arpa")
    train_arpa(["AB CAB"], 1, ["AB", "CAB"], tmp_path / "small.arpa")
    given = {"arpa": str(tmp_path / "2.arpa"), "rescore_arpa": str(tmp_path / "small.arpa"), "rescore_order": 3}
    context = tiny_asr.make_context(work_folder, tiny_asr.make_config(decoding=given), stage=5)
    prepare_lang(tiny_asr.make_context(work_folder, tiny_asr.make_config()))
    search = prepare_graph(context, HLG)
    words = load_lang(search.path).words
    assert "HOED" in words and "HOED" not in load_lang(artifacts.lang_folder(context.exp)).words
    assert "rescoring loses" not in caplog.text
    prepare_graph(context, G)
    assert f"{len(words) - 2} of the {len(words)} words" in caplog.text
    stamp = (search.path / "graph.safetensors").stat().st_mtime_ns
    assert not prepare_graph(context, HLG).needs_build()
    write_text(tmp_path / "2.arpa", (tmp_path / "2.arpa").read_text(encoding="utf-8") + "\n")
    prepare_graph(context, HLG)
    assert (search.path / "graph.safetensors").stat().st_mtime_ns > stamp
