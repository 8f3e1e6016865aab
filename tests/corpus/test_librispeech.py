"""LibriSpeech's layout; fingerprints of its parts, and other corpora. Bad utterances: tests/faults."""

import os
from pathlib import Path

import pytest

from spin.config import CorpusConfig
from spin.corpus.librispeech import LibriSpeech, chapters, parts_in, read_chapter, require_folder, root_in
from spin.corpus.registry import CORPORA, Corpus, fingerprint_part, forget_fingerprints, needs_alignment, open_corpus
from spin.errors import ConfigError, DataError
from tests.corpus.layout import write_chapter, write_flac


def test_chapters_come_in_the_order_of_ids(tmp_path: Path):
    for speaker, number in (("1034", "7"), ("103", "1241"), ("103", "124"), ("9", "1")):
        write_chapter(tmp_path / "part", speaker, number, ["A"])
    (tmp_path / "part" / "notes.txt").write_text("not a speaker")
    ids = [record["id"] for folder in chapters(tmp_path / "part") for record in read_chapter(folder, CorpusConfig())]
    assert len(ids) == 4 and ids == sorted(ids)


def test_parts_are_found_below_the_folder_or_its_parent(small_corpus: Path):
    (small_corpus / "empty").mkdir()
    (small_corpus / "SPEAKERS.TXT").write_text("")
    assert parts_in(small_corpus) == ["dev", "test", "train"]
    assert require_folder(str(small_corpus)) == require_folder(str(small_corpus.parent)) == small_corpus
    assert parts_in(small_corpus / "absent") == []
    assert require_folder(str(small_corpus / "empty")) == small_corpus / "empty"
    assert root_in(str(small_corpus.parent / "x")) == small_corpus.parent / "x" / "LibriSpeech"  # where downloads go
    assert root_in(str(small_corpus.parent / "x" / "LibriSpeech")) == small_corpus.parent / "x" / "LibriSpeech"
    nested = small_corpus / "LibriSpeech"  # an archive unpacked in a folder of its own name
    nested.mkdir()
    for part in ("dev", "test", "train"):
        (small_corpus / part).rename(nested / part)
    assert require_folder(str(small_corpus)) == nested
    with pytest.raises(ConfigError, match="--corpus-dir"):
        require_folder(None)  # missing folders and parts: tests/faults/test_bad_corpora.py


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
    monkeypatch.setitem(CORPORA, "toy", "spin.corpus.librispeech:LibriSpeech")
    assert isinstance(open_corpus(make_context(None, kind="toy").config, Path("data")), LibriSpeech)
