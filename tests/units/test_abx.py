"""The triphone ABX against a slow oracle, by hand, and at its limits."""

import itertools
import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lhotse.supervision import AlignmentItem

from spin.units.abx import abx, group_distances, unit_length
from spin.units.abx_design import Triphone, design, frames_inside, sample_utterances, triphones


def slow_dtw(x: np.ndarray, y: np.ndarray, distance) -> float:
    """Recursive best cost, then the path walked back: diagonal first, then the step in y."""
    best = {}
    for i, j in itertools.product(range(len(x)), range(len(y))):
        before = [best[p] for p in ((i - 1, j - 1), (i - 1, j), (i, j - 1)) if p in best]
        best[i, j] = distance(x[i], y[j]) + (min(before) if before else 0.0)
    i, j, points = len(x) - 1, len(y) - 1, 1
    while (i, j) != (0, 0):
        steps = [p for p in ((i - 1, j - 1), (i, j - 1), (i - 1, j)) if p in best]
        i, j = min(steps, key=lambda p: best[p])
        points += 1
    return best[len(x) - 1, len(y) - 1] / points


def angle(a: np.ndarray, b: np.ndarray) -> float:
    cosine = float(np.dot(a, b)) / math.sqrt(float(np.dot(a, a)) * float(np.dot(b, b)))
    return math.acos(min(1.0, max(-1.0, cosine))) / math.pi


def one_hot(a: int, b: int) -> float:
    return 0.0 if a == b else 0.5


def slow_abx(items: list[Triphone], load, distance, across: bool) -> float:
    """Every triple by itself, straight from the definition; no sampling."""
    by_cell = defaultdict(list)
    cut = {item: load(item.utterance)[item.first : item.first + item.frames] for item in items}
    for a, b, x in itertools.product(items, items, items):
        same_context = (a.before, a.after) == (b.before, b.after) == (x.before, x.after)
        if a is x or a.phone != x.phone or a.phone == b.phone or a.speaker != b.speaker or not same_context:
            continue
        if (a.speaker != x.speaker) != across:
            continue
        to_a, to_b = slow_dtw(cut[x], cut[a], distance), slow_dtw(cut[x], cut[b], distance)
        error = 0.5 if abs(to_a - to_b) < 1e-9 else float(to_a > to_b)
        by_cell[(a.phone, b.phone, a.speaker, x.speaker, a.before, a.after)].append(error)
    values = {key: np.mean(errors) for key, errors in by_cell.items()}
    for width in (3, 2):
        collected = defaultdict(list)
        for key, value in values.items():
            collected[key[:width]].append(value)
        values = {key: np.mean(errors) for key, errors in collected.items()}
    return 100 * float(np.mean(list(values.values())))


def make_items(seed: int, count: int, speakers: int = 3, dim: int = 5) -> tuple[list[Triphone], dict[str, np.ndarray]]:
    """Items of up to five frames, and random features of their utterances."""
    random = np.random.default_rng(seed)
    items, features = [], {}
    for number in range(count):
        speaker, phone = f"s{random.integers(speakers)}", "ABC"[random.integers(3)]
        length = int(random.integers(1, 6))
        first = int(random.integers(0, 3))
        utterance = f"{speaker}-{number}"
        features[utterance] = random.normal(size=(first + length, dim)).astype(np.float32)
        items.append(Triphone(utterance, speaker, first, length, "xy"[random.integers(2)], phone, "z"))
    return items, features


