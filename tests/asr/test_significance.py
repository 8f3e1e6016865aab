"""Error rates, their intervals and tests: against slow oracles, kaldialign and exact values, under a null hypothesis."""

import itertools

import kaldialign
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin import artifacts
from spin.asr.scores import compute_scores, relative_reduction
from spin.asr.scoring import ErrorCounts, Hypothesis, count_characters, count_words, read_counts, total, write_decoding
from spin.asr.significance import _variance_of_trainings, bootstrap_interval, paired_p_value, speaker_interval, speaker_p_value
from spin.errors import DataError
from spin.runtime.files import read_json
from tests.asr.tiny_asr import make_config


def distance(first, second):
    """Edit distance by the textbook's table, as an oracle."""
    row = list(range(len(second) + 1))
    for i, left in enumerate(first, start=1):
        before, row = row, [i]
        for j, right in enumerate(second, start=1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (left != right)))
    return row[-1]


def test_interval_against_kaldialign():
    random = np.random.default_rng(1)
    references = [["A"] * int(random.integers(3, 12)) for _ in range(150)]
    hypotheses = [["A" if random.random() > 0.3 else "B" for _ in reference] for reference in references]
    errors = [sum(word == "B" for word in words) for words in hypotheses]
    low, high = bootstrap_interval(errors, [len(words) for words in references], 2000, 0)
    theirs = kaldialign.bootstrap_wer_ci(references, hypotheses, replications=2000, seed=0)
    assert low == pytest.approx(100 * theirs["ci95min"], abs=0.5)
    assert high == pytest.approx(100 * theirs["ci95max"], abs=0.5)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(5, 9)), min_size=1, max_size=20))
def test_interval_holds_the_rate_and_is_repeatable(pairs):
    errors, references = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    low, high = bootstrap_interval(errors, references, 200, 3)
    rates = [100.0 * error / reference for error, reference in pairs]
    assert min(rates) - 1e-9 <= low <= high <= max(rates) + 1e-9
    assert bootstrap_interval(errors, references, 200, 3) == (low, high)


def test_degenerate_tables():
    assert bootstrap_interval([1] * 5, [4] * 5, 100, 0) == (25.0, 25.0)
    assert bootstrap_interval([], [], 100, 0) == (0.0, 0.0)
    assert paired_p_value([], [], 999, 0) == 1.0
    errors, references = [[3, 1, 0], [1, 1, 0]], [4, 4, 4]  # two trainings say nothing of others
    assert bootstrap_interval(errors, references, 500, 0) == bootstrap_interval([4, 2, 0], [8, 8, 8], 500, 0)
    assert paired_p_value(errors, [[0, 1, 0], [1, 0, 0]], 500, 0) == paired_p_value([4, 2, 0], [1, 1, 0], 500, 0)


def test_p_value():
    random = np.random.default_rng(2)
    before = random.integers(2, 6, size=100)
    better = before - (random.random(100) < 0.5)
    assert paired_p_value(before, better, 999, 0) == pytest.approx(2 / 1000)
    assert paired_p_value(before, before, 999, 0) == 1.0
    assert paired_p_value(before, before + random.integers(-2, 3, size=100), 999, 0) > 0.01
    assert paired_p_value(better, before, 999, 0) == paired_p_value(before, better, 999, 0)


def test_trainings_that_differ_widen_the_interval_and_raise_p():
    random = np.random.default_rng(3)
    errors = random.integers(0, 5, size=(1, 200)).repeat(3, axis=0)
    references = np.full(200, 8)
    alike = bootstrap_interval(errors, references, 2000, 0)
    assert alike == bootstrap_interval(errors[0], references, 2000, 0)  # three times the same is as one
    other = errors.copy()
    other[1], other[2] = np.minimum(errors[1] + 1, 8), np.maximum(errors[2] - 1, 0)
    wide = bootstrap_interval(other, references, 2000, 0)
    rates = 100.0 * other.sum(axis=1) / references.sum()
    spread = rates.std(ddof=1) / 3**0.5 * 4.303  # the 97.5 % point of Student's t with two degrees of freedom
    assert (wide[1] - wide[0]) / 2 == pytest.approx(spread, rel=0.15)
    better = errors - (random.random((3, 200)) < 0.2)
    assert paired_p_value(errors, better, 999, 0) < 0.05
    better[0] += random.random(200) < 0.5  # one of the three trainings is no better at all
    assert paired_p_value(errors, better, 999, 0) > 0.05


