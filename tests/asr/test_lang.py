"""Tokens (characters, BPE, phones), lexicon, disambiguation and the files of the lang folder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin import artifacts
from spin.asr.graphs import lexicon_fst
from spin.asr.lang import PRONUNCIATIONS_FILE, disambiguate, extend_lang, load_lang, make_lang, save_lang
from spin.asr.prepare_lang import read_lexicons, read_pronunciations
from spin.asr.tokens import BLANK_ID, UNKNOWN_ID, BpeTokens, CharacterTokens
from spin.asr.train_asr import find_problem
from spin.config import AsrConfig
from spin.errors import DataError
from spin.runtime.files import write_text
from tests.asr.tiny_asr import PHONE_TEXTS, PRONUNCIATIONS

TEXT = ["THE CAT SAT", "A CAT'S HAT", "THE HATS"]
BPE_TEXT = [f"{first} {second}" for first in "THE THAT THIS".split() for second in "CAT HAT CHAT HATCH".split()] * 3
CHARACTERS, PHONE = AsrConfig(tokens="characters"), AsrConfig(tokens="phone")
words = st.text(alphabet="ACEHST'", min_size=1, max_size=6)


def test_characters_by_hand():
    tokens = CharacterTokens.train(["AB BA"])
    assert tokens.pieces == ("<blk>", "<unk>", "\u2581", "A", "B")
    assert tokens.encode("B A") == [2, 4, 2, 3]
    assert tokens.encode("C") == [2, UNKNOWN_ID]


@given(st.lists(words, max_size=5))
def test_characters_round_trip(sentence):
    lang = make_lang(CHARACTERS, TEXT, [])
    text = " ".join(sentence)
    ids = lang.encode(text)
    assert BLANK_ID not in ids and lang.decode(ids) == lang.decode([BLANK_ID, *ids, BLANK_ID]) == text


def test_bpe_round_trip_and_same_bytes_twice():
    first, second = (BpeTokens.train(BPE_TEXT, 24) for _ in range(2))
    assert first.model == second.model and first.pieces[:2] == ("<blk>", "<unk>")
    assert first.decode(first.encode("THIS CHAT")) == "THIS CHAT"
    assert BLANK_ID not in first.encode("THIS CHAT <blk>")
    with pytest.raises(DataError, match="vocabulary"):
        BpeTokens.train(["A B"], 500)


def test_words_are_of_transcripts_and_lm_text_and_unspellable_ones_are_left_out():
    lang = make_lang(AsrConfig(tokens="auto"), TEXT, ["THE TEST", "A ZEBRA"])
    assert lang.kind == "characters"  # for few words
    assert "TEST" in lang.words and "SAT" in lang.words
    assert "ZEBRA" not in lang.words  # Z and R were never trained
    assert lang.word_table[:2] == ("<eps>", "<UNK>") and lang.word_table[-3:] == ("#0", "<s>", "</s>")
    assert lang.reference("A ZEBRA") == "A ZEBRA" and lang.count_unpronounced("A ZEBRA") == 0


@pytest.mark.parametrize(
    ("config", "texts", "pronunciations", "message"),
    [
        (CHARACTERS, [], None, "transcripts"),
        (CHARACTERS, ["A #0"], None, "#0"),
        (PHONE, ["A RED"], {"OTHER": [("AH",)]}, "lexicon"),
    ],
)
def test_texts_without_words_are_errors(config, texts, pronunciations, message):
    with pytest.raises(DataError, match=message):
        make_lang(config, texts, ["A"], pronunciations)


def test_disambiguate_by_hand():
    lexicon = [("A", (3,)), ("AB", (3, 4)), ("TWIN", (5,)), ("TWIN2", (5,)), ("C", (6,))]
    expected = (("A", (3, 11)), ("AB", (3, 4)), ("TWIN", (5, 11)), ("TWIN2", (5, 12)), ("C", (6,)))
    assert disambiguate(lexicon, 10) == (expected, 2)
    assert disambiguate([], 10) == ((), 0)


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple), max_size=12))
def test_disambiguated_pronunciations_are_prefix_free(pronunciations):
    lexicon = [(str(number), ids) for number, ids in enumerate(pronunciations)]
    result = [ids for _, ids in disambiguate(lexicon, 4)[0]]
    for first, ids in enumerate(result):
        for second, other in enumerate(result):
            assert first == second or other[: len(ids)] != ids


# Files
@pytest.mark.parametrize(
    ("config", "texts", "lines"),
    [
        (CHARACTERS, TEXT, {"tokens.txt": "<blk> 0\n<unk> 1\n\u2581 2\n", "lexicon_disambig.txt": "HAT \u2581 H A T #1\n"}),
        (AsrConfig(tokens="bpe", vocabulary_size=24), BPE_TEXT, {"tokens.txt": "<blk> 0\n<unk> 1\n"}),
        (PHONE, PHONE_TEXTS, {"lexicon_disambig.txt": "RED R EH D #2\n", "words.txt": "<eps> 0\n<UNK> 1\nA 2\n"}),
    ],
)
def test_save_and_load(tmp_path, config, texts, lines):
    lang = make_lang(config, texts, ["THAT TEST"], PRONUNCIATIONS)
    save_lang(lang, tmp_path)
    again = load_lang(tmp_path)
    assert (again.kind, again.lexicon, again.words, again.token_table) == (lang.kind, lang.lexicon, lang.words, lang.token_table)
    assert [again.encode(text) for text in texts] == [lang.encode(text) for text in texts]
    for name, content in lines.items():
        assert content in (tmp_path / name).read_text(encoding="utf-8")
    save_lang(again, tmp_path / "again")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == {
        path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()
    }


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokens.txt", b""),
        ("tokens.txt", None),
        ("lexicon.txt", b"A AH Q\n"),
        ("lexicon.txt", b"\xff"),
        (PRONUNCIATIONS_FILE, None),
    ],
)
def test_damaged_and_missing_files_are_errors(tmp_path, name, content):
    save_lang(make_lang(PHONE, PHONE_TEXTS, [], PRONUNCIATIONS), tmp_path)
    (tmp_path / name).unlink() if content is None else (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=str(tmp_path)):
        load_lang(tmp_path)


# Phones
def test_words_have_the_phones_of_their_first_pronunciation_whether_in_the_graph_or_not():
    lang = make_lang(PHONE, PHONE_TEXTS, ["RED A ZOO"], PRONUNCIATIONS)
    assert lang.words == ("A", "READ", "RED")  # no phone of ZOO was trained
    assert lang.tokeniser.pieces == ("<blk>", "<unk>", "AH", "D", "EH", "IY", "R")
    assert lang.decode(lang.encode("A READ")) == "AH R IY D"
    assert [word for word, _ in lang.lexicon].count("READ") == 2
    assert lang.reference("A DREAD") == "AH D R EH D" and lang.count_unpronounced("A DREAD") == 0
    assert lang.reference("ZEBRA READ ZEBRA") == "R IY D" and lang.count_unpronounced("ZEBRA READ ZEBRA") == 2
    assert find_problem("A ZEBRA", 99, lang) == "no pronunciation of ZEBRA"
    labels = [lexicon_fst(lang, disambiguated).labels.max().item() for disambiguated in (False, True)]
    assert labels == [6, lang.token_table.index("#2")]


def test_pronunciations_keep_their_order(tmp_path):
    """Of words of the LM's file too, after a way through the folder's files; a set would give the order of the hashes."""
    variants = [tuple(said) for said in ("AB", "BA", "ABA", "B", "BAB", "A", "BB", "AA")]
    said = {"AB": variants, "BA": variants[::-1], "C": [("C",)]}
    save_lang(make_lang(PHONE, ["AB"], [], said), tmp_path)
    lang = extend_lang(load_lang(tmp_path), ["C", "BA"])
    spelled = [(word, tuple(lang.tokeniser.pieces[number] for number in ids)) for word, ids in lang.lexicon]
    assert spelled == [(word, phones) for word in ("AB", "BA") for phones in said[word]]
    assert extend_lang(load_lang(tmp_path), ["C"]).lexicon == load_lang(tmp_path).lexicon


def test_read_pronunciations(tmp_path):
    write_text(tmp_path / "lexicon", ";;; a comment\nread\tR IY1 D\nREAD(2) R EH1 D\n\nA AH0\nA AH2\n")
    assert read_pronunciations(tmp_path / "lexicon") == {"READ": [("R", "IY", "D"), ("R", "EH", "D")], "A": [("AH",)]}
    for name, content in (("empty", ""), ("phoneless", "WORD\n"), ("missing", None)):
        if content is not None:
            write_text(tmp_path / name, content)
        with pytest.raises(DataError, match=name):
            read_pronunciations(tmp_path / name)


def test_variants_follow_the_pronunciation_of_alignments(tmp_path):
    write_text(artifacts.lexicon(tmp_path), "A\tAH\nREAD\tR IY D\n")
    assert read_lexicons(AsrConfig(), tmp_path) == {"A": [("AH",)], "READ": [("R", "IY", "D")]}
    write_text(artifacts.lexicon(tmp_path, variants=True), "")
    assert list(read_lexicons(AsrConfig(), tmp_path)) == ["A", "READ"]
    write_text(artifacts.lexicon(tmp_path, variants=True), "READ\tR EH D\nREAD\tR IY D\nREAD\tR EY D\n")
    assert read_lexicons(AsrConfig(), tmp_path)["READ"] == [("R", "IY", "D"), ("R", "EH", "D"), ("R", "EY", "D")]
    write_text(tmp_path / "given", "B\tB IY\n")
    assert read_lexicons(AsrConfig(lexicon=str(tmp_path / "given")), tmp_path) == {"B": [("B", "IY")]}