@pytest.mark.parametrize("distance", [angle, one_hot])
@pytest.mark.parametrize("seed", range(3))
def test_equals_slow_oracle(seed, distance):
    """On features, and on units, which tie all the time: the choice among equally cheap paths, in both directions."""
    (items, features), random = make_items(seed, 24), np.random.default_rng(seed)
    units = {name: random.integers(0, 3, size=len(own)) for name, own in features.items()}
    load = (units if distance is one_hot else features).__getitem__
    expected = [slow_abx(items, load, distance, across) for across in (False, True)]
    assert abx(design(items, 100, 100), load) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("context", "units", "within", "across"),
    [
        ("within", False, 68.05555462837219, 36.49691392978032),
        ("any", False, 62.57716168959936, 52.771990497907005),
        ("within", True, 56.805555820465095, 54.28240696589152),
        ("any", True, 41.73611203829448, 61.33969922860464),
    ],
)
def test_equals_fastabx(context: str, units: bool, within: float, across: float):
    """What fastabx 0.9.0 says (zerospeech_abx, angular or identical, no sampling): 24 items of 3 phones, 6 files, 3 speakers."""
    random, items = np.random.default_rng(2), []
    for number in range(24):
        file = number % 6
        onset = round(float(random.uniform(0, 1.8)), 4)
        first, frames = frames_inside(onset, round(onset + float(random.uniform(0.03, 0.15)), 4), 100)
        phone, before = "ABC"[random.integers(3)], "xy"[random.integers(2)]
        neighbours = (before, "z") if context == "within" else ("", "")
        items.append(Triphone(f"f{file}", f"s{file // 2}", first, frames, neighbours[0], phone, neighbours[1]))
    features = {f"f{file}": random.normal(size=(100, 4)).astype(np.float32) for file in range(6)}
    if units:
        features = {name: (np.abs(values[:, 0]) * 2).astype(int) for name, values in features.items()}
    result = abx(design([item for item in items if item.frames > 0], 99, 99), features.__getitem__)
    assert result == pytest.approx((within, across), abs=1e-4)


@settings(max_examples=50)
@given(st.integers(0, 1800), st.integers(1, 300))
def test_frames_are_those_whose_middle_is_inside(onset: int, length: int):
    start, end = onset / 1000, (onset + length) / 1000
    inside = [frame for frame in range(80) if start - 1e-9 <= (frame + 0.5) / 50 <= end + 1e-9]
    first, count = frames_inside(start, end, 80)
    assert list(range(first, first + count)) == inside


def test_by_hand():
    """One context, one speaker: two A, one B. X = a1: d(a2) = 0 < d(b): no error; X = a2 the same; B has no second item."""
    items = [Triphone(f"u{i}", "s", 0, 1, "x", phone, "y") for i, phone in enumerate("AAB")]
    features = {"u0": np.array([[1.0, 0.0]]), "u1": np.array([[2.0, 0.0]]), "u2": np.array([[0.0, 1.0]])}
    plan = design(items)
    assert (len(plan.within), len(plan.across)) == (1, 0)
    assert abx(plan, features.__getitem__) == (0.0, pytest.approx(math.nan, nan_ok=True))
    # Units that are all equal tell nothing: every triple is a tie, half an error.
    assert abx(plan, lambda name: np.zeros(1, np.int64))[0] == 50.0
    # The wrong way round: the two A differ, B equals the second.
    features["u1"], features["u2"] = features["u2"], features["u2"]
    assert abx(plan, features.__getitem__)[0] == 75.0  # X = u0: tie; X = u1: error


def test_dtw_by_hand():
    """(0, 0, 1) against (0, 1): a free path of 3 points; against (1,): one 1 matches, two mismatches of .5 over 3 points."""
    frames = np.array([[0], [0], [1], [0], [1], [1]], np.int64)
    starts, lengths = np.array([0, 3, 5]), np.array([3, 2, 1])
    bounds, pairs = np.array([[0, 1], [1, 2], [2, 3]]), np.array([[0, 1], [0, 2]])
    there, back, offsets = group_distances(frames, starts, lengths, bounds, pairs)
    assert there.tolist() == pytest.approx([0.0, 1 / 3]) and back.tolist() == pytest.approx([0.0, 1 / 3])
    assert offsets.tolist() == [0, 1, 2]