def test_equal_systems_seldom_differ_whatever_their_trainings_do_and_a_gain_is_found():
    """The chance of the utterances must not count twice: a gain of a tenth in 300 utterances is found in three of four cases."""
    random, false, found = np.random.default_rng(4), 0, 0
    for number in range(100):
        base, words = random.beta(2, 5, size=300), random.integers(4, 25, size=300)
        equal = [[random.binomial(10, np.clip(base + random.normal(0, 0.01), 0, 1)) for _ in range(3)] for _ in range(2)]
        better = [[random.binomial(words, base * share) for _ in range(3)] for share in (1.0, 0.9)]
        false += paired_p_value(*equal, 200, number) < 0.05
        found += paired_p_value(*better, 400, number) < 0.05
    assert false <= 10
    assert found >= 72  # some 65 with the scatter of the sums as a whole, 82 as it should be


def test_variance_of_a_crossed_table_by_hand():
    # Means of trainings 1, 2, 6 and of utterances 2, 4 around 3; what is left over: +-0, +-1, +-1.
    parts = np.array([[0.0, 2.0], [2.0, 2.0], [4.0, 8.0]])
    of_trainings, of_utterances, of_both = 2 * (4 + 1 + 9) / 2, 3 * (1 + 1) / 1, (0 + 0 + 1 + 1 + 1 + 1) / 2
    added, freedom = _variance_of_trainings(parts)
    assert added == pytest.approx(6 * (of_trainings - of_both)) == pytest.approx(72)
    assert freedom == pytest.approx(18**2 / (of_trainings**2 / 2 + of_utterances**2 / 1))
    assert _variance_of_trainings(parts[:2]) == (0.0, np.inf)
    assert _variance_of_trainings(parts[:1].repeat(3, axis=0)) == (0.0, np.inf)
    opposite = np.array([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0]])  # trainings alike in all, unlike in each
    assert _variance_of_trainings(opposite)[0] == 0.0


def test_speakers_by_hand():
    assert speaker_p_value([1, 1, 1, 1], 999, 0) == pytest.approx(2 / 16)
    assert speaker_p_value([3, -1], 999, 0) == pytest.approx(1.0)  # |2|: all four flips reach it
    assert speaker_p_value([0, 0, 0], 999, 0) == 1.0
    errors, references = np.array([10, 20, 30, 40]), np.full(4, 100)
    rate, error = 0.25, np.sqrt(4 / 3 * (15**2 + 5**2 + 5**2 + 15**2)) / 400
    low, high = speaker_interval(errors, references, 10, 0)
    quantile = 3.182446305  # 97.5 % of Student's t with three degrees of freedom, from tables
    assert (low, high) == pytest.approx((max(0.0, 100 * (rate - quantile * error)), 100 * (rate + quantile * error)))
    assert speaker_interval([5] * 25, [20] * 25, 100, 0) == (25.0, 25.0)


@given(st.lists(st.integers(-6, 6), min_size=2, max_size=7))
def test_sign_flips_against_a_loop(differences):
    reached = [abs(sum(s * d for s, d in zip(signs, differences))) >= abs(sum(differences))
               for signs in itertools.product((1, -1), repeat=len(differences))]  # fmt: skip
    assert speaker_p_value(differences, 10, 0) == pytest.approx(sum(reached) / len(reached))


