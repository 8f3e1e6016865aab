"""Tables for RESULTS.md from reports, and the bars for README.md: python -m spin results REPORT.json ... [--svg FILE].

Reports that differ only in seeds, commit, device and time are runs of one setting: the tables show means over all seeds with the
sample standard deviation. Every table of runs names command, commit and device.
"""

import argparse
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from spin.errors import DataError
from spin.report import measures
from spin.report.pages import escape, table
from spin.report.pictures import error_bars
from spin.report.tables import Table, cells
from spin.report.validate import check_report
from spin.runtime.files import read_json, write_text
from spin.units.metrics import METRICS, Metric

Row = tuple[str, Metric, list[list[float]]]  # title, measure, and for each system its values, in the same order


def group_runs(reports: Sequence[tuple[str, dict]]) -> list[list[dict]]:
    """Reports (file, content) by setting, in order; DataError where one does not fit schema 2, or a run is given twice."""
    groups: dict[tuple, list[dict]] = {}
    seen: dict[tuple, str] = {}
    for path, report in reports:
        check_report(report, path)
        setting = _setting(report)
        run = (setting, report.get("seed"), tuple(report["seeds"]), report["commit"])
        if run in seen:
            remedy = f"leave {path} out"
            raise DataError(path, found=f"the setting, seeds and commit of {seen[run]}", expected="different runs", remedy=remedy)
        seen[run] = path
        groups.setdefault(setting, []).append(report)
    return list(groups.values())


def _setting(report: dict) -> tuple:
    config = report.get("config") or {}
    config = config | {"seed": None, "asr": config.get("asr", {}) | {"seeds": None}}
    sizes = [report["units"][system]["K"] for system in report["systems"]]
    return report["name"], tuple(report["systems"]), tuple(sizes), repr(config), tuple(measures.decodings(report))


def recognition_rows(runs: Sequence[dict]) -> Iterator[Row]:
    """Error rates of every decoding, one value per recogniser."""
    for decoding in measures.decodings(runs[0]):
        results = [[measures.result(run, decoding, system) for run in runs] for system in runs[0]["systems"]]
        for measure in measures.error_measures(results[0][0]):
            values = [
                [entry[measure.name] for result in of_system for entry in result.get("per_seed") or [result]]
                for of_system in results
            ]
            yield f"{measures.initials(measure)}, {decoding.title}", measure, values


def metric_rows(runs: Sequence[dict]) -> Iterator[Row]:
    """Metrics that every run measured for every system, one value per run."""
    for metric in METRICS:
        values = [[run["units"][system].get(metric.name) for run in runs] for system in runs[0]["systems"]]
        if metric.name != "K" and not any(None in of_system for of_system in values):
            yield metric.title, metric, values


def spread(measure: Metric, values: Sequence[float]) -> str:
    """'41.2 ± 0.6 %': mean and sample standard deviation; the mean alone for one value."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return measures.show(measure, mean)
    deviation = measures.number(statistics.stdev(values), measure.digits, measure.unit)
    return f"{measures.number(mean, measure.digits)} \u00b1 {deviation}"


def compare(measure: Metric, values: Sequence[Sequence[float]]) -> Iterator[str]:
    """The spread of each system, and behind all but the first the relative change of the mean, and how many seeds improve."""
    before = values[0]
    yield spread(measure, before)
    for after in values[1:]:
        yield spread(measure, after)
        change = measures.signed(measures.relative_change(statistics.fmean(before), statistics.fmean(after)))
        better = sum(measures.tone(measure, *pair) == "better" for pair in zip(before, after))
        yield f"{change} ({better} of {len(after)})" if len(after) > 1 and measure.direction else change


def results_table(runs: Sequence[dict]) -> Table:
    """Every system against the baseline: errors, then units."""
    rows = [*recognition_rows(runs), *metric_rows(runs)]
    baseline, *others = measures.system_titles(runs[0]).values()
    header = ("measure", baseline, *(column for title in others for column in (title, "change")))
    several = any(len(values[0]) > 1 for _, _, values in rows)
    note = "Mean \u00b1 sample standard deviation over runs and their recognisers' seeds; in brackets, seeds that improve."
    body = [cells(title + measures.arrow(measure), *compare(measure, values)) for title, measure, values in rows]
    return Table("Results", header, body, note=note if several else "")


def runs_table(runs: Sequence[dict]) -> Table:
    """Seeds, command, commit, device, versions and time of each run."""
    rows = []
    for run in runs:
        seeds = f"{run.get('seed', '')} / {', '.join(map(str, run['seeds']))}"
        versions = f"k2 {run['k2']}, torch {run['torch']}"
        time = measures.duration(sum(run["seconds"].values()))
        rows.append(cells(seeds, run["command"], run["commit"], run["device"], versions, time))
    header = ("seeds: training / recognisers", "command", "commit", "device", "versions", "time of all products")
    return Table("Runs", header, rows, len(header))


TABLES = {"results": results_table, "runs": runs_table}


def render_results(reports: Sequence[tuple[str, dict]], wanted: Sequence[str] = tuple(TABLES)) -> str:
    """Markdown with the wanted TABLES of every setting among the reports (file, content); raises DataError as group_runs."""
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
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the error rates of the first report as bars, no table")
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
