"""Tokens, lexicon, disambiguation and the files of the lang folder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.asr.lang import Lang, disambiguate, load_lang, make_lang, save_lang
from spin.asr.tokens import BLANK_ID, UNKNOWN_ID, BpeTokens, CharacterTokens
from spin.config import AsrConfig
from spin.errors import DataError

TEXT = ["THE CAT SAT", "A CAT'S HAT", "THE HATS"]
CHARACTERS = AsrConfig(tokens="characters")
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
    assert lang.decode(ids) == text
    assert BLANK_ID not in ids
    assert lang.decode([BLANK_ID, *ids, BLANK_ID]) == text


def test_bpe_round_trip_and_same_bytes_twice(tmp_path):
    sentences = [f"{first} {second}" for first in "THE THAT THIS".split() for second in "CAT HAT CHAT HATCH".split()] * 3
    first, second = (BpeTokens.train(sentences, 24) for _ in range(2))
    assert first.model == second.model
    assert first.pieces[:2] == ("<blk>", "<unk>")
    lang = make_lang(AsrConfig(tokens="bpe", vocabulary_size=24), sentences, ["THAT HATCH CHATS"])
    assert lang.decode(lang.encode("THIS CHAT")) == "THIS CHAT"
    assert BLANK_ID not in lang.encode("THIS CHAT <blk>")
    save_lang(lang, tmp_path)
    assert load_lang(tmp_path).lexicon == lang.lexicon
    assert load_lang(tmp_path).kind == "bpe"


def test_bpe_vocabulary_too_large_is_an_error():
    with pytest.raises(DataError, match="vocabulary"):
        BpeTokens.train(["A B"], 500)


def test_auto_takes_characters_for_few_words():
    assert make_lang(AsrConfig(tokens="auto"), TEXT, []).kind == "characters"


def test_words_are_of_transcripts_and_lm_text_and_unspellable_ones_are_left_out():
    lang = make_lang(CHARACTERS, TEXT, ["THE TEST", "A ZEBRA"])
    assert "TEST" in lang.words and "SAT" in lang.words
    assert "ZEBRA" not in lang.words  # Z and R were never trained
    assert lang.word_table[:2] == ("<eps>", "<UNK>") and lang.word_table[-3:] == ("#0", "<s>", "</s>")


def test_no_text_and_reserved_words_are_errors():
    with pytest.raises(DataError, match="transcripts"):
        make_lang(CHARACTERS, [], ["A"])
    with pytest.raises(DataError, match="#0"):
        make_lang(CHARACTERS, ["A #0"], [])


def test_disambiguate_by_hand():
    lexicon = [("A", (3,)), ("AB", (3, 4)), ("TWIN", (5,)), ("TWIN2", (5,)), ("C", (6,))]
    result, most = disambiguate(lexicon, 10)
    assert list(result) == [("A", (3, 11)), ("AB", (3, 4)), ("TWIN", (5, 11)), ("TWIN2", (5, 12)), ("C", (6,))]
    assert most == 2
    assert disambiguate([], 10) == ((), 0)


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple), max_size=12))
def test_disambiguated_pronunciations_are_prefix_free(pronunciations):
    lexicon = [(str(number), ids) for number, ids in enumerate(pronunciations)]
    result = [ids for _, ids in disambiguate(lexicon, 4)[0]]
    for first, ids in enumerate(result):
        for second, other in enumerate(result):
            assert first == second or other[: len(ids)] != ids


@pytest.fixture
def saved(tmp_path) -> tuple[Lang, object]:
    lang = make_lang(CHARACTERS, TEXT, ["THAT TEST"])
    save_lang(lang, tmp_path)
    return lang, tmp_path


def test_save_and_load(saved):
    lang, folder = saved
    again = load_lang(folder)
    assert (again.lexicon, again.words, again.token_table) == (lang.lexicon, lang.words, lang.token_table)
    assert (folder / "tokens.txt").read_text(encoding="utf-8").startswith("<blk> 0\n<unk> 1\n\u2581 2\n")
    assert "HAT \u2581 H A T #1\n" in (folder / "lexicon_disambig.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "content"), [("tokens.txt", b""), ("lexicon.txt", b"CAT \xe2\x96\x81 C Q T\n"), ("words.txt", b"\xff")]
)
def test_damaged_files_are_errors(saved, name, content):
    _, folder = saved
    (folder / name).write_bytes(content)
    with pytest.raises(DataError, match=str(folder)):
        load_lang(folder)


def test_missing_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="tokens.txt"):
        load_lang(tmp_path)
