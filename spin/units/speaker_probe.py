"""How much of the speaker is left in features or units: a linear classifier on the mean of an utterance's features, or on the
shares of its frames that each unit has.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from spin.runtime.seeding import integer

TRAIN_SHARE = 0.75


@dataclass(frozen=True)
class ProbeResult:
    """Accuracy and chance as shares from 0 to 1 (NaN where no probe could be made), and the sizes they come from."""

    accuracy: float
    chance: float
    speakers: int
    train_utterances: int
    test_utterances: int


def split(names: Sequence[str], speakers: Sequence[str], seed: int = 0) -> tuple[list[int], list[int]]:
    """Indices of training and test utterances: every speaker in both, no utterance in both.

    Each speaker's utterances are ordered by a hash of (seed, name) and three quarters of them, rounded, train (at least one,
    and at least one tests); speakers with a single utterance are left out. Does not depend on the order of the input.
    """
    by_speaker = defaultdict(list)
    for index in sorted(range(len(names)), key=lambda i: (integer(seed, "speaker probe", names[i]), names[i])):
        by_speaker[speakers[index]].append(index)
    train, test = [], []
    for speaker in sorted(by_speaker):
        own = by_speaker[speaker]
        count = min(len(own) - 1, max(1, round(TRAIN_SHARE * len(own))))
        if count > 0:
            train.extend(own[:count])
            test.extend(own[count:])
    return train, test


def histogram(units: np.ndarray, clusters: int) -> np.ndarray:
    """(T,) integers in [0, K) -> (K,) float32 shares of the frames; zeros for no frames."""
    counts = np.bincount(np.asarray(units, dtype=np.int64), minlength=clusters)
    return (counts / max(1, len(units))).astype(np.float32)


def probe_speakers(features: np.ndarray, names: Sequence[str], speakers: Sequence[str], seed: int = 0) -> ProbeResult:
    """Logistic regression from mean-pooled features (or histograms of units) to speakers.

    Speakers are seen in training, utterances are not.

    Args:
        features: (N, D) one mean vector an utterance; standardised by the training utterances.
        names: N utterance ids.
        speakers: N speaker ids.
        seed: of the split.

    Returns:
        Accuracy on the test utterances; chance is the share of them that always naming the commonest training speaker gets
        right (of equally common ones the first in alphabetical order). NaN for both with fewer than two speakers of two
        utterances.
    """
    train, test = split(names, speakers, seed)
    count = len({speakers[index] for index in train})
    if count < 2:
        return ProbeResult(math.nan, math.nan, count, len(train), len(test))
    features = np.asarray(features, dtype=np.float64)
    scaler = StandardScaler().fit(features[train])
    targets = np.asarray(speakers)
    with threadpool_limits(limits=1):  # sums over threads round differently
        model = LogisticRegression(max_iter=1000).fit(scaler.transform(features[train]), targets[train])
        found = model.predict(scaler.transform(features[test]))
    seen = Counter(targets[train].tolist())
    commonest = min(seen, key=lambda speaker: (-seen[speaker], speaker))
    return ProbeResult(
        accuracy=float(np.mean(found == targets[test])),
        chance=float(np.mean(targets[test] == commonest)),
        speakers=count,
        train_utterances=len(train),
        test_utterances=len(test),
    )