def test_random_flips_are_near_the_exact_ones():
    differences = [4, -1, 3, 2, -2, 5, 1, 0, 2, -3, 4, 1]
    exact = speaker_p_value(differences, 10, 0)
    assert speaker_p_value([*differences, 0], 20_000, 0) == pytest.approx(exact, abs=0.01)  # a zero changes nothing


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(50, 90)), min_size=2, max_size=30), st.integers(0, 99))
def test_speaker_interval_holds_the_rate(pairs, seed):
    errors, references = zip(*pairs)
    low, high = speaker_interval(errors, references, 400, seed)
    assert 0.0 <= low <= 100 * sum(errors) / sum(references) + 1e-9 <= high + 2e-9


SPOKEN = {"u1": ("ann", "A B C D"), "u2": ("bob", "A B C"), "u3": ("bob", "A A")}
RECOGNISED = {
    "baseline": {0: ("X X C D", "A X C", "A A"), 1: ("A X C D", "X X C", "A X")},
    "other": {0: ("A X C D", "A B C", "A A"), 1: ("A B C D", "A X C", "A A")},
    "third": {0: ("X X C D", "A X C", "A A"), 1: ("A X C D", "X X C", "A X")},
}


def write_decodings(exp, config, spoken=SPOKEN) -> None:
    for system, by_seed in RECOGNISED.items():
        for seed, texts in by_seed.items():
            rows = [Hypothesis(name, who, text, out) for (name, (who, text)), out in zip(spoken.items(), texts)]
            for source in config.asr.inputs:
                for method in config.decoding.methods:
                    write_decoding(artifacts.decoding_folder(exp, system, source, seed, "eval", method), rows, {})


def test_scores_of_three_systems_two_speakers_and_two_seeds(tmp_path):
    """Which sums go into which test: utterances by seed, and speakers over seeds."""
    config = make_config({"seeds": (0, 1), "inputs": ("features", "units")})
    write_decodings(tmp_path, config)
    scores = compute_scores(tmp_path, config, list(RECOGNISED))
    before, after = [[2, 1, 0], [1, 2, 1]], [[1, 0, 0], [0, 1, 0]]
    samples = config.decoding.bootstrap_samples
    for system, errors in (("baseline", before), ("other", after)):
        score = scores["asr"][system]["eval"]["hlg"]
        assert score["ci95"] == pytest.approx(list(bootstrap_interval(errors, [4, 3, 2], samples, config.seed)))
        sums = [sum(row[0] for row in errors), sum(row[1] + row[2] for row in errors)]
        assert score["ci95_speakers"] == pytest.approx(list(speaker_interval(sums, [8, 10], samples, config.seed)))
        assert (score["words"], score["errors"]) == (18, sum(map(sum, errors)))
    assert list(scores["gain"]) == ["other", "third"]
    gain = scores["gain"]["other"]["eval"]["hlg"]
    assert gain["relative_wer_reduction"] == pytest.approx(100 * 5 / 7)
    assert gain["p_value"] == paired_p_value(before, after, samples, config.seed)
    assert gain["p_value_speakers"] == speaker_p_value([2, 3], samples, config.seed) == 0.5
    assert [one["relative_wer_reduction"] for one in gain["per_seed"]] == pytest.approx([100 * 2 / 3, 75.0])
    none = scores["gain"]["third"]["eval"]["hlg"]
    assert none["relative_wer_reduction"] == 0.0 and none["p_value"] == 1.0
    assert scores["gain_from_units"] == scores["gain"]


def test_decodings_of_other_utterances_are_an_error(tmp_path):
    config = make_config({"seeds": (0, 1)})
    write_decodings(tmp_path, config)
    folder = artifacts.decoding_folder(tmp_path, "other", "features", 1, "eval", "hlg")
    write_decoding(folder, [Hypothesis("u9", "ann", "A", "A")], {})
    with pytest.raises(DataError, match="other, features"):
        compute_scores(tmp_path, config, list(RECOGNISED))


