"""Models of units: n-grams by hand and against kaldingram's own evaluation; acoustic pieces, lossless for every sequence."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kaldingram.ppl import compute_ppl

from spin import artifacts
from spin.__main__ import main
from spin.errors import ConfigError, DataError
from spin.runtime.files import read_json, read_jsonl, write_jsonl, write_text
from spin.units.acoustic_pieces import LONGEST_SENTENCE, Pieces, train_pieces, write_labels
from spin.units.measure import EvaluationSet, Utterance
from spin.units.unit_lm import Predictability, load_unit_lm, score, train_unit_lm
from spin.units.units import find_runs, read_units

K = 6
BY_HAND = """\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-99.0\t<s>\t-0.5
-0.3\t0\t-0.2
-0.6\t1
-0.7\t</s>

\\2-grams:
-0.1\t<s> 0
-0.4\t0 1

\\end\\
"""


def markov(seed: int, utterances: int) -> list[list[int]]:
    """Units that mostly go up by one: something that an n-gram can learn."""
    random = np.random.default_rng(seed)
    steps = [random.choice([1, 1, 1, 2, 3], size=int(random.integers(1, 40))) for _ in range(utterances)]
    return [(np.cumsum(one) % (K - 1)).tolist() for one in steps]


def test_by_hand(tmp_path):
    """1 </s> backs off, and 1 has no weight of its own; <s> 1 and 0 </s> back off with the weights of <s> and 0."""
    write_text(tmp_path / "x.arpa", BY_HAND)
    model, unit = load_unit_lm(tmp_path / "x.arpa"), math.log2(10)
    assert score(model, [[0, 1]]) == (pytest.approx((0.1 + 0.4 + 0.7) * unit), 3)
    assert score(model, [[1]]) == (pytest.approx((0.5 + 0.6 + 0.7) * unit), 2)
    assert score(model, [[0, 1], [0]]) == (pytest.approx((1.2 + 0.1 + 0.2 + 0.7) * unit), 5)


@pytest.mark.parametrize("order", [2, 3, 4])
def test_perplexity_is_that_of_kaldingram_and_long_utterances_are_scored(tmp_path, order):
    train_unit_lm([*markov(0, 60), []], K, order, tmp_path / "units.arpa")
    model = load_unit_lm(tmp_path / "units.arpa")
    held_out = markov(1, 30)
    theirs = compute_ppl(model, [" ".join(map(str, units)) for units in held_out])
    bits, events = score(model, held_out)
    assert 2 ** (bits / events) == pytest.approx(theirs["ppl"], rel=1e-6)
    assert 1 < theirs["ppl"] < K  # it learnt something, and unseen units did not cost everything
    assert score(model, [[0, 1] * 3000])[0] > 0  # kaldingram's own scorer recurses over the whole history


def test_random_units_are_as_hard_as_their_number_and_regular_ones_are_easy():
    random = np.random.default_rng(0)
    noise, cycle = Predictability(EvaluationSet(K)), Predictability(EvaluationSet(K))
    for number in range(100):
        steps = random.integers(1, K, 200)  # never 0: deduplication leaves every unit
        noise.add(Utterance(str(number), "s", np.cumsum(steps) % K, 4.0))
        cycle.add(Utterance(str(number), "s", np.arange(200) % K, 4.0))
    figures = noise.compute()
    assert figures["ngram_perplexity"] == pytest.approx(K - 1, rel=0.05)
    assert figures["ngram_bitrate"] == pytest.approx(math.log2(K - 1) * 50, rel=0.05)
    assert cycle.compute()["ngram_perplexity"] < 1.5


def test_bad_units(tmp_path):
    for bad in ([[0, K]], [[-1]]):
        with pytest.raises(DataError, match="another codebook"):
            train_unit_lm(bad, K, 2, tmp_path / "x.arpa")
    with pytest.raises(DataError, match="none"):
        train_unit_lm([[]], K, 2, tmp_path / "x.arpa")
    assert not list(tmp_path.iterdir())
    nothing = Predictability(EvaluationSet(3))
    nothing.add(Utterance("one", "s", np.array([1, 2]), 0.04))
    assert all(math.isnan(value) for value in nothing.compute().values())


def test_the_command(tmp_path, finished, capsys):
    words = ["unit-lm", "--exp", str(finished.exp), "--output", str(tmp_path / "units.arpa")]
    lines = artifacts.units_lines(artifacts.units_folder(finished.exp, "spin", "test"))
    test = [units for _, units in read_units(lines)]
    assert main([*words, "--order", "2"]) == 0
    model = load_unit_lm(tmp_path / "units.arpa")
    bits, events = score(model, [find_runs(units)[0] for units in test])
    expected = f"perplexity {2 ** (bits / events):.2f}, {bits / (0.02 * sum(map(len, test))):.1f} bits per second on test"
    assert expected in capsys.readouterr().out and model.order() == 2
    assert main([*words, "--train-part", "absent"]) == 1 and "--stage 3" in capsys.readouterr().err


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


def test_the_command_of_pieces(tmp_path, finished, capsys):
    words = ["acoustic-pieces", "--exp", str(finished.exp), "--output", str(tmp_path / "labels"), "--vocabulary"]
    assert main([*words, "30"]) == 0
    used = set(sum((record["units"] for record in read_jsonl(tmp_path / "labels" / "spin_train.jsonl")), []))
    assert len(used) > 4 and f"{len(used)} classes" in capsys.readouterr().out
    assert main([*words, "5"]) == 1 and "more than" in capsys.readouterr().err
    artifacts.units_folder(finished.exp, artifacts.SPIN, "empty").mkdir()
    for part in ("absent", "empty"):
        assert main([*words, "30", "--part", part]) == 1 and "--stage 3" in capsys.readouterr().err


def test_units_that_training_never_saw_and_long_utterances():
    units = list(range(16)) * (2 * LONGEST_SENTENCE // 16)
    assert decode(PIECES, PIECES.encode(units)) == units
    taught = train_pieces([units], 16, 40)
    assert decode(taught, taught.encode(units)) == units and len(taught.encode(units)) < len(units) / 4


def test_the_same_text_gives_the_same_model_and_its_bytes_give_it_back():
    assert train_pieces(SEQUENCES, 16, 60).content == PIECES.content
    assert Pieces(PIECES.content).units == PIECES.units and PIECES.codebook_size == 16


def test_the_largest_codebook_and_a_vocabulary_that_the_text_cannot_fill():
    pieces = train_pieces([[0, 65_535]] * 3, 65_536, 10**6)
    assert decode(pieces, pieces.encode([0, 65_535, 65_534])) == [0, 65_535, 65_534]
    assert pieces.size == 65_536 + 1 + 1  # the one pair that occurs, and <unk>


def test_bad_vocabularies_and_units():
    with pytest.raises(ConfigError, match="more than 16"):
        train_pieces(SEQUENCES, 16, 16)
    assert train_pieces([[], []], 16, 20).size == 16 + 1  # no pair
    with pytest.raises(DataError, match="0 to 15"):
        PIECES.encode([3, 16])
