"""Pronunciations: the dictionary, the rules that derive regular forms of its words, and guesses from letters."""

from pathlib import Path

import kaldialign
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.corpus import pronunciation
from spin.corpus.pronunciation import Dictionary, default_dictionary, default_model
from spin.errors import DataError
from spin.runtime.seeding import generator
from tests.corpus.layout import PHONES

installed = pytest.mark.skipif(default_model() is None, reason="gruut_lang_en or python-crfsuite is not installed")
DERIVED = {
    "BEAVER'S": "B IY V ER Z",  # voiced
    "DERYCK'S": "D EH R IH K S",  # voiceless
    "MISTRESS'S": "M IH S T R AH S IH Z",  # sibilant
    "STAMMERED": "S T AE M ER D",
    "CROAKED": "K R OW K T",
    "BRIGADED": "B R AH G EY D IH D",  # silent e, d after d
    "HUMMED": "HH AH M D",  # doubled consonant
    "WASHSTAND": "W AA SH S T AE N D",  # compound
    "HEARTLESSLY": "HH AA R T L AH S L IY",  # two suffixes
    "UNSELFISH": "AH N S EH L F IH SH",
    "HUSKILY": "HH AH S K IY L IY",  # i for y
    "BROTHER'": "B R AH DH ER",
    **dict.fromkeys(("ZARATHUSTRA", "RONICKY", "QXZ", "'", "", "QX'S", "QED"), ""),
}
GUESSED = {
    "LAGREE": "L AE G R IY",
    "PLASMOID": "P L AE S M OY D",
    "WIMPOLE": "W IH M P OW L",
    "KNOWL": "N OW L",  # a silent letter
    "TESSELLATION": "T EH S EH L EY SH AH N",
    "D'AVRIL": "D AE V R IH L",  # the apostrophe is ignored
}


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return default_dictionary()


def draw(words: list[str], count: int) -> list[str]:
    return [words[index] for index in generator("words").choice(len(words), count, replace=False)]


@pytest.mark.parametrize(("word", "phones"), DERIVED.items())
def test_derived_words_names_and_scraps(dictionary: Dictionary, word: str, phones: str):
    assert not phones or word not in dictionary
    assert dictionary.derive(word) == tuple(phones.split())


def test_rules_agree_with_the_dictionary_on_its_own_words(dictionary: Dictionary):
    """An oracle: the dictionary without a word derives it as the dictionary has it; inflections 9 times in 10."""
    right = derived = 0
    for word in draw(sorted(word for word in dictionary._entries if word.endswith(("'S", "ED", "ES"))), 2000):
        entry = dictionary._entries.pop(word)
        phones = dictionary.derive(word)
        dictionary._entries[word] = entry
        derived += bool(phones)
        right += phones in entry
    assert derived > 1500
    assert right / derived > 0.85


@installed
@pytest.mark.parametrize(("word", "phones"), GUESSED.items())
def test_words_of_no_dictionary(word: str, phones: str):
    assert default_model()(word) == tuple(phones.split())


@installed
@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ'", max_size=30))
def test_only_phones_of_the_dictionary(word: str):
    phones = default_model()(word)
    assert set(phones) <= set(PHONES)
    assert phones == default_model()(word)


@installed
def test_letters_are_near_the_dictionary_on_its_words(dictionary: Dictionary):
    """An oracle: the words that the model was trained on, mostly names: 86 phones of 100 right."""
    errors = phones = 0
    for word in draw(sorted(word for word in dictionary._entries if word.isalpha()), 500):
        guess, variants = default_model()(word), dictionary._entries[word]
        errors += min(kaldialign.edit_distance(variant, guess)["total"] for variant in variants)
        phones += len(variants[0])
    assert errors / phones < 0.18


def test_order_of_sources_in_an_own_dictionary(tmp_path: Path):
    """Dictionary, then rule, then letters; a possessive takes its ending from the sound of its stem."""
    path = tmp_path / "own.dict"
    path.write_text("spin S P IH1 N\nspin(2) S P IY1 N\nspin(3) S P IH0 N\nempty\n")
    guesses = {"HAGAR": ("HH", "EY", "G", "ER"), "FRITZ": ("F", "R", "IH", "T", "S")}
    own = Dictionary(path, lambda word: guesses.get(word, ()))
    assert own.pronunciations("SPIN") == (("S", "P", "IH", "N"), ("S", "P", "IY", "N"))
    assert own.pronunciations("SPINS") == (("S", "P", "IH", "N", "Z"),)
    assert own.pronunciations("HAGAR'S") == (("HH", "EY", "G", "ER", "Z"),)
    assert own.pronunciations("FRITZ'S") == (("F", "R", "IH", "T", "S", "IH", "Z"),)
    assert own.pronunciations("ABSENT") == own.pronunciations("ABSENT'S") == ()
    assert Dictionary(path).pronunciations("HAGAR") == ()
    assert "EMPTY" not in own
    with pytest.raises(DataError, match="absent"):
        Dictionary(tmp_path / "absent.dict")


def test_letters_without_the_model(monkeypatch):
    monkeypatch.setattr(pronunciation, "PACKAGES", ("no_such_package_here",))
    default_model.cache_clear()
    assert default_model() is None
    default_model.cache_clear()
