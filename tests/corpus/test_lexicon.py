"""The text of the language model: files of every kind, held-out sentences, LibriSpeech's own text."""

import gzip
from pathlib import Path

import pytest

from spin import artifacts
from spin.corpus import lexicon
from spin.errors import DataError
from tests.corpus.layout import lm_text


def test_lm_text_from_a_file(small_corpus: Path, make_context, prepare_data, tmp_path: Path):
    text = tmp_path / "text.txt"
    text.write_text("\ufeffa first line\r\n\r\nIt is a test.\nchapter 12\nthe last line", encoding="utf-8")
    context = make_context(small_corpus, lm_text=str(text))
    prepare_data(context)
    assert lm_text(context) == ["A FIRST LINE", "THE LAST LINE"]
    assert "LINE\tL AY N\n" in artifacts.lexicon(context.corpus).read_text()
    compressed = tmp_path / "text.txt.gz"
    compressed.write_bytes(gzip.compress(text.read_bytes()))
    packed = make_context(small_corpus, "packed", lm_text=str(compressed))
    prepare_data(packed)
    assert lm_text(packed) == lm_text(context)
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
    monkeypatch.setattr(lexicon, "LIBRISPEECH_LINES", 12)
    context = make_context(small_corpus, lm_text="librispeech", lm_sentences=3)
    prepare_data(context)
    assert [line.count("OF") for line in lm_text(context)] == [0, 4, 8]
    prepare_data(make_context(small_corpus, lm_text="librispeech"))  # all of so few
    assert len(lm_text(context)) == 12
