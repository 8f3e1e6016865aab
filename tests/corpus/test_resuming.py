"""Stage 0 cut off and started again: what was made of the corpus as it still is stays, what was made of another is dropped."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spin import artifacts
from spin.corpus import prepare, records
from spin.corpus.alignment import write_tsv
from spin.corpus.listing import listing, what_changed
from spin.corpus.prepare import prepare_data
from spin.errors import DataError
from spin.runtime.files import read_json, read_jsonl, write_json
from spin.runtime.stages import Context
from tests.corpus.layout import write_chapter, write_flac
from tests.corpus.test_prepare import products

pytestmark = pytest.mark.usefixtures("no_pictures")
DROPPED = "part train: what a cut-off run made of it cannot be used"


def interrupt(*_, **__):
    raise KeyboardInterrupt


@pytest.fixture
def aligned(tmp_path: Path) -> dict:
    """Keys for a corpus with phones, so that every kind of unfinished work is there."""
    ids = [f"103-1240-000{number}" for number in range(3)]
    write_tsv(tmp_path / "all.tsv", [(identity, ["SIL"] * 50 + ["AH"] * 50) for identity in ids])
    return {"alignment": "tsv", "alignment_tsv": str(tmp_path / "all.tsv")}


@pytest.fixture
def cut_off(small_corpus: Path, make_context, aligned: dict, monkeypatch) -> Context:
    """Killed with every manifest written, before the words."""
    context = make_context(small_corpus, **aligned)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare, "check_part", interrupt)
        prepare_data(context)
    return context


def _speaker_more(train: Path) -> None:
    write_chapter(train, "2000", "1", ["A THIRD SPEAKER"])


def _speaker_less(train: Path) -> None:
    for path in sorted((train / "1034").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()


def _text_mended(train: Path) -> None:
    """With size and time kept, as an editor that restores them would."""
    path = train / "103/1240/103-1240.trans.txt"
    status = path.stat()
    path.write_text(path.read_text().replace("HELLO", "YELLO"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _audio_replaced(train: Path) -> None:
    write_flac(train / "103/1240/103-1240-0001.flac", seconds=1.5)


def _renamed(train: Path) -> None:
    (train / "103/1240/103-1240-0002.flac").rename(train / "103/1240/103-1240-0003.flac")


CHANGES = [_speaker_more, _speaker_less, _text_mended, _audio_replaced, _renamed]


@pytest.mark.parametrize("change", CHANGES)
def test_a_corpus_changed_since_the_kill_is_read_anew(
    small_corpus: Path, make_context, aligned: dict, cut_off: Context, caplog, change: Callable[[Path], None]
):
    change(small_corpus / "train")
    before = artifacts.cuts(cut_off.corpus, "dev").stat().st_mtime_ns
    roomy = {"max_bad_share": 0.9, **aligned}
    again = make_context(small_corpus, **roomy)
    with caplog.at_level(logging.WARNING):
        prepare_data(again)
    whole = make_context(small_corpus, "whole", **roomy)
    prepare_data(whole)
    assert products(again) == products(whole)
    assert DROPPED in caplog.text and "part dev: what a cut-off" not in caplog.text
    assert artifacts.cuts(again.corpus, "dev").stat().st_mtime_ns == before  # the other parts' work stays


def test_an_unchanged_corpus_keeps_the_work(
    small_corpus: Path, make_context, aligned: dict, cut_off: Context, caplog, monkeypatch
):
    monkeypatch.setattr(records, "_read_chapter", interrupt)
    monkeypatch.setattr(records, "align_part", interrupt)
    with caplog.at_level(logging.WARNING):
        prepare_data(cut_off)
    assert "cut-off" not in caplog.text
    monkeypatch.undo()
    monkeypatch.setattr(prepare, "show_corpus", lambda *_: None)
    whole = make_context(small_corpus, "whole", **aligned)
    prepare_data(whole)
    assert products(cut_off) == products(whole)


def test_half_an_alignment_is_not_joined_to_a_changed_corpus(small_corpus: Path, make_context, monkeypatch):
    """Killed between two utterances: the finished ones are counted off by their number, which a new first speaker shifts."""
    asked: list[str] = []

    def align(chunk):
        asked.extend(identity for identity, _, _ in chunk)
        return [{"id": identity, "reason": "of this test"} for identity, _, _ in chunk]

    monkeypatch.setattr(records, "_align", align)
    monkeypatch.setattr(records, "_ALIGNED_TOGETHER", 1)
    context = make_context(small_corpus, alignment="pocketsphinx")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare, "aligned_cuts", interrupt)
        prepare_data(context)
    aligned = artifacts.alignment_folder(context.corpus) / "aligned_train.jsonl"
    aligned.write_text("".join(aligned.read_text().splitlines(keepends=True)[:2]))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(prepare, "aligned_cuts", interrupt)
        asked.clear()
        prepare_data(context)
    assert asked == ["103-1240-0002", "1034-7-0000", "1034-7-0001"]  # unchanged: the first two stay
    write_chapter(small_corpus / "train", "100", "1", ["NEW AND FIRST"])
    asked.clear()
    prepare_data(context)
    assert asked[:6] == ["100-1-0000", *(f"103-1240-000{number}" for number in range(3)), "1034-7-0000", "1034-7-0001"]
    assert len(list(read_jsonl(artifacts.cuts(context.corpus, "train")))) == 6


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_text("{"), lambda path: write_json(path, [1])])
def test_work_of_a_version_that_left_no_listing_is_not_believed(cut_off: Context, caplog, spoil):
    spoil(artifacts.alignment_folder(cut_off.corpus) / "listing_train.json")
    with caplog.at_level(logging.WARNING):
        prepare_data(cut_off)
    assert f"{DROPPED} (there is no word of what was read)" in caplog.text


def test_a_kill_while_the_old_is_dropped_loses_nothing(
    small_corpus: Path, make_context, aligned: dict, cut_off: Context, monkeypatch
):
    _speaker_more(small_corpus / "train")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(records, "write_json", interrupt)
        prepare_data(cut_off)
    (small_corpus / "dev/5/1/5-1.trans.txt").write_text("5-1-0000 ONE LINE\n5-1-0001 MENDED\n")
    prepare_data(cut_off)
    whole = make_context(small_corpus, "whole", **aligned)
    prepare_data(whole)
    assert products(cut_off) == products(whole)


def test_a_first_start_says_nothing(small_corpus: Path, make_context, caplog):
    with caplog.at_level(logging.WARNING):
        prepare_data(make_context(small_corpus))
    assert "cut-off" not in caplog.text


def test_what_a_listing_holds(small_corpus: Path, tmp_path: Path):
    train = small_corpus / "train"
    (train / "103/1240/notes.md").write_text("not of the corpus")
    before = listing(train)
    assert before["folder"] == str(train) and before["files"] == 7
    (train / "103/1240/notes.md").write_text("still not")
    assert listing(train) == before and what_changed(before, listing(train)) is None
    write_json(tmp_path / "listing.json", before)
    assert read_json(tmp_path / "listing.json") == before
    assert json.loads(json.dumps(before)) == before
    assert what_changed(None, before) == "there is no word of what was read"
    small_corpus.rename(tmp_path / "moved")
    assert what_changed(before, listing(tmp_path / "moved/train")) == f"it was read from {train}"
    (tmp_path / "moved").rename(small_corpus)
    _audio_replaced(train)
    assert what_changed(before, listing(train)) == "other content in its 7 files than when it was read"
    _speaker_more(train)
    assert what_changed(before, listing(train)) == "7 files when it was read, 9 now"


def test_odd_files_are_listed_and_not_waited_for(small_corpus: Path):
    chapter = small_corpus / "train/103/1240"
    before = listing(small_corpus / "train")
    os.mkfifo(chapter / "pipe.flac")
    os.mkfifo(chapter / "pipe.trans.txt")
    (chapter / "loop.flac").symlink_to("loop.flac")
    (chapter / "loop.trans.txt").symlink_to("loop.trans.txt")
    (chapter / "not\udcffutf.flac").write_bytes(b"")
    assert listing(small_corpus / "train")["files"] == before["files"] + 5
    with pytest.raises(DataError, match="absent"):
        listing(small_corpus / "absent")


@given(texts=st.lists(st.text("ABC \n-", max_size=6), min_size=2, max_size=2, unique=True))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_other_text_is_another_listing(tmp_path: Path, texts: list[str]):
    chapter = tmp_path / "part/1/2"
    chapter.mkdir(parents=True, exist_ok=True)
    digests = set()
    for text in texts:
        (chapter / "1-2.trans.txt").write_text(text, encoding="utf-8", newline="")
        digests.add(listing(tmp_path / "part")["digest"])
    assert len(digests) == 2
