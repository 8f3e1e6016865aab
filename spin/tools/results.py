"""Tables for RESULTS.md from reports, and the bars for README.md: python -m spin results REPORT.json ... [--svg FILE].

Reports that differ only in seeds, commit, device and time are runs of one setting: the tables show means over all seeds with the
sample standard deviation. Every table of runs names command, commit and device.
"""

import argparse
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from spin.errors import DataError
from spin.report import measures
from spin.report.pictures import error_bars
from spin.report.tables import Cell, Table, cells
from spin.report.validate import problems
from spin.report.write_report import escape, table
from spin.runtime.files import read_json, write_text
from spin.units.metrics import METRICS


@dataclass(frozen=True)
class Row:
    """One figure of every system over all runs.

    Attributes:
        name: title of the row.
        measure: the metric or error rate.
        values: for each system, one value per run and recogniser seed, in the same order.
    """

    name: str
    measure: object
    values: tuple[tuple[float, ...], ...]

    def change(self, system: int) -> float | None:
        """Relative change of the means against the baseline in percent."""
        return measures.relative_change(statistics.fmean(self.values[0]), statistics.fmean(self.values[system]))

    def better(self, system: int) -> int:
        """Number of values that are better than the baseline's; 0 for a measure without direction."""
        pairs = zip(self.values[0], self.values[system])
        return sum(measures.tone(self.measure, before, after) == "better" for before, after in pairs)


def group_runs(reports: Sequence[tuple[str, dict]]) -> list[list[dict]]:
    """Reports of the same setting together, in the order of their first.

    Args:
        reports: (file, content) of each.

    Raises:
        DataError: a report does not fit schema 2, or a run is given twice.
    """
    groups: dict[tuple, list[dict]] = {}
    seen: dict[tuple, str] = {}
    for path, report in reports:
        wrong = problems(report)
        if wrong:
            remedy = "./run.sh --stage 5 --stop-stage 5 with its --conf and --exp-dir"
            raise DataError(path, found="; ".join(wrong[:3]), expected="a report of schema 2", remedy=remedy)
        setting = _setting(report)
        run = (setting, report.get("seed"), tuple(report["seeds"]), report["commit"])
        if run in seen:
            remedy = f"leave {path} out"
            raise DataError(path, found=f"the setting, seeds and commit of {seen[run]}", expected="different runs", remedy=remedy)
        seen[run] = path
        groups.setdefault(setting, []).append(report)
    return list(groups.values())


def _setting(report: dict) -> tuple:
    config = {key: value for key, value in (report.get("config") or {}).items() if key != "seed"}
    if isinstance(config.get("asr"), dict):
        config["asr"] = {key: value for key, value in config["asr"].items() if key != "seeds"}
    sizes = [report["units"][system]["K"] for system in report["systems"]]
    return report["name"], tuple(report["systems"]), tuple(sizes), repr(config), tuple(measures.decodings(report))


def recognition_rows(runs: Sequence[dict]) -> Iterator[Row]:
    """Error rates of every decoding, one value per recogniser."""
    systems = runs[0]["systems"]
    for decoding in measures.decodings(runs[0]):
        results = {system: [measures.result(run, decoding, system) for run in runs] for system in systems}
        for measure in measures.error_measures(results[systems[0]][0]):
            suffix = "" if decoding.input_kind == "features" else " from units"
            name = f"{measures.initials(measure)}{suffix}, {decoding.part}, {measures.method_title(decoding.method)}"
            yield Row(name, measure, tuple(_seed_values(results[system], measure.name) for system in systems))


def _seed_values(results: Sequence[dict], name: str) -> tuple[float, ...]:
    return tuple(entry[name] for result in results for entry in result.get("per_seed") or [result])


