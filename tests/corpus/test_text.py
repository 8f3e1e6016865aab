"""One normalisation of text: what it folds, what it refuses, and that it is stable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin.corpus.registry import Rejected
from spin.corpus.text import is_normal, normalise

KNOWN = {
    "Hello, World!": "HELLO WORLD",
    "\ufeffhello\tthere\r\n": "HELLO THERE",
    "caf\u00e9 na\u00efve \u00c5ngstr\u00f6m cafe\u0301": "CAFE NAIVE ANGSTROM CAFE",
    "Stra\u00dfe \u00e6on \u0152uvre \u0142\u00f8": "STRASSE AEON OEUVRE LO",
    "don\u2019t 'tis o\u02bcclock": "DON'T 'TIS O'CLOCK",
    "well-known \u2014 \u201cquoted\u201d \u2026 word": "WELL KNOWN QUOTED WORD",
    "a ' b '' c": "A B C",
    "soft\u00adhyphen zero\u200bwidth": "SOFTHYPHEN ZEROWIDTH",
    "\ufb01ne \u2122": "FINE TM",
    **dict.fromkeys(("", " \t\r\n ", "..."), ""),
}
CYRILLIC, CHINESE = "\u041c\u043e\u0441\u043a\u0432\u0430", "\u65e5\u672c"


@pytest.mark.parametrize(("written", "normal"), KNOWN.items())
def test_known_texts(written: str, normal: str):
    assert normalise(written) == normal


@pytest.mark.parametrize("text", ["chapter 4", "\u00bd", "R&D", "50 %", "a = b", "\u20ac", CYRILLIC, CHINESE, "<unk>", "x@y"])
def test_what_has_no_single_reading_is_refused(text: str):
    with pytest.raises(Rejected, match=r"^text: '.' \(U\+[0-9A-F]{4}\) has no single reading$"):
        normalise(text)


@given(st.text())
def test_normal_text_is_a_fixed_point(text: str):
    try:
        normal = normalise(text)
    except Rejected:
        return
    assert normalise(normal) == normal
    assert set(normal) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ' ")
    assert normal == "" or is_normal(normal)


@given(st.text(alphabet="abcXYZ' \u00e9.,-"))
def test_letters_survive_in_order(text: str):
    folded = text.upper().replace("\u00c9", "E")
    assert [sign for sign in normalise(text) if sign.isalpha()] == [sign for sign in folded if sign.isalpha()]


@pytest.mark.parametrize("text", ["", "hello", "A  B", " A", "A ", "A\nB", "''", "A '", "A1"])
def test_not_normal(text: str):
    assert not is_normal(text)
