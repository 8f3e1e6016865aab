"""Several reports of one setting, each with its seeds, taken together: means, spreads, and whether each seed agrees."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from spin import artifacts
from spin.errors import DataError
from spin.report import metrics
from spin.report.metrics import SPEAKER_METRIC, UNIT_METRICS, Metric
from spin.report.schema import problems

# Within a group of runs these may differ: what makes them different runs, and where they were made.
SEED_KEYS = ("seed",)


@dataclass(frozen=True)
class Pair:
    """One figure of both systems over the runs.

    Args:
        name: row title, with part and decoding where there is one.
        metric: what is measured.
        baseline: a value for each run, and for each seed of a run's recognisers, in their order.
        spin: the same for Spin.
    """

    name: str
    metric: Metric
    baseline: tuple[float, ...]
    spin: tuple[float, ...]

    @property
    def change(self) -> float | None:
        """Relative change of the means in per cent, negative where Spin's is lower."""
        return metrics.relative_change(statistics.fmean(self.baseline), statistics.fmean(self.spin))

    @property
    def better(self) -> int:
        """For how many of the values Spin's is better; 0 for a metric without direction."""
        return sum(metrics.tone(self.metric, before, after) == "better" for before, after in zip(self.baseline, self.spin))


def groups(reports: list[tuple[str, dict]]) -> list[list[dict]]:
    """Reports that differ in nothing but seeds, device, commit and time, together; in the order of their first.

    Args:
        reports: (file, content) of each.

    Raises:
        DataError: a report does not fit the schema, or one run is given twice.
    """
    made: dict[tuple, list[dict]] = {}
    seen: dict[tuple, str] = {}
    for path, report in reports:
        wrong = problems(report)
        if wrong:
            raise DataError(
                path, found="; ".join(wrong[:3]), expected="a report of schema 1", remedy="make it again with stage 5"
            )
        setting = _setting(report)
        run = (setting, report.get("seed"), tuple(report["seeds"]), report["commit"])
        if run in seen:
            raise DataError(path, found=f"the same setting, seeds and commit as {seen[run]}", expected="different runs")
        seen[run] = path
        made.setdefault(setting, []).append(report)
    return list(made.values())


def _setting(report: dict) -> tuple:
    config = {key: value for key, value in (report.get("config") or {}).items() if key not in SEED_KEYS}
    if isinstance(config.get("asr"), dict):
        config["asr"] = {key: value for key, value in config["asr"].items() if key != "seeds"}
    layout = [(part, method) for part, methods in report["asr"]["baseline"].items() for method in methods]
    return report["name"], report["units"]["spin"]["K"], repr(config), tuple(layout)


def recognition_pairs(runs: list[dict], metric: Metric | None = None) -> list[Pair]:
    """WER and CER, or PER, of every part and method; with `metric` that one only."""
    made = []
    for part, methods in runs[0]["asr"]["baseline"].items():
        for method in methods:
            for wanted in metrics.recognition_metrics(*(runs[0]["asr"][system][part][method] for system in artifacts.SYSTEMS)):
                if metric in (None, wanted):
                    values = (_by_seed(runs, system, part, method, wanted.key) for system in artifacts.SYSTEMS)
                    made.append(Pair(f"{metrics.initials(wanted)}, {part}, {metrics.method_title(method)}", wanted, *values))
    return made


def _by_seed(runs: list[dict], system: str, part: str, method: str, key: str) -> tuple[float, ...]:
    """A rate for every recogniser: those of single seeds where a run says them, else the run's own."""
    results = [run["asr"][system][part][method] for run in runs]
    return tuple(entry[key] for result in results for entry in result.get("per_seed") or [result])


def quality_pair(runs: list[dict], metric: Metric) -> Pair | None:
    """A figure of the units or of the speaker probe; None where a run did not measure it."""
    section = "speaker" if metric is SPEAKER_METRIC else "units"
    values = [tuple((run[section].get(system) or {}).get(metric.key) for run in runs) for system in artifacts.SYSTEMS]
    if any(value is None for system in values for value in system):
        return None
    return Pair(metric.title, metric, *values)


def quality_pairs(runs: list[dict]) -> list[Pair]:
    """All figures of units and speaker that every run measured."""
    pairs = (quality_pair(runs, metric) for metric in (*UNIT_METRICS, SPEAKER_METRIC) if metric.key != "K")
    return [pair for pair in pairs if pair is not None]


def spread(metric: Metric, values: tuple[float, ...]) -> str:
    """'41.2 ± 0.6 %': mean and sample standard deviation; the mean alone for one run."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return metric.show(mean)
    unit = metrics.SPACE + metric.unit if metric.unit else ""
    return f"{metrics.number(mean, metric.decimals)} \u00b1 {metrics.number(statistics.stdev(values), metric.decimals)}{unit}"
