"""The dictionary and the rules that derive regular forms of its words."""

from __future__ import annotations

from pathlib import Path

import pytest

from spin.corpus.alignment import PHONES
from spin.corpus.pronunciation import Dictionary, default_dictionary
from spin.errors import DataError
from spin.runtime.seeding import generator


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return default_dictionary()


def test_dictionary_has_variants_without_stress(dictionary: Dictionary):
    assert dictionary.pronunciations("THE")[:2] == (("DH", "AH"), ("DH", "IY"))
    assert len(dictionary._entries) > 100_000
    phones = {phone for word in ("SPEAKER", "INVARIANT", "CLUSTERING") for phone in dictionary.pronunciations(word)[0]}
    assert phones <= set(PHONES)


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("BEAVER'S", "B IY V ER Z"),  # voiced
        ("DERYCK'S", "D EH R IH K S"),  # voiceless
        ("MISTRESS'S", "M IH S T R AH S IH Z"),  # sibilant
        ("STAMMERED", "S T AE M ER D"),
        ("CROAKED", "K R OW K T"),
        ("BRIGADED", "B R AH G EY D IH D"),  # silent e, d after d
        ("HUMMED", "HH AH M D"),  # doubled consonant
        ("CALIBRE", "K AE L AH B ER"),  # British spelling
        ("WASHSTAND", "W AA SH S T AE N D"),  # compound
        ("UNSELFISH", "AH N S EH L F IH SH"),
        ("HUSKILY", "HH AH S K IY L IY"),  # i for y
        ("FISHIN", "F IH SH IH N"),
        ("BROTHER'", "B R AH DH ER"),
    ],
)
def test_derived_words(dictionary: Dictionary, word: str, phones: str):
    assert word not in dictionary
    assert dictionary.pronunciations(word) == (tuple(phones.split()),)


@pytest.mark.parametrize("word", ["ZARATHUSTRA", "RONICKY", "QXZ", "'", "", "S", "ED"])
def test_names_and_scraps_have_none_by_rule(dictionary: Dictionary, word: str):
    assert dictionary.derive(word) == ()


def test_rules_agree_with_the_dictionary_on_its_own_words(dictionary: Dictionary):
    """An oracle: the dictionary without a word derives it as the dictionary has it; inflections 9 times in 10."""
    words = sorted(word for word in dictionary._entries if word.endswith(("'S", "ED", "ES")))
    drawn = [words[index] for index in generator("words").choice(len(words), 2000, replace=False)]
    right = derived = 0
    for word in drawn:
        entry = dictionary._entries.pop(word)
        phones = dictionary.derive(word)
        dictionary._entries[word] = entry
        derived += bool(phones)
        right += bool(phones) and phones[0] in entry
    assert derived > 1500
    assert right / derived > 0.85


def test_own_dictionary_file(tmp_path: Path):
    path = tmp_path / "own.dict"
    path.write_text("spin S P IH1 N\nspin(2) S P IY1 N\nspin(3) S P IH0 N\nempty\n")
    own = Dictionary(path)
    assert own.pronunciations("SPIN") == (("S", "P", "IH", "N"), ("S", "P", "IY", "N"))
    assert own.pronunciations("SPINS") == (("S", "P", "IH", "N", "Z"),)
    assert "EMPTY" not in own
    with pytest.raises(DataError, match="absent"):
        Dictionary(tmp_path / "absent.dict")
