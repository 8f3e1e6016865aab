"""Fingerprints of parts: what they notice, what they ignore, and files that must not block them."""

import os
from pathlib import Path

import pytest

from spin.corpus.registry import CORPORA, Corpus, fingerprint_part, forget_fingerprints, needs_alignment, open_corpus
from spin.errors import DataError
from tests.corpus.layout import write_chapter, write_flac


def fingerprint(context, part: str = "train") -> dict:
    forget_fingerprints()
    return fingerprint_part(context.config, context.corpus, part)


def test_texts_with_size_and_time_kept_other_audio_and_new_files_are_noticed(small_corpus: Path, make_context, tmp_path: Path):
    context, train = make_context(small_corpus), small_corpus / "train"
    (train / "103/1240/notes.md").write_text("not of the corpus")
    known = [fingerprint(context)]
    (train / "103/1240/notes.md").write_text("still not")
    assert fingerprint(context) == known[0] and known[0]["files of train"].startswith("7 files:")
    path = train / "103/1240/103-1240.trans.txt"
    status = path.stat()
    path.write_text(path.read_text().replace("HELLO", "YELLO"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    known.append(fingerprint(context))
    write_flac(train / "103/1240/103-1240-0001.flac", seconds=1.5)
    known.append(fingerprint(context))
    write_chapter(train, "2000", "1", ["A THIRD SPEAKER"])
    known.append(fingerprint(context))
    link, moved = tmp_path / "link", tmp_path / "moved"
    link.symlink_to(small_corpus)
    known.append(fingerprint(make_context(link)))
    small_corpus.rename(moved)
    link.unlink()
    link.symlink_to(moved)
    assert fingerprint(make_context(link)) == known[-1]  # behind a link a corpus moves unnoticed
    known.append(fingerprint(make_context(moved)))
    assert len({str(one) for one in known}) == len(known)


def test_alignment_of_a_part_counts(small_corpus: Path, make_context):
    context = make_context(small_corpus, alignment="pocketsphinx")
    assert [needs_alignment(context.config, part) for part in ("train", "dev", "test")] == [False, True, True]
    assert (fingerprint(context)["alignment of train"], fingerprint(context, "dev")["alignment of dev"]) == (False, True)
    everything = make_context(small_corpus, alignment="pocketsphinx", align_parts="all")
    assert fingerprint(everything)["alignment of train"] is True
    official = make_context(small_corpus, alignment="official", valid=("dev-other",), test=("test-clean",))
    assert [needs_alignment(official.config, part) for part in ("dev-other", "test-clean")] == [True, False]


def test_odd_files_are_counted_and_do_not_block(small_corpus: Path, make_context):
    context, chapter = make_context(small_corpus), small_corpus / "train/103/1240"
    os.mkfifo(chapter / "pipe.flac")
    os.mkfifo(chapter / "pipe.trans.txt")
    (chapter / "loop.flac").symlink_to("loop.flac")
    (chapter / "loop.trans.txt").symlink_to("loop.trans.txt")
    (chapter / "not\udcffutf.flac").write_bytes(b"")
    assert fingerprint(context)["files of train"].startswith("12 files:")
    with pytest.raises(DataError, match="absent"):
        fingerprint(context, "absent")


def test_every_kind_of_corpus_opens_and_a_new_one_takes_one_line(make_context, monkeypatch):
    for kind in CORPORA:
        assert isinstance(open_corpus(make_context(None, kind=kind).config, Path("data")), Corpus)
    monkeypatch.setitem(CORPORA, "toy", f"{__name__}:ToyCorpus")
    assert fingerprint(make_context(None, kind="toy"), "any") == {"toy": 1, "alignment of any": False}


class ToyCorpus(Corpus):
    """The least that a corpus needs."""

    def check(self, parts, log) -> None:
        pass

    def fingerprint(self, part: str) -> dict:
        return {"toy": 1}

    def read(self, part: str, nj: int):
        yield from ()