texts = st.lists(st.sampled_from(["A", "B", "CC", "D'S"]), max_size=8).map(" ".join)


@given(texts, texts)
def test_counts_equal_the_slow_oracle(reference, hypothesis):
    words, characters = count_words(reference, hypothesis), count_characters(reference, hypothesis)
    assert words.errors == distance(reference.split(), hypothesis.split())
    assert characters.errors == distance(reference, hypothesis)
    assert words.reference == len(reference.split()) and characters.reference == len(reference)
    assert words.reference - words.deletions + words.insertions == len(hypothesis.split())


def test_rates_by_hand():
    counts = count_words("THE CAT SAT ON IT", "THE BAT SAT IT TOO")
    assert counts.errors == 3 and counts.rate == pytest.approx(60.0)
    assert count_characters("AB C", "AB D").rate == pytest.approx(25.0)  # of three letters and a space
    assert [count_words(*pair).rate for pair in (("A", "A B C"), ("", ""), ("", "A"))] == pytest.approx([200.0, 0.0, 100.0])
    assert total([]) == ErrorCounts()
    assert [relative_reduction(*pair) for pair in ((30.0, 33.0), (0.0, 0.0))] == pytest.approx([-10.0, 0.0])


def test_files_of_a_decoding_to_words_and_to_phones(tmp_path):
    texts = [
        Hypothesis("u2", "s1", "THE CAT SAT", "THE CAT SAT"),
        Hypothesis("u1", "s1", "A CAT SAT ON IT", "CAT BAT ON IT TOO"),
        Hypothesis("u3", "s2", "HELLO", ""),
    ]
    summary = write_decoding(tmp_path, texts, {"lm_scale": 0.5})
    assert summary == read_json(artifacts.decode_summary(tmp_path))
    assert summary["utterances"] == 3 and summary["lm_scale"] == 0.5
    assert summary["words"] == {"reference": 9, "insertions": 1, "deletions": 2, "substitutions": 1}
    assert summary["wer"] == pytest.approx(100 * 4 / 9)
    counts = read_counts(tmp_path)
    assert list(counts) == ["u1", "u2", "u3"]
    assert counts["u3"].words.deletions == 1 and counts["u3"].characters.deletions == 5 and counts["u3"].speaker == "s2"
    lines = artifacts.hypotheses(tmp_path).read_text(encoding="utf-8").splitlines()
    assert lines == ["u1\tA CAT SAT ON IT\tCAT BAT ON IT TOO", "u2\tTHE CAT SAT\tTHE CAT SAT", "u3\tHELLO\t"]
    lines = artifacts.word_alignments(tmp_path).read_text(encoding="utf-8").splitlines()
    assert lines[:4] == [
        "u1 ref A   CAT SAT ON IT ***",
        "u1 hyp *** CAT BAT ON IT TOO",
        "u1 op  D   C   S   C  C  I",
        "u1 #csid 3 1 1 1",
    ]
    assert len(lines) == 12
    assert artifacts.word_errors(tmp_path).read_text(encoding="utf-8") == (
        "%WER 44.44 [4 / 9, 1 ins, 2 del, 1 sub]\n\nSUBSTITUTIONS: count reference -> hypothesis\n1 SAT -> BAT\n"
        "\nDELETIONS: count reference\n1 A\n1 HELLO\n\nINSERTIONS: count hypothesis\n1 TOO\n"
    )
    texts = [Hypothesis("u", "s", "AH R EH D", "AH R IY D"), Hypothesis("v", "s", "", "")]
    summary = write_decoding(tmp_path, texts, {}, "phones")
    assert summary["symbols"] == "phones" and summary["per"] == summary["wer"] == summary["cer"] == 25.0
    assert artifacts.word_alignments(tmp_path).read_text(encoding="utf-8").endswith("v ref\nv hyp\nv op\nv #csid 0 0 0 0\n")
