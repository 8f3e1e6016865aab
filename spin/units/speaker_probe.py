"""Speaker probes: a linear classifier on the mean features of an utterance, or on the histogram of its units."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from spin.runtime.seeding import integer
from spin.units.measure import EvaluationSet, Utterance

TRAIN_SHARE = 0.75


class SpeakerProbe:
    """Probes of units and of features over the utterances whose speaker is known; memory is one vector of each per utterance."""

    def __init__(self, sample: EvaluationSet):
        self.codebook_size, self.seed = sample.codebook_size, sample.seed
        self.names, self.speakers, self.histograms, self.means = [], [], [], []  # of each utterance

    def add(self, utterance: Utterance) -> None:
        if not utterance.speaker:
            return
        self.names.append(utterance.id)
        self.speakers.append(utterance.speaker)
        self.histograms.append(histogram(utterance.units, self.codebook_size))
        if utterance.load_features is not None:
            self.means.append(utterance.load_features().astype(np.float32).mean(0))

    def compute(self) -> dict[str, float]:
        """speaker_accuracy (from units), speaker_accuracy_of_features and speaker_chance, as ratios."""
        accuracy, chance = self._probe(self.histograms)
        accuracy_of_features, _ = self._probe(self.means)
        return {"speaker_accuracy": accuracy, "speaker_accuracy_of_features": accuracy_of_features, "speaker_chance": chance}

    def _probe(self, rows: list[np.ndarray]) -> tuple[float, float]:
        complete = len(rows) == len(self.names) > 0
        return probe_speakers(np.stack(rows), self.names, self.speakers, self.seed) if complete else (math.nan, math.nan)


def split(names: Sequence[str], speakers: Sequence[str], seed: int = 0) -> tuple[list[int], list[int]]:
    """Indices of training and test utterances in an order fixed by the seed, every speaker in both.

    Three quarters of a speaker's utterances, rounded, train: at least one, and at least one tests. Speakers with a single
    utterance are left out.
    """
    by_speaker = defaultdict(list)
    for index in sorted(range(len(names)), key=lambda i: (integer(seed, "speaker probe", names[i]), names[i])):
        by_speaker[speakers[index]].append(index)
    train, test = [], []
    for _, own in sorted(by_speaker.items()):
        if len(own) > 1:
            count = min(len(own) - 1, max(1, round(TRAIN_SHARE * len(own))))
            train.extend(own[:count])
            test.extend(own[count:])
    return train, test


def histogram(units: np.ndarray, codebook_size: int) -> np.ndarray:
    """(T,) integers in [0, K) -> (K,) float32 shares of the frames; zeros for no frames."""
    counts = np.bincount(np.asarray(units, dtype=np.int64), minlength=codebook_size)
    return (counts / max(1, len(units))).astype(np.float32)


def probe_speakers(features: np.ndarray, names: Sequence[str], speakers: Sequence[str], seed: int = 0) -> tuple[float, float]:
    """Accuracy and chance, as ratios, of a logistic regression from (N, D) features, one vector per utterance, to speakers.

    Features are standardized by the training utterances. Chance is the accuracy of always naming the commonest training speaker
    (of equally common ones the first in alphabetical order). NaN for both with fewer than two speakers of two utterances.
    """
    train, test = split(names, speakers, seed)
    if len({speakers[index] for index in train}) < 2:
        return math.nan, math.nan
    features, targets = np.asarray(features, dtype=np.float64), np.asarray(speakers)
    scaler = StandardScaler().fit(features[train])
    with threadpool_limits(limits=1):  # sums over threads round differently
        model = LogisticRegression(max_iter=1000).fit(scaler.transform(features[train]), targets[train])
        predicted = model.predict(scaler.transform(features[test]))
    seen = Counter(targets[train].tolist())
    commonest = min(seen, key=lambda speaker: (-seen[speaker], speaker))
    return float(np.mean(predicted == targets[test])), float(np.mean(targets[test] == commonest))
