"""LMs from text and from given ARPA files, plain and gzipped; words that a file adds to the lang folder."""

from __future__ import annotations

import gzip

import pytest
import torch

from spin import artifacts
from spin.asr.graphs import HLG, G, prepare_graph
from spin.asr.lang import extend_lang, load_lang, make_lang, save_lang
from spin.asr.lm import arpa_words, make_grammar, read_sentences, train_arpa
from spin.asr.prepare_lang import prepare_lang
from spin.config import AsrConfig
from spin.errors import DataError
from spin.runtime.files import write_text
from tests.asr.tiny_asr import WORDS, make_config, make_context, make_sentences

TEXTS = ["A CAB", "ABBA BE A", "CAB BE", "A CAB BE"]


@pytest.fixture
def made(tmp_path):
    """(lang, folder with text and lm.arpa, a bigram of it)."""
    lang = make_lang(AsrConfig(tokens="characters"), TEXTS, [])
    save_lang(lang, tmp_path)
    write_text(tmp_path / "text", "\n".join(TEXTS))
    train_arpa(TEXTS, 2, lang.words, tmp_path / "lm.arpa")
    return lang, tmp_path


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_probabilities_of_all_words_sum_to_one(tmp_path, order):
    """kaldingram's own unigrams give a share to <s>, which never follows anything."""
    for name in ("lm.arpa", "again.arpa"):
        train_arpa(["A B A", "B C", "A"], order, "ABC", tmp_path / name)
    assert (tmp_path / "lm.arpa").read_bytes() == (tmp_path / "again.arpa").read_bytes()
    unigrams = (tmp_path / "lm.arpa").read_text().split("\\1-grams:\n")[1].split("\n\n")[0].splitlines()
    shares = {fields[1]: 10 ** float(fields[0]) for fields in (line.split("\t") for line in unigrams)}
    assert shares.pop("<s>") < 1e-90
    assert sum(shares.values()) == pytest.approx(1.0, abs=1e-6)
    if order == 1:
        assert shares == pytest.approx({"A": 1 / 3, "B": 2 / 9, "C": 1 / 9, "</s>": 1 / 3}, abs=1e-6)
        assert torch.isfinite(grammar_of(tmp_path).scores).all()


def grammar_of(folder):
    lang = make_lang(AsrConfig(tokens="characters"), ["A B C"], [])
    save_lang(lang, folder)
    return make_grammar(folder / "lm.arpa", folder / "words.txt")


def test_gzipped_files(made):
    lang, folder = made
    packed, plain = folder / "lm.arpa.gz", folder / "lm.arpa"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(arpa_words(packed)) == list(arpa_words(plain))
    assert set(arpa_words(packed)) == set(lang.words)
    graphs = [make_grammar(path, folder / "words.txt") for path in (packed, plain)]
    assert torch.equal(graphs[0].arcs.values(), graphs[1].arcs.values())


@pytest.mark.parametrize("content", [b"", b"no ARPA file", b"\\data\\\nngram 1=2\n", b"\\data\\\n\\1-grams:\n-1\tA\n"])
def test_files_that_are_not_arpa_are_errors(made, content):
    folder = made[1]
    (folder / "bad.arpa").write_bytes(content)
    with pytest.raises(DataError, match="bad.arpa"):
        list(arpa_words(folder / "bad.arpa"))
    (folder / "torn.arpa.gz").write_bytes(gzip.compress(b"\\data\\\n")[:10])
    for name in ("torn.arpa.gz", "missing.arpa"):
        with pytest.raises(DataError, match=name):
            list(arpa_words(folder / name))
    with pytest.raises(DataError, match="torn.arpa.gz"):
        make_grammar(folder / "torn.arpa.gz", folder / "words.txt")
    with pytest.raises(DataError, match="missing.txt"):
        read_sentences(folder / "missing.txt")


def test_words_of_a_given_lm_join_the_lexicon_where_the_letters_are_known(made):
    lang, _ = made
    more = extend_lang(lang, ["BABE", "ZOO", "<s>", "CAB"])
    assert "BABE" in more.words and "ZOO" not in more.words and "<s>" not in more.words
    assert set(lang.words) < set(more.words) and more.tokeniser is lang.tokeniser
    assert list(more.words) == sorted(more.words)
    assert extend_lang(lang, ["CAB", "ZOO", "<UNK>"]) == lang


def test_pronunciations_keep_their_order(tmp_path):
    """Of words of the LM's file too, after a way through the folder's files; a set would give the order of the hashes."""
    variants = [tuple(said) for said in ("AB", "BA", "ABA", "B", "BAB", "A", "BB", "AA")]
    said = {"AB": variants, "BA": variants[::-1], "C": [("C",)]}
    save_lang(make_lang(AsrConfig(tokens="phone"), ["AB"], [], said), tmp_path)
    lang = extend_lang(load_lang(tmp_path), ["C", "BA"])
    spelled = [(word, tuple(lang.tokeniser.pieces[number] for number in ids)) for word, ids in lang.lexicon]
    assert spelled == [(word, phones) for word in ("AB", "BA") for phones in said[word]]
    assert extend_lang(load_lang(tmp_path), ["C"]).lexicon == load_lang(tmp_path).lexicon


def test_given_lms_extend_the_search_and_lost_words_are_named(work_folder, caplog, tmp_path):
    train_arpa([*make_sentences(80, 5), "HOED CAB"], 2, [*WORDS, "HOED"], tmp_path / "2.arpa")
    train_arpa(["AB CAB"], 1, ["AB", "CAB"], tmp_path / "small.arpa")
    given = {"arpa": str(tmp_path / "2.arpa"), "rescore_arpa": str(tmp_path / "small.arpa"), "rescore_order": 3}
    context = make_context(work_folder, make_config(decoding=given), stage=5)
    prepare_lang(make_context(work_folder, make_config()))
    search = prepare_graph(context, HLG)
    words = load_lang(search.path).words
    assert "HOED" in words and "HOED" not in load_lang(artifacts.lang_folder(context.exp)).words
    assert "rescoring loses" not in caplog.text
    prepare_graph(context, G)
    assert f"{len(words) - 2} of the {len(words)} words" in caplog.text
    stamps = [(search.path / "graph.safetensors").stat().st_mtime_ns]
    assert not prepare_graph(context, HLG).is_stale()
    write_text(tmp_path / "2.arpa", (tmp_path / "2.arpa").read_text(encoding="utf-8") + "\n")
    prepare_graph(context, HLG)
    stamps.append((search.path / "graph.safetensors").stat().st_mtime_ns)
    assert stamps[1] > stamps[0]
