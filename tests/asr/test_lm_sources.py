"""LMs from text and from given ARPA files, plain and gzipped; words that a file adds to the lang folder."""

from __future__ import annotations

import gzip

import k2
import pytest
import torch

from spin.asr.decoding_stage import report_lost_words
from spin.asr.lang import extend_lang, load_lang, make_lang, save_lang
from spin.asr.lm import grammar, train_arpa
from spin.asr.lm_sources import LmSource, arpa_order, arpa_words
from spin.config import AsrConfig
from spin.errors import DataError
from spin.runtime.files import write_text

TEXTS = ["A CAB", "ABBA BE A", "CAB BE", "A CAB BE"]


@pytest.fixture
def made(tmp_path):
    """(lang, folder with text and lm.arpa, a bigram of it)."""
    lang = make_lang(AsrConfig(tokens="characters"), TEXTS, [])
    save_lang(lang, tmp_path)
    write_text(tmp_path / "text", "\n".join(TEXTS))
    train_arpa(TEXTS, 2, lang.words, tmp_path / "lm.arpa")
    return lang, tmp_path


def arcs(fsa: k2.Fsa) -> torch.Tensor:
    return fsa.arcs.values()


def test_a_given_file_is_the_trained_one(made):
    lang, folder = made
    trained = LmSource(folder / "text", 2).grammar(lang, folder)
    given = LmSource(folder / "missing", 1, folder / "lm.arpa").grammar(lang, folder)
    assert torch.equal(arcs(given), arcs(trained))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_the_probabilities_of_all_words_sum_to_one(tmp_path, order):
    """kaldingram's own unigrams give a share to <s>, which never follows anything."""
    train_arpa(["A B A", "B C", "A"], order, "ABC", tmp_path / "lm.arpa")
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
    return grammar(folder / "lm.arpa", folder / "words.txt", 1)


def test_gzipped_files(made):
    lang, folder = made
    packed = folder / "lm.arpa.gz"
    packed.write_bytes(gzip.compress((folder / "lm.arpa").read_bytes()))
    assert arpa_order(packed) == arpa_order(folder / "lm.arpa") == 2
    assert list(arpa_words(packed)) == list(arpa_words(folder / "lm.arpa"))
    assert set(arpa_words(packed)) == set(lang.words)
    both = [LmSource(folder / "text", 1, path).grammar(lang, folder) for path in (packed, folder / "lm.arpa")]
    assert torch.equal(*map(arcs, both))


def test_digests_tell_sources_apart(made):
    _, folder = made
    sources = [LmSource(folder / "text", 2), LmSource(folder / "text", 3), LmSource(folder / "text", 2, folder / "lm.arpa")]
    assert len({source.digest() for source in sources}) == 3
    before = sources[2].digest()
    write_text(folder / "lm.arpa", (folder / "lm.arpa").read_text(encoding="utf-8") + "\n")
    assert sources[2].digest() != before


@pytest.mark.parametrize("content", [b"", b"no ARPA file", b"\\data\\\nngram 1=2\n"])
def test_what_is_no_arpa_file_is_an_error(made, content):
    lang, folder = made
    (folder / "bad.arpa").write_bytes(content)
    source = LmSource(folder / "text", 2, folder / "bad.arpa")
    with pytest.raises(DataError):
        source.words()
    (folder / "torn.arpa.gz").write_bytes(gzip.compress(b"\\data\\\n")[:10])
    with pytest.raises(DataError, match="torn"):
        LmSource(folder / "text", 2, folder / "torn.arpa.gz").words()
    with pytest.raises(DataError, match="missing"):
        LmSource(folder / "text", 2, folder / "missing.arpa").digest()


def test_words_of_a_given_lm_join_the_lexicon_where_the_letters_are_known(made):
    lang, folder = made
    more = extend_lang(lang, ["BABE", "ZOO", "<s>", "CAB"])
    assert "BABE" in more.words and "ZOO" not in more.words and "<s>" not in more.words
    assert set(lang.words) < set(more.words) and more.tokeniser is lang.tokeniser
    assert list(more.words) == sorted(more.words)
    assert extend_lang(lang, ["CAB"]) is lang
    save_lang(more, folder / "more")


def test_words_that_cannot_be_spelled_are_left_out(made):
    lang, _ = made
    assert extend_lang(lang, ["ZOO", "A", "<UNK>"]) == lang
    assert extend_lang(lang, ["ZOO", "BAA"]).words == ("A", "ABBA", "BAA", "BE", "CAB")


def test_pronunciations_keep_their_order(tmp_path):
    """Of words of the LM's file too, after a way through the folder's files; a set would give the order of the hashes."""
    variants = [tuple(said) for said in ("AB", "BA", "ABA", "B", "BAB", "A", "BB", "AA")]
    said = {"AB": variants, "BA": variants[::-1], "C": [("C",)]}
    save_lang(make_lang(AsrConfig(tokens="phone"), ["AB"], [], said), tmp_path)
    lang = extend_lang(load_lang(tmp_path), ["C", "BA"])
    spelled = [(word, tuple(lang.tokeniser.pieces[number] for number in ids)) for word, ids in lang.lexicon]
    assert spelled == [(word, phones) for word in ("AB", "BA") for phones in said[word]]
    assert extend_lang(load_lang(tmp_path), ["C"]).lexicon == load_lang(tmp_path).lexicon


def test_words_that_rescoring_would_lose_are_named(made, caplog):
    lang, folder = made
    train_arpa(["A CAB"], 1, ["A", "CAB"], folder / "small.arpa")
    for source in (LmSource(folder / "text", 2), LmSource(folder / "text", 2, folder / "lm.arpa")):
        report_lost_words(lang, source)
    assert not caplog.records
    report_lost_words(lang, LmSource(folder / "text", 2, folder / "small.arpa"))
    (record,) = caplog.records
    assert "2 of the 4 words" in record.getMessage() and "ABBA, BE" in record.getMessage()
