"""Pronunciations guessed from letters."""

from __future__ import annotations

from pathlib import Path

import kaldialign
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.corpus import g2p
from spin.corpus.alignment import PHONES
from spin.corpus.g2p import default_model
from spin.corpus.pronunciation import Dictionary
from spin.runtime.seeding import generator

installed = pytest.mark.skipif(default_model() is None, reason="gruut_lang_en or python-crfsuite is not installed")


@installed
@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("LAGREE", "L AE G R IY"),
        ("PLASMOID", "P L AE S M OY D"),
        ("WIMPOLE", "W IH M P OW L"),
        ("KNOWL", "N OW L"),  # a silent letter
        ("TESSELLATION", "T EH S EH L EY SH AH N"),
        ("D'AVRIL", "D AE V R IH L"),  # the apostrophe is ignored
    ],
)
def test_words_of_no_dictionary(word: str, phones: str):
    assert default_model()(word) == tuple(phones.split())


@installed
@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ'", max_size=30))
def test_only_phones_of_the_dictionary(word: str):
    phones = default_model()(word)
    assert set(phones) <= set(PHONES)
    assert phones == default_model()(word)


@installed
def test_near_the_dictionary_on_its_words():
    """An oracle: the words it was trained on, mostly names: 86 phones of 100 right."""
    dictionary = Dictionary(g2p=default_model())
    words = sorted(word for word in dictionary._entries if word.isalpha())
    drawn = [words[index] for index in generator("letters").choice(len(words), 500, replace=False)]
    errors = phones = 0
    for word in drawn:
        guess, variants = default_model()(word), dictionary._entries[word]
        errors += min(kaldialign.edit_distance(variant, guess)["total"] for variant in variants)
        phones += len(variants[0])
    print(errors / phones)
    assert errors / phones < 0.18


def test_order_of_sources(tmp_path: Path):
    """Dictionary, then rule, then letters; a possessive takes its ending from the sound of its stem."""
    path = tmp_path / "own.dict"
    path.write_text("spin S P IH1 N\n")
    guesses = {"HAGAR": ("HH", "EY", "G", "ER"), "FRITZ": ("F", "R", "IH", "T", "S")}
    own = Dictionary(path, lambda word: guesses.get(word, ()))
    assert own.guesses and not Dictionary(path).guesses
    assert own.pronunciations("SPIN") == (("S", "P", "IH", "N"),)
    assert own.pronunciations("SPINS") == (("S", "P", "IH", "N", "Z"),)
    assert own.pronunciations("HAGAR'S") == (("HH", "EY", "G", "ER", "Z"),)
    assert own.pronunciations("FRITZ'S") == (("F", "R", "IH", "T", "S", "IH", "Z"),)
    assert own.pronunciations("ABSENT") == own.pronunciations("ABSENT'S") == ()
    assert Dictionary(path).pronunciations("HAGAR") == ()


def test_not_installed(monkeypatch):
    monkeypatch.setattr(g2p, "PACKAGES", ("no_such_package_here",))
    default_model.cache_clear()
    assert default_model() is None
    default_model.cache_clear()
