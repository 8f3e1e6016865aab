"""Confidence intervals of error rates and paired tests of gains, over utterances, speakers and trainings.

Utterances: bootstrap (Bisani and Ney 2004).

Trainings: a few seeds are too few to resample. An analysis of variance of the crossed table of S trainings and N utterances, both
random (Searle, Casella and McCulloch 1992, chapter 4), estimates the variance between trainings beyond that between utterances.
It is added to every draw of the bootstrap, and the draws get the tails of Student's t, with degrees of freedom after
Satterthwaite (1946). One or two seeds allow no useful estimate (Student's t with one degree of freedom has no bounds): then
intervals and tests hold for these trainings only.

Speakers: with few of them the bootstrap gives intervals that are too narrow and tests that are too sure. Then Student's t and
sign flips replace it.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import stats

from spin.runtime import seeding

RESAMPLES_AT_ONCE = 64  # bounds the memory of the bootstrap
LEAST_TRAININGS = 3  # fewer seeds say nothing about other trainings
FEW_SPEAKERS = 20  # below this the bootstrap over speakers is unreliable
EXACT_SPEAKERS = 12  # up to here every combination of signs is counted


def bootstrap_interval(errors: Sequence, references: Sequence[int], samples: int, seed: int) -> tuple[float, float]:
    """95 % interval (percent) of an error rate over utterances, and over trainings where there are LEAST_TRAININGS.

    `errors` are (S, N) edits of each utterance with each of S seeds, or (N,) of one seed; `references` are (N,) symbols. Without
    any utterance the interval is (0, 0).
    """
    errors, references = np.atleast_2d(np.asarray(errors, dtype=np.int64)), np.asarray(references, dtype=np.int64)
    if errors.size == 0:
        return 0.0, 0.0
    drawn, drawn_references = _resampled_sums([errors.sum(axis=0), len(errors) * references], samples, seed)
    symbols = len(errors) * max(1, int(references.sum()))
    rate = int(errors.sum()) / symbols
    rates = _with_trainings(drawn / np.maximum(drawn_references, 1), rate, (errors - rate * references) / symbols, seed)
    low, high = np.percentile(np.maximum(0.0, 100.0 * rates), [2.5, 97.5])
    return float(low), float(high)


def paired_p_value(first: Sequence, second: Sequence, samples: int, seed: int) -> float:
    """Two-sided paired test over utterances, and over trainings where there are LEAST_TRAININGS: how often the sign changes.

    `first` and `second` are (S, N) edits of two systems on the same utterances with each of S seeds, or (N,) of one seed. The
    p-value is at least 2 / (samples + 1), and 1 where the two do not differ or there is no utterance.
    """
    differences = np.atleast_2d(np.asarray(first, dtype=np.int64)) - np.atleast_2d(np.asarray(second, dtype=np.int64))
    if differences.size == 0:
        return 1.0
    (drawn,) = _resampled_sums([differences.sum(axis=0)], samples, seed)
    drawn = _with_trainings(drawn, int(differences.sum()), differences, seed)
    rarer = min(int((drawn <= 0).sum()), int((drawn >= 0).sum()))
    return min(1.0, 2.0 * (rarer + 1) / (samples + 1))


def speaker_interval(errors: Sequence[int], references: Sequence[int], samples: int, seed: int) -> tuple[float, float]:
    """95 % interval (percent) of an error rate over speakers, whose utterances are not independent draws.

    Below FEW_SPEAKERS: the rate and its linearized standard error (Cochran 1977, section 6.4, for a ratio), times the quantile of
    Student's t.

    `errors` and `references` are (K,) edits and reference symbols of each of at least two speakers, over all seeds.
    """
    errors, references = np.asarray(errors, dtype=np.int64), np.asarray(references, dtype=np.int64)
    count = len(errors)
    if count >= FEW_SPEAKERS:
        return bootstrap_interval(errors, references, samples, seed)
    symbols = max(1, int(references.sum()))
    rate = errors.sum() / symbols
    error = np.sqrt(count / (count - 1) * np.square(errors - rate * references).sum()) / symbols
    margin = error * stats.t.ppf(0.975, count - 1)
    return float(max(0.0, 100.0 * (rate - margin))), float(max(0.0, 100.0 * (rate + margin)))


def speaker_p_value(differences: Sequence[int], samples: int, seed: int) -> float:
    """Two-sided sign-flip test over speakers (Fisher's randomization test): how often random signs give a sum as large.

    `differences` are (K,) edits of one system minus those of the other, over all seeds. When all K speakers agree, p is 2 / 2^K.
    With more than EXACT_SPEAKERS speakers, `samples` flips are drawn.
    """
    differences = np.asarray(differences, dtype=np.int64)
    if len(differences) <= EXACT_SPEAKERS:
        signs = np.array(list(itertools.product((1, -1), repeat=len(differences))), dtype=np.int64)
        return float((np.abs(signs @ differences) >= abs(differences.sum())).mean())
    signs = 1 - 2 * seeding.generator("sign flips", seed).integers(2, size=(samples, len(differences)))
    reached = int((np.abs(signs @ differences) >= abs(differences.sum())).sum())
    return (reached + 1) / (samples + 1)


def _resampled_sums(values: Sequence[np.ndarray], samples: int, seed: int) -> list[np.ndarray]:
    """Sums of each array (N,) over `samples` draws of N utterances with replacement; the same draws for all arrays."""
    random, size, sums = seeding.generator("bootstrap", seed), len(values[0]), []
    for start in range(0, samples, RESAMPLES_AT_ONCE):
        drawn = random.integers(size, size=(min(RESAMPLES_AT_ONCE, samples - start), size))
        sums.append([array[drawn].sum(axis=1) for array in values])
    return [np.concatenate(chunks) for chunks in zip(*sums)]


def _with_trainings(drawn: np.ndarray, total: float, parts: np.ndarray, seed: int) -> np.ndarray:
    """Bootstrap draws (samples,) around a total, spread further by the variance between trainings.

    `parts` (S, N) are the contributions of each training and utterance. Below LEAST_TRAININGS, or where all trainings
    are alike, the draws stay unchanged.
    """
    of_trainings, freedom = _variance_of_trainings(parts)
    if not np.isfinite(freedom):
        return drawn
    random = seeding.generator("student over trainings", seed)
    deviation = np.sqrt(of_trainings) * random.standard_normal(len(drawn))
    return total + (drawn - total + deviation) * np.sqrt(freedom / random.chisquare(freedom, size=len(drawn)))


def _variance_of_trainings(parts: np.ndarray) -> tuple[float, float]:
    """(variance that trainings add to the sum of all parts (S, N), degrees of freedom of that sum's total variance)."""
    trainings, utterances = parts.shape
    if trainings < LEAST_TRAININGS or utterances < 2:
        return 0.0, np.inf
    mean, by_training, by_utterance = parts.mean(), parts.mean(axis=1, keepdims=True), parts.mean(axis=0, keepdims=True)
    of_trainings = utterances * np.square(by_training - mean).sum() / (trainings - 1)
    of_utterances = trainings * np.square(by_utterance - mean).sum() / (utterances - 1)
    of_both = np.square(parts - by_training - by_utterance + mean).sum() / ((trainings - 1) * (utterances - 1))
    if of_trainings <= 1e-12 * of_utterances:  # apart from rounding, all trainings are alike
        return 0.0, np.inf
    # Both mean squares contain the interaction, which counts once. The degrees of freedom are those of the mean squares
    # themselves, so that trainings that happen to be close together do not make the test too sure.
    added = max(0.0, of_trainings - of_both)
    whole = of_utterances + added
    freedom = whole**2 / (of_trainings**2 / (trainings - 1) + of_utterances**2 / (utterances - 1))
    return parts.size * added, freedom