def metric_rows(runs: Sequence[dict]) -> Iterator[Row]:
    """Metrics that every run measured for every system, one value per run."""
    for metric in METRICS:
        values = tuple(tuple(run["units"][system].get(metric.name) for run in runs) for system in runs[0]["systems"])
        if metric.name != "K" and all(value is not None for of_system in values for value in of_system):
            yield Row(metric.title, metric, values)


def spread(measure, values: Sequence[float]) -> str:
    """'41.2 ± 0.6 %': mean and sample standard deviation; the mean alone for one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return measures.show(measure, mean)
    deviation = measures.number(statistics.stdev(values), measure.digits, measure.unit)
    return f"{measures.number(mean, measure.digits)} \u00b1 {deviation}"


def results_table(runs: Sequence[dict]) -> Table:
    """Every system against the baseline: errors, then units."""
    rows = [*recognition_rows(runs), *metric_rows(runs)]
    baseline, *others = measures.system_titles(runs[0]).values()
    header = ("measure", baseline, *(column for title in others for column in (title, "change")))
    several = any(len(row.values[0]) > 1 for row in rows)
    note = "Mean \u00b1 sample standard deviation over runs and their recognisers' seeds; in brackets, seeds that improve."
    body = tuple(cells(row.name + measures.arrow(row.measure), *_figures(row)) for row in rows)
    return Table("Results", header, body, note=note if several else "")


def _figures(row: Row) -> Iterator[str]:
    yield spread(row.measure, row.values[0])
    for system, values in enumerate(row.values[1:], start=1):
        yield spread(row.measure, values)
        counted = len(values) > 1 and row.measure.direction
        yield measures.signed(row.change(system)) + (f" ({row.better(system)} of {len(values)})" if counted else "")


def runs_table(runs: Sequence[dict]) -> Table:
    """Seeds, command, commit, device, versions and time of each run."""
    rows = []
    for run in runs:
        seeds = f"{run.get('seed', '')} / {', '.join(map(str, run['seeds']))}"
        versions = f"k2 {run['k2']}, torch {run['torch']}"
        time = measures.duration(sum(run["seconds"].values()))
        rows.append(tuple(map(Cell, (seeds, run["command"], run["commit"], run["device"], versions, time))))
    header = ("seeds: training / recognisers", "command", "commit", "device", "versions", "time of all products")
    return Table("Runs", header, tuple(rows), len(header))


TABLES = {"results": results_table, "runs": runs_table}


def render_results(reports: Sequence[tuple[str, dict]], wanted: Sequence[str] = tuple(TABLES)) -> str:
    """Markdown with the wanted tables of every setting among the reports.

    Args:
        reports: (file, content) of each report.json.
        wanted: names in TABLES.

    Raises:
        DataError: a report does not fit the schema, or is given twice.
    """
    blocks = []
    for runs in group_runs(reports):
        size = runs[0]["units"][runs[0]["systems"][0]]["K"]
        count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
        blocks += [f"### {escape(runs[0]['name'])}, K = {size}, {count}", *(table(TABLES[name](runs)) for name in wanted)]
    return "\n\n".join(blocks) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Prints the tables, or writes the bars of the first report."""
    parser = argparse.ArgumentParser(prog="python -m spin results", description=__doc__.split(":")[0])
    parser.add_argument("reports", nargs="+", metavar="REPORT.json")
    parser.add_argument("--only", choices=tuple(TABLES), help="one of the tables; default: all")
    parser.add_argument(
        "--svg", type=Path, metavar="FILE", help="write the error rates of the first report as bars, and no table"
    )
    arguments = parser.parse_args(argv)
    reports = [(path, read_json(path)) for path in arguments.reports]
    if arguments.svg is None:
        print(render_results(reports, (arguments.only,) if arguments.only else tuple(TABLES)), end="")
        return 0
    group_runs(reports)
    report = reports[0][1]
    bars = error_bars(report, measures.primary(report).input_kind)
    write_text(arguments.svg, bars.document.replace("<svg ", '<svg style="background: white" ', 1))  # for readers of it alone
    return 0
