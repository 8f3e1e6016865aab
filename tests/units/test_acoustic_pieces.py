"""Acoustic pieces: lossless for every sequence of units, the merges that byte-pair encoding must make."""

from __future__ import annotations

import io

import numpy as np
import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from spin.__main__ import main
from spin.errors import ConfigError, DataError
from spin.runtime.files import read_json, read_jsonl, write_jsonl
from spin.units.acoustic_pieces import LONGEST_SENTENCE, MOST_UNITS, Pieces, train_pieces, write_labels
from spin.units.units import find_runs

RANDOM = np.random.default_rng(0)
SEQUENCES = [RANDOM.integers(0, 6, 50).tolist() for _ in range(40)] + [[], [7]]
PIECES = train_pieces(SEQUENCES, 16, 60)


def decode(pieces: Pieces, ids: list[int]) -> list[int]:
    return [unit for piece in ids for unit in pieces.units[piece]]


def test_merges_by_hand():
    """The commonest neighbours are 0 1 (17 times), then 01 2 (14 times), then 012 3 (9 times)."""
    sequences = [[0, 1, 2, 3]] * 9 + [[0, 1, 2, 4]] * 5 + [[5, 4, 3]] * 2 + [[0, 1, 5]] * 3
    pieces = train_pieces(sequences, 6, 6 + 3)
    assert [units for units in pieces.units if len(units) > 1] == [[0, 1], [0, 1, 2], [0, 1, 2, 3]]
    assert [pieces.units[piece] for piece in pieces.encode([2, 0, 1, 2, 4, 1, 0])] == [[2], [0, 1, 2], [4], [1], [0]]


@given(st.lists(st.integers(0, 15), max_size=60))
def test_pieces_restore_any_sequence(units):
    pieces = PIECES.encode(units)
    assert decode(PIECES, pieces) == units
    assert len(pieces) <= len(units) and all(0 < piece < PIECES.size for piece in pieces)


@given(st.lists(st.integers(0, 15), max_size=60))
def test_spread_equals_a_walk_over_frames(units):
    """Frame by frame: a piece lasts until as many runs have ended as it has units."""
    runs, durations = find_runs(units)
    expected, at = [], 0
    for piece in PIECES.encode(runs):
        size = len(PIECES.units[piece])
        expected += [piece] * durations[at : at + size].sum()
        at += size
    assert PIECES.spread(units).tolist() == expected and len(expected) == len(units)


def test_labels_by_hand(tmp_path):
    """0 1 always come together, 2 alone, 3 never: of six pieces only two occur."""
    write_jsonl(tmp_path / "units.jsonl", [{"id": "a", "units": [0, 0, 1, 2, 2]}, {"id": "b", "units": [2, 0, 1, 1]}])
    assert write_labels(tmp_path / "labels", {"train": tmp_path / "units.jsonl"}, 4, 5) == 2
    note = read_json(tmp_path / "labels" / "labels.json")
    assert (note["classes"], note["vocabulary"], note["parts"], len(note["pieces"])) == (2, 5, ["train"], 2)
    labels = {record["id"]: record["units"] for record in read_jsonl(tmp_path / "labels" / "train.jsonl")}
    two, pair = labels["b"][:2]
    assert labels == {"a": [pair] * 3 + [two] * 2, "b": [two] + [pair] * 3} and {two, pair} == {0, 1}
    assert Pieces((tmp_path / "labels" / "pieces.model").read_bytes()).size == 6


def test_the_command(tmp_path, unit_experiment, capsys):
    words = ["acoustic-pieces", "--exp", str(unit_experiment), "--output", str(tmp_path / "labels"), "--vocabulary"]
    assert main([*words, "30"]) == 0
    classes = read_json(tmp_path / "labels" / "labels.json")["classes"]
    sources = read_jsonl(unit_experiment / "units" / "spin" / "train" / "units.jsonl")
    used = set()
    for source, record in zip(sources, read_jsonl(tmp_path / "labels" / "train.jsonl"), strict=True):
        assert record["id"] == source["id"] and len(record["units"]) == len(source["units"])
        used |= set(record["units"])
    assert used == set(range(classes)) and f"{classes} classes" in capsys.readouterr().out
    assert main([*words, "5"]) == 1 and "more than" in capsys.readouterr().err
    assert main([*words, "30", "--part", "absent"]) == 1 and "--stage 3" in capsys.readouterr().err


def test_units_that_training_never_saw_and_long_utterances():
    units = list(range(16)) * (2 * LONGEST_SENTENCE // 16)
    assert decode(PIECES, PIECES.encode(units)) == units
    taught = train_pieces([units], 16, 40)
    assert decode(taught, taught.encode(units)) == units and len(taught.encode(units)) < len(units) / 4


def test_the_same_text_gives_the_same_model_and_its_bytes_give_it_back():
    assert train_pieces(SEQUENCES, 16, 60).content == PIECES.content
    assert Pieces(PIECES.content).units == PIECES.units and PIECES.codebook_size == 16


def test_a_large_codebook_and_a_vocabulary_that_the_text_cannot_fill():
    pieces = train_pieces([[0, 60_000]] * 3, 60_001, 10**6)
    assert decode(pieces, pieces.encode([0, 60_000, 59_999])) == [0, 60_000, 59_999]
    assert pieces.size == 60_001 + 1 + 1  # the one pair that occurs, and <unk>


def test_bad_vocabularies_texts_and_units():
    with pytest.raises(ConfigError, match="more than 16"):
        train_pieces(SEQUENCES, 16, 16)
    with pytest.raises(ConfigError, match=str(MOST_UNITS)):
        train_pieces(SEQUENCES, MOST_UNITS + 1, 10**6)
    for empty in ([], [[]], [[], []]):
        with pytest.raises(DataError, match="none"):
            train_pieces(empty, 16, 20)
    with pytest.raises(DataError, match="0 to 15"):
        PIECES.encode([3, 16])


def test_other_models_are_an_error():
    words, sentences = io.BytesIO(), iter(["hello there"] * 9)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sentences, model_writer=words, vocab_size=12, model_type="bpe", minloglevel=2
    )
    for content in (words.getvalue(), b"no model\n" * 20, b""):
        with pytest.raises(DataError, match="acoustic-pieces"):
            Pieces(content)
