"""The table of metrics: every line is measured, a new one takes a class and a line, and reading the table is light."""

from __future__ import annotations

import math
import pkgutil
import subprocess
import sys

import numpy as np

from spin.units.measure import EvaluationSet, Utterance, measure
from spin.units.metrics import HIGHER, LOWER, METRICS, NEITHER, Metric, find_metric


class ToyFamily:
    """Number of utterances, and nothing measured."""

    def __init__(self, sample: EvaluationSet):
        self.count = 0

    def add(self, utterance: Utterance) -> None:
        self.count += 1

    def figures(self) -> dict[str, float]:
        return {"toy_count": self.count, "toy_nothing": math.nan}


def make_sample() -> EvaluationSet:
    random = np.random.default_rng(0)
    units = [random.integers(0, 4, 30) for _ in range(6)]
    utterances = [Utterance(f"u{i}", f"s{i % 2}", own, 0.6, all_units=own) for i, own in enumerate(units)]
    return EvaluationSet(4, read=lambda: iter(utterances))


def test_every_line_is_complete_and_computed_by_its_family():
    for metric in METRICS:
        assert metric.title and metric.meaning.endswith(".") and metric.digits >= 0
        assert metric.direction in (LOWER, HIGHER, NEITHER) and find_metric(metric.name) is metric
    for path in dict.fromkeys(metric.computer for metric in METRICS):
        computer = pkgutil.resolve_name(path)(make_sample())
        for utterance in make_sample().read():
            computer.add(utterance)
        names = {metric.name for metric in METRICS if metric.computer == path}
        figures = set(computer.figures())
        assert figures <= names and names - figures <= {"abx_within", "abx_across"}  # these need features


def test_a_new_metric_is_a_class_and_a_line():
    computer = f"{__name__}:ToyFamily"
    lines = [Metric(f"toy_{name}", name, 0, "", NEITHER, "A toy.", computer) for name in ("count", "nothing", "absent")]
    figures, computers = measure(make_sample(), [find_metric("used_codes"), *lines])
    assert figures == {"used_codes": 4, "toy_count": 6, "toy_nothing": None, "toy_absent": None}
    assert computers[computer].count == 6


def test_the_table_is_light():
    code = "import sys; import spin.units.metrics; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert not {"torch", "numpy", "numba", "sklearn", "lhotse"} & set(modules)
