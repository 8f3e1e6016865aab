"""Reading LibriSpeech's layout: every kind of bad utterance is named with its reason, and nothing else is lost."""

from pathlib import Path

import pytest

from spin.config import CorpusConfig
from spin.corpus.librispeech import chapters, parts_in, read_chapter, require_folder, root_in
from spin.errors import ConfigError
from tests.corpus.layout import write_chapter


def reasons(chapter: Path) -> dict[str, str]:
    return {record["id"]: record["reason"] for record in read_chapter(chapter, CorpusConfig()) if "reason" in record}


@pytest.mark.parametrize("identity", ["103-1240-", "103-12400-0001"])
def test_id_of_another_folder(tmp_path: Path, identity: str):
    write_chapter(tmp_path, "103", "1240", ["HELLO WORLD", "GOOD MORNING"])
    chapter = tmp_path / "103" / "1240"
    with open(chapter / "103-1240.trans.txt", "a") as stream:
        stream.write(f"{identity} WORDS\n")
    assert list(reasons(chapter).values()) == [f"transcript: the id '{identity}' does not belong to the folder"]


def test_a_dash_in_a_chapter_rejects_what_is_in_it(tmp_path: Path):
    """Dashes in a speaker: tests/faults/test_bad_corpora.py."""
    ids = write_chapter(tmp_path / "part", "7", "a-1", ["A", "B"])
    found = reasons(tmp_path / "part" / "7" / "a-1")
    assert list(found) == ids
    assert all(reason.startswith("a dash in the name of the chapter folder: ") for reason in found.values())


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
    assert root_in(str(small_corpus.parent / "x")) == small_corpus.parent / "x" / "LibriSpeech"  # where downloads go
    with pytest.raises(ConfigError, match="--corpus-dir"):
        require_folder(None)  # missing folders and parts: tests/faults/test_bad_corpora.py
