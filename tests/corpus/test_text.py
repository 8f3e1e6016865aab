"""One normalisation of text, and the text of the language model: files of every kind, held-out sentences, LibriSpeech's own."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin import artifacts
from spin.corpus import text as corpus_text
from spin.corpus.registry import Rejected
from spin.corpus.text import is_normal, normalise
from spin.errors import DataError
from tests.corpus.layout import lm_text

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


def test_lm_text_from_a_file(small_corpus: Path, make_context, prepare_data, tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("\ufeffa first line\r\n\r\nIt is a test.\nchapter 12\nthe last line", encoding="utf-8")
    context = prepare_data(make_context(small_corpus, lm_text=str(text)))
    assert lm_text(context) == ["A FIRST LINE", "THE LAST LINE"]
    assert "LINE\tL AY N\n" in artifacts.lexicon(context.corpus).read_text()
    compressed = tmp_path / "text.txt.gz"
    compressed.write_bytes(gzip.compress(text.read_bytes()))
    assert lm_text(prepare_data(make_context(small_corpus, "packed", lm_text=str(compressed)))) == lm_text(context)
    compressed.write_bytes(compressed.read_bytes()[:40])
    for bad in (tmp_path / "absent.txt", compressed):
        with pytest.raises(DataError, match="LM text"):
            prepare_data(make_context(small_corpus, "none", lm_text=str(bad)))
    text.write_text("it is a test\n")
    with pytest.raises(DataError, match="LM text"):
        prepare_data(make_context(small_corpus, "held", lm_text=str(text)))


def test_lm_text_of_librispeech_is_thinned(small_corpus: Path, make_context, prepare_data, monkeypatch):
    lines = (f"LINE {'OF ' * number}TEXT\n" for number in range(12))
    (small_corpus / "librispeech-lm-norm.txt.gz").write_bytes(gzip.compress("".join(lines).encode()))
    monkeypatch.setattr(corpus_text, "LIBRISPEECH_LINES", 12)
    context = prepare_data(make_context(small_corpus, lm_text="librispeech", lm_sentences=3))
    assert [line.count("OF") for line in lm_text(context)] == [0, 4, 8]
    assert len(lm_text(prepare_data(make_context(small_corpus, lm_text="librispeech")))) == 12  # all of so few
