"""The table of metrics; usage of units, runs, edit distance and boundaries: by hand, oracles, properties, degenerate input."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem

from spin.units.boundaries import Boundaries, count_hits, phone_boundaries, scores, unit_boundaries
from spin.units.counts import entropy
from spin.units.measure import EvaluationSet, Utterance, measure
from spin.units.metrics import NEITHER, Metric, find_metric
from spin.units.units import find_runs
from spin.units.usage import EditDistance, UnitUse

UNITS = st.lists(st.integers(0, 5), max_size=50)


def use_of(codebook_size: int, *utterances: tuple[list[int], float]) -> UnitUse:
    use = UnitUse(EvaluationSet(codebook_size))
    for number, (units, seconds) in enumerate(utterances):
        use.add(Utterance(str(number), "s", np.array(units, dtype=int), seconds))
    return use


def test_by_hand_and_with_equal_use():
    """aabbbbab in 2 s: segments a b a b, entropy 1 bit, 4 segments in 2 s: 2 bits per second; frames 3 a, 5 b."""
    figures = use_of(4, ([0, 0, 1, 1, 1, 1, 0, 1], 2.0)).compute()
    expected = -(3 / 8 * math.log2(3 / 8) + 5 / 8 * math.log2(5 / 8))
    assert figures["K"] == 4 and figures["bitrate"] == 2.0
    assert figures["unit_entropy"] == pytest.approx(expected) and figures["perplexity"] == pytest.approx(2**expected)
    assert (figures["used_codes"], figures["dead_codes"]) == (2, 2)
    assert figures["segments_per_second"] == 2.0 and figures["deduplicated_share"] == 0.5
    figures = use_of(8, (list(range(8)) * 10, 1.6)).compute()
    assert figures["perplexity"] == pytest.approx(8) and figures["unit_entropy"] == pytest.approx(3)
    assert figures["bitrate"] == pytest.approx(50 * 3)


def test_degenerate():
    nothing = use_of(3).compute()
    assert all(math.isnan(nothing[name]) for name in ("segments_per_second", "deduplicated_share", "bitrate"))
    assert (nothing["unit_entropy"], nothing["perplexity"], nothing["used_codes"]) == (0, 1, 0)
    use = use_of(3, ([0] * 50, 1.0), ([], 0.5))
    assert use.seconds == 1.5
    assert (use.compute()["bitrate"], use.compute()["perplexity"], use.compute()["used_codes"]) == (0, 1, 1)


@given(UNITS)
def test_runs_equal_groupby(units):
    runs, durations = find_runs(units)
    expected = [(unit, len(list(run))) for unit, run in itertools.groupby(units)]
    assert list(zip(runs.tolist(), durations.tolist(), strict=True)) == expected
    assert np.repeat(runs, durations).tolist() == units


@given(st.lists(st.integers(0, 100), min_size=1, max_size=20))
def test_entropy_bounds_and_units(counts):
    shares = np.array(counts) / max(1, sum(counts))
    value = entropy(shares)
    assert 0 <= value <= math.log2(len(counts)) + 1e-9
    assert entropy(shares, np.log) == pytest.approx(value * math.log(2), abs=1e-9)
    assert entropy(np.append(shares, 0)) == value


def test_edit_distance_by_hand():
    """0 1 2 against 0 2 2: after deduplication 0 1 2 against 0 2, one deletion; and 5 units without any edit."""
    clean = {"a": np.array([0, 0, 1, 2]), "b": np.array([0, 1, 0, 1, 0, 2, 2])}
    family = EditDistance(EvaluationSet(4, clean_units=lambda: clean))
    family.add(Utterance("a", "s", np.array([0, 0, 2, 2]), 0.08))
    family.add(Utterance("b", "s", np.array([0, 1, 0, 1, 0]), 0.1))
    family.add(Utterance("not in the clean part", "s", np.array([1]), 0.02))
    assert family.compute()["unit_edit_distance"] == pytest.approx(100 / 8)
    assert math.isnan(EditDistance(EvaluationSet(4)).compute()["unit_edit_distance"])


def items(*times: float) -> list[AlignmentItem]:
    return [AlignmentItem("AA", start, round(end - start, 6)) for start, end in itertools.pairwise(times)]


def count(*utterances: tuple[list[AlignmentItem], np.ndarray]) -> Boundaries:
    counts = Boundaries(EvaluationSet(50))
    for number, (alignment, units) in enumerate(utterances):
        counts.add(Utterance(str(number), "s", units, 0.02 * len(units), alignment))
    return counts


def test_boundaries_and_their_times_by_hand():
    """Phones change at 0.10, 0.20 and 0.30 s, units at 0.08 (a hit), 0.24 (too far), 0.32 (a hit) and 0.34 (used up)."""
    counts = count((items(0, 0.1, 0.2, 0.3, 0.4), np.repeat([0, 1, 2, 3, 4], [4, 8, 4, 1, 3])))
    assert (counts.phones, counts.units, counts.hits) == (3, 4, 2)
    first, second = math.sqrt((1 / 3) ** 2 + (1 / 3) ** 2), (-1 / 3 + 2 / 3 - 1) / math.sqrt(2)
    assert counts.compute() == {
        "boundary_precision": 0.5,
        "boundary_recall": pytest.approx(2 / 3),
        "boundary_f1": pytest.approx(2 * 0.5 * (2 / 3) / (0.5 + 2 / 3)),
        "boundary_over_segmentation": pytest.approx(1 / 3),
        "boundary_r_value": pytest.approx(1 - (abs(first) + abs(second)) / 2),
    }
    assert unit_boundaries(np.array([3, 3, 1, 1, 1, 2])).tolist() == pytest.approx([0.04, 0.1])
    gap = [AlignmentItem("AA", 0.1, 0.1), AlignmentItem("B", 0.25, 0.1), AlignmentItem("K", 0.35, 0.3)]
    assert phone_boundaries(reversed(gap), 0.5).tolist() == pytest.approx([0.1, 0.2, 0.25, 0.35])


def test_r_value_from_its_formula():
    """Hit rate 80 % without over-segmentation; and twice as many unit as phone boundaries, all found."""
    assert scores(100, 100, 80)["r_value"] == pytest.approx(1 - (0.2 + 0.2 / math.sqrt(2)) / 2)
    assert scores(100, 200, 100)["r_value"] == pytest.approx(1 - (1 + 1 / math.sqrt(2)) / 2)
    assert scores(100, 217, 100)["r_value"] > 0 > scores(100, 218, 100)["r_value"]  # the most that a positive one allows


def test_degenerate_boundaries():
    assert all(math.isnan(value) for value in count().compute().values())
    none = scores(5, 0, 0)
    assert math.isnan(none["precision"]) and none["recall"] == 0 and none["f1"] == 0 and none["over_segmentation"] == -1
    assert none["r_value"] == pytest.approx(1 - 1 / math.sqrt(2))
    # No alignment; then one phone and one unit, whose end is the utterance's.
    counts = count(([], np.arange(5)), (items(0, 1.0), np.zeros(50, int)))
    assert (counts.phones, counts.units, counts.hits) == (0, 0, 0)


def most_hits(phones: list[float], units: list[float], tolerance: float) -> int:
    """Tries every pairing."""
    if not phones:
        return 0
    best = most_hits(phones[1:], units, tolerance)
    for index, time in enumerate(units):
        if abs(phones[0] - time) <= tolerance + 1e-6:
            best = max(best, 1 + most_hits(phones[1:], units[:index] + units[index + 1 :], tolerance))
    return best


times = st.lists(st.integers(0, 30), max_size=6, unique=True).map(lambda values: [value / 100 for value in sorted(values)])


@given(times, times, st.sampled_from([0.0, 0.01, 0.02, 0.05, 1.0]))
def test_hits_are_the_most_possible(phones, units, tolerance):
    assert count_hits(np.array(phones), np.array(units), tolerance) == most_hits(phones, units, tolerance)
    assert count_hits(np.array(phones), np.array(phones), tolerance) == len(phones)


class ToyFamily:
    """Number of utterances, and nothing measured."""

    def __init__(self, sample: EvaluationSet):
        self.count = 0

    def add(self, utterance: Utterance) -> None:
        self.count += 1

    def compute(self) -> dict[str, float]:
        return {"toy_count": self.count, "toy_nothing": math.nan}


def test_a_new_metric_is_a_class_and_a_line():
    computer = f"{__name__}:ToyFamily"
    lines = [Metric(f"toy_{name}", name, 0, "", NEITHER, "A toy.", computer) for name in ("count", "nothing", "absent")]
    utterances = [Utterance(f"u{number}", "s", np.arange(4), 0.08) for number in range(6)]
    figures, computers = measure(EvaluationSet(4, read=lambda: iter(utterances)), [find_metric("used_codes"), *lines])
    assert figures == {"used_codes": 4, "toy_count": 6, "toy_nothing": None, "toy_absent": None}
    assert computers[computer].count == 6
