"""Counts of labels and units, NMI, purities, PNMI, the speaker probe: golden figures, by hand, oracles, properties."""

import json
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem
from sklearn.metrics import normalized_mutual_info_score

from spin.errors import DataError
from spin.units.counts import (
    CharacterNmi,
    JointCounts,
    LabelCounts,
    Purity,
    SpeakerNmi,
    character_labels,
    cluster_purity,
    phone_purity,
    pnmi,
)
from spin.units.counts import normalized_mutual_information as nmi
from spin.units.measure import EvaluationSet, Utterance
from spin.units.speaker_probe import histogram, probe_speakers, split

MATRICES = st.integers(1, 6).flatmap(
    lambda k: st.lists(st.lists(st.integers(0, 20), min_size=k, max_size=k), min_size=1, max_size=6).map(np.array)
)


def test_golden(golden_dir):
    golden = json.loads((golden_dir / "pnmi.json").read_text())
    counts = JointCounts(1 + max(max(codes) for codes in golden["codes_20ms"].values()))
    for name, phones in golden["phones_10ms"].items():
        counts.add(phones, np.array(golden["codes_20ms"][name]))
    matrix = counts.matrix()
    assert cluster_purity(matrix) == golden["cls_pur"]
    assert phone_purity(matrix) == golden["phn_pur"]
    assert pnmi(matrix) == pytest.approx(golden["pnmi"], rel=0, abs=1e-15)


def test_purities_by_hand():
    """Two phones: A is unit 0 in 3 of 4 frames, B always unit 1."""
    counts = np.array([[3, 1], [0, 4]])
    assert phone_purity(counts) == 7 / 8 and cluster_purity(counts) == 7 / 8
    information = 3 / 8 * math.log2(2) + 1 / 8 * math.log2(1 / 8 / (1 / 2 * 5 / 8)) + 1 / 2 * math.log2(1 / 2 / (1 / 2 * 5 / 8))
    information += 3 / 8 * math.log2((3 / 8) / (1 / 2 * 3 / 8)) - 3 / 8
    assert pnmi(counts) == pytest.approx(information, abs=1e-7)  # H(phone) is 1 bit


def slow_pnmi(pairs: list[tuple[str, int]]) -> float:
    """H(phone) - H(phone | unit) over H(phone), with counters only."""

    def nats(counter: Counter) -> float:
        total = sum(counter.values())
        return -sum(n / total * math.log(n / total) for n in counter.values())

    whole = nats(Counter(phone for phone, _ in pairs))
    rest = 0.0
    for unit in {unit for _, unit in pairs}:
        own = Counter(phone for phone, other in pairs if other == unit)
        rest += sum(own.values()) / len(pairs) * nats(own)
    return (whole - rest) / whole if whole else 0.0


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 4)), min_size=1, max_size=60))
def test_pnmi_equals_slow_oracle(pairs):
    counts = JointCounts(5)
    for phone, unit in pairs:
        counts.add([phone, phone], np.array([unit]))
    assert pnmi(counts.matrix()) == pytest.approx(slow_pnmi(pairs), abs=1e-6)


