"""Manifest checks: each broken contract is found and named; speakers are kept apart."""

from pathlib import Path

import pytest
from lhotse import MonoCut
from lhotse.supervision import AlignmentItem

from spin.config import CorpusConfig
from spin.corpus.parts import check_cut, check_speakers, read_speakers
from spin.errors import DataError
from tests.corpus.layout import chapter_cuts, write_chapter


@pytest.fixture
def cuts(tmp_path: Path) -> list[MonoCut]:
    write_chapter(tmp_path / "part", "103", "1240", ["HELLO WORLD", "GOOD MORNING"])
    return chapter_cuts(tmp_path / "part" / "103" / "1240")


def test_speakers_of_a_part_by_hand(cuts: list[MonoCut]):
    part_of: dict[str, str] = {}
    assert read_speakers("a", [cut.to_dict() for cut in cuts], part_of) == {"103": [1.0, 1.0]}
    assert part_of == {"103-1240-0000": "a", "103-1240-0001": "a"}
    for part in ("a", "b"):
        with pytest.raises(DataError, match="the same id in part a"):
            read_speakers(part, [cuts[0].to_dict()], part_of)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("text", "hello", "not normalised"),
        ("text", None, "not normalised"),
        ("speaker", "", "speaker ''"),
        ("id", "other", "supervision 'other'"),
        ("alignment", {"phone": [AlignmentItem("A", 0.0, 0.5), AlignmentItem("B", 0.4, 0.1)]}, "phone 'B' at 0.4"),
        ("alignment", {"phone": [AlignmentItem("A", 0.0, 0.0)]}, "phone 'A'"),
        ("alignment", {"phone": [AlignmentItem("A", 0.0, 1.2)]}, "phones end at 1.2"),
        ("duration", -1.0, "lhotse"),
    ],
)
def test_broken_supervision(cuts: list[MonoCut], key: str, value, problem: str):
    assert check_cut(cuts[0]) is None
    setattr(cuts[0].supervisions[0], key, value)
    assert problem in check_cut(cuts[0])


def test_cut_without_text_of_another_rate_and_without_supervision(cuts: list[MonoCut]):
    cuts[0].supervisions[0].text = ""  # a part that is not transcribed
    assert check_cut(cuts[0]) is None
    assert "8000 Hz" in check_cut(cuts[1].resample(8000))
    cuts[0].supervisions.clear()
    assert "0 supervisions" in check_cut(cuts[0])


def test_speakers_of_roles():
    config = CorpusConfig(spin_train=("s",), asr_train=("a",), valid=("v",), test=("t1", "t2"))
    apart = {"s": {"1", "2"}, "a": {"2", "3"}, "v": {"4"}, "t1": {"5"}, "t2": {"5", "6"}}
    check_speakers(apart, config)  # the two training roles may share, and so may two test parts
    for part, speaker, named in (("v", "3", "speaker 3 in a and v"), ("t2", "1", "1 in s and t2"), ("t1", "4", "in v and t1")):
        shared = {**apart, part: apart[part] | {speaker}}
        with pytest.raises(DataError, match=named):
            check_speakers(shared, config)
        check_speakers(shared, CorpusConfig(**{**vars(config), "allow_shared_speakers": True}))