def test_random_features_are_at_chance_within_their_standard_error():
    results = []
    for seed in range(12):
        items, features = make_items(100 + seed, 200, speakers=4, dim=16)
        results.append(abx(design(items), features.__getitem__))
    for errors in zip(*results, strict=True):
        error_of_mean = np.std(errors, ddof=1) / math.sqrt(len(errors))
        assert error_of_mean < 1.5 and abs(np.mean(errors) - 50) < 3 * error_of_mean


@settings(max_examples=15)
@given(st.integers(0, 1000), st.floats(0.1, 10), st.integers(1, 3))
def test_scale_order_and_threads_do_not_matter(seed, scale, threads):
    items, features = make_items(seed, 20)
    one = abx(design(items, 4, 2), features.__getitem__)
    order = np.random.default_rng(seed).permutation(len(items))
    two = abx(design([items[i] for i in order], 4, 2), lambda name: features[name] * scale, threads)
    assert one == pytest.approx(two, nan_ok=True)
    assert all(math.isnan(value) or 0 <= value <= 100 for value in one)


def test_no_items_and_no_contrasts():
    alone = [Triphone("u", "s", 0, 2, "x", "A", "y"), Triphone("v", "s", 0, 2, "x", "A", "y")]
    for items in ([], alone):
        assert all(map(math.isnan, abx(design(items), lambda name: np.zeros(2, np.int64))))


def test_design_respects_its_budgets():
    items, _ = make_items(8, 500, speakers=6)
    full = design(items, 10, 5)
    small, tiny = (design(items, 10, 5, max_distances=number) for number in (4000, 10))
    largest = [int(np.diff(plan.bounds).max()) for plan in (full, small, tiny)]
    assert largest[0] == 10 > largest[1] >= largest[2] == 2 and len(tiny.items) < len(small.items)
    speakers_x = Counter((a, b) for a, b, _ in design(items, 10, 3).across.tolist())
    assert max(speakers_x.values()) == 3
    assert design(items, 10, 5).items == full.items
    assert design(items, 10, 5, seed=1).items != full.items


def test_utterances_are_spread_over_speakers():
    speaker_of = {f"{speaker}-{n}": speaker for speaker, count in (("a", 50), ("b", 3), ("c", 50)) for n in range(count)}
    chosen = sample_utterances(speaker_of, 13, seed=0)
    counts = [sum(speaker_of[name] == speaker for name in chosen) for speaker in "abc"]
    assert len(chosen) == 13 and counts == [5, 3, 5]
    assert sample_utterances(speaker_of, 13, seed=0) == chosen == sorted(chosen)
    assert sample_utterances(speaker_of, 1000, seed=0) == sorted(speaker_of)


def test_triphones_take_the_frames_whose_middle_is_inside():
    """Phones of 30 ms from 0.01 s on; the middles of frames lie at 10, 30, 50 ms ..."""
    symbols = ["K", "AE", "T", "SIL", "S", "AH", "N"]
    alignment = [AlignmentItem(symbol, round(0.01 + 0.03 * i, 2), 0.03) for i, symbol in enumerate(symbols)]
    found = list(triphones("u", "s", alignment, 100))
    assert [(item.before, item.phone, item.after) for item in found] == [("K", "AE", "T"), ("S", "AH", "N")]
    assert (found[0].first, found[0].frames) == (0, 5)  # 10 to 100 ms: middles 10, 30, 50, 70, 90
    assert (found[1].first, found[1].frames) == (6, 5)  # 130 to 220 ms: 130, 150, 170, 190, 210
    assert list(triphones("u", "s", alignment, 3))[0].frames == 3
    assert list(triphones("u", "s", alignment[:2], 100)) == []
    gap = [AlignmentItem("K", 0, 0.1), AlignmentItem("AE", 0.2, 0.1), AlignmentItem("T", 0.3, 0.1)]
    assert list(triphones("u", "s", gap, 100)) == []


def test_unit_length_keeps_zero_rows():
    rows = unit_length(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]]