@settings(max_examples=50)
@given(MATRICES)
def test_ranges_and_invariances(counts):
    if not counts.sum():
        assert all(math.isnan(metric(counts)) for metric in (pnmi, cluster_purity, phone_purity))
        return
    assert -1e-6 <= pnmi(counts) <= 1 + 1e-6
    assert 0 < cluster_purity(counts) <= 1 and 0 < phone_purity(counts) <= 1
    shuffled = counts[::-1][:, np.random.default_rng(0).permutation(counts.shape[1])]
    assert pnmi(shuffled) == pytest.approx(pnmi(counts), abs=1e-9)
    assert pnmi(counts * 7) == pytest.approx(pnmi(counts), abs=1e-9)
    assert phone_purity(shuffled) == phone_purity(counts) == cluster_purity(counts.T)
    # Splitting units cannot lower phone purity or PNMI.
    halves = np.concatenate([counts // 2, counts - counts // 2], axis=1)
    assert phone_purity(halves) >= phone_purity(counts) - 1e-12 and pnmi(halves) >= pnmi(counts) - 1e-6


def test_degenerate():
    assert pnmi(np.array([[5, 0], [7, 0]])) == pytest.approx(0, abs=1e-7)  # one unit
    assert pnmi(np.array([[5, 3]])) == 0.0  # one phone
    assert pnmi(np.diag([5, 5, 5])) == pytest.approx(1, abs=1e-6)
    nothing = LabelCounts(4).matrix()
    assert nothing.shape == (0, 4) and math.isnan(pnmi(nothing)) and math.isnan(nmi(nothing))
    assert nmi(np.array([[3, 2, 1]])) == 0 and nmi(np.array([[3, 0], [5, 0]])) == 0


def test_nmi_by_hand():
    assert nmi(np.array([[5, 0], [0, 5]])) == pytest.approx(1)
    assert nmi(np.array([[4, 4], [4, 4]])) == pytest.approx(0, abs=1e-12)
    information = 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0.25 * math.log(2)  # of [[2, 0], [1, 1]] / 4, rows 1/2
    entropies = math.log(2) - (0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert nmi(np.array([[2, 0], [1, 1]])) == pytest.approx(2 * information / entropies)


@given(MATRICES)
def test_nmi_agrees_with_scikit_learn(table):
    rows, columns = np.indices(table.shape).reshape(2, -1).repeat(table.ravel(), axis=1)
    if len(rows) and len(set(rows)) > 1 and len(set(columns)) > 1:
        assert nmi(table) == pytest.approx(normalized_mutual_info_score(rows, columns), abs=1e-9)
        assert nmi(table.T) == pytest.approx(nmi(table))


@given(st.lists(st.tuples(st.sampled_from(["x", "yy", "é"]), st.integers(0, 3)), max_size=40))
def test_counts_equal_a_counter(pairs):
    counts = LabelCounts(4)
    counts.add([label for label, _ in pairs], np.array([unit for _, unit in pairs], dtype=int))
    expected = Counter(pairs)
    assert counts.labels == sorted({label for label, _ in pairs})
    assert counts.matrix().tolist() == [[expected[label, unit] for unit in range(4)] for label in counts.labels]


def test_the_longer_sequence_is_truncated_and_unknown_units_are_an_error():
    counts = JointCounts(3)
    counts.add(["A"] * 5, np.array([0, 1, 2, 2]))
    assert counts.matrix().tolist() == [[2, 2, 1]]
    counts.add(["B"] * 100, np.array([1]))
    assert counts.labels == ["B", "A"] and counts.matrix().tolist() == [[0, 2, 0], [2, 2, 1]]
    counts.add([], np.zeros(0, int))
    assert counts.matrix().sum() == 7
    for unknown in (3, -1):
        with pytest.raises(DataError, match="integers from 0 to 2"):
            counts.add(["A", "A"], np.array([unknown]))


def test_only_aligned_utterances_count():
    """AH for the first of two units, silence after it."""
    purity = Purity(EvaluationSet(3))
    purity.add(Utterance("a", "s", np.array([2, 1]), 0.04, [AlignmentItem("AH", 0.0, 0.02)]))
    purity.add(Utterance("b", "s", np.array([0, 0]), 0.04))
    assert purity.counts.labels == ["SIL", "AH"] and purity.counts.matrix().tolist() == [[0, 2, 0], [0, 0, 2]]
    assert purity.compute()["phone_purity"] == 1.0


def test_speakers():
    family = SpeakerNmi(EvaluationSet(2))
    assert math.isnan(family.compute()["speaker_nmi"])
    for speaker, unit in (("a", 0), ("b", 1), (None, 0)):
        family.add(Utterance(f"{speaker}", speaker, np.full(5, unit), 0.1))
    assert family.compute()["speaker_nmi"] == pytest.approx(1)


def test_characters_share_the_time_of_their_word():
    """AB from 0.02 to 0.10 s, with frames at 30, 50, 70 and 90 ms, and C from 0.12 to 0.14 s, with one at 130 ms."""
    words = [AlignmentItem("AB", 0.02, 0.08), AlignmentItem("C", 0.12, 0.02), AlignmentItem("", 0.14, 0.02)]
    assert character_labels(words, 8) == ["", "A", "A", "B", "B", "", "C", ""]
    assert character_labels(words, 2) == ["", "A"] and character_labels([], 3) == [""] * 3
    family = CharacterNmi(EvaluationSet(4))
    family.add(Utterance("none", "s", np.array([1, 2]), 0.04))
    assert math.isnan(family.compute()["character_nmi"])
    family.add(Utterance("u", "s", np.array([3, 0, 0, 1, 1, 3, 2, 3]), 0.16, words=words))
    assert family.compute()["character_nmi"] == pytest.approx(1)  # 3 lies outside all words


def make(speakers: int, utterances: int, strength: float, seed: int = 0, dim: int = 12):
    random = np.random.default_rng(seed)
    voices = random.normal(size=(speakers, dim)) * strength
    names = [f"{s:02d}-{u:03d}" for s in range(speakers) for u in range(utterances)]
    labels = [name.split("-")[0] for name in names]
    return voices[[int(label) for label in labels]] + random.normal(size=(len(names), dim)), names, labels


def test_finds_speakers_that_are_there_and_no_others():
    accuracy, chance = probe_speakers(*make(6, 20, 5.0))
    assert accuracy > 0.99 and chance == pytest.approx(1 / 6)
    assert abs(probe_speakers(*make(4, 200, 0.0))[0] - 0.25) < 0.08
    features, names, labels = make(5, 12, 0.5)
    one, scaled = probe_speakers(features, names, labels), probe_speakers(features * 1000 + 5, names, labels)
    assert scaled[0] == pytest.approx(one[0], abs=0.1)


def test_split_is_fixed_disjoint_and_does_not_depend_on_order():
    names = [f"{s}-{u}" for s in "abc" for u in range(10)] + ["lonely-1"]
    speakers = [name.split("-")[0] for name in names]
    train, test = split(names, speakers)
    assert not set(train) & set(test) and len(train) == 24 and len(test) == 6
    assert {speakers[i] for i in train} == {speakers[i] for i in test} == set("abc")
    order = np.random.default_rng(0).permutation(len(names))
    again, _ = split([names[i] for i in order], [speakers[i] for i in order])
    assert [names[order[i]] for i in again] == [names[i] for i in train]
    assert split(names, speakers, seed=1)[0] != train


@pytest.mark.parametrize(("speakers", "utterances"), [(1, 10), (5, 1), (0, 0)])
def test_nothing_to_tell_apart(speakers, utterances):
    assert all(math.isnan(value) for value in probe_speakers(*make(speakers, utterances, 1.0)))


def test_histogram_by_hand():
    shares = histogram(np.array([2, 0, 2, 2]), 4)
    assert shares.dtype == np.float32 and shares.tolist() == [0.25, 0, 0.75, 0]
    assert histogram(np.zeros(0, int), 3).tolist() == [0, 0, 0]
