"""Markdown for RESULTS.md from reports: python -m spin.report.results REPORT.json... [--only results|targets|runs].

Reports that differ in nothing but seeds, commit, device and time are runs of one setting: means over their seeds, with the sample
standard deviation. Every table says by what command, commit and device it was made.
"""

from __future__ import annotations

import argparse
import sys

from spin.errors import SpinError
from spin.report import metrics, targets
from spin.report.markdown import escape, table
from spin.report.runs import Pair, groups, quality_pairs, recognition_pairs, spread
from spin.report.tables import Cell, Table
from spin.runtime.files import read_json

TABLES = ("results", "targets", "runs")


def markdown(reports: list[tuple[str, dict]], wanted: tuple[str, ...] = TABLES) -> str:
    """The tables of every setting among the reports.

    Args:
        reports: (file, content) of each report.json.
        wanted: which tables.

    Raises:
        DataError: a report does not fit the schema, or is given twice.
    """
    blocks = []
    for runs in groups(reports):
        blocks.append(f"### {escape(title(runs))}")
        makers = {"results": results_table, "targets": targets_table, "runs": runs_table}
        blocks += [table(makers[name](runs)) for name in wanted]
    return "\n\n".join(blocks) + "\n"


def title(runs: list[dict]) -> str:
    """'mini, K = 128, 3 runs'."""
    count = "1 run" if len(runs) == 1 else f"{len(runs)} runs"
    return f"{runs[0]['name']}, K = {runs[0]['units']['spin']['K']}, {count}"


def results_table(runs: list[dict]) -> Table:
    """Baseline against Spin: errors, then units."""
    pairs = [*recognition_pairs(runs), *quality_pairs(runs)]
    several = any(len(pair.spin) > 1 for pair in pairs)
    rows = [_row(pair, several) for pair in pairs]
    header = ["measure", "baseline", "Spin", "relative change", *(["better"] if several else [])]
    note = "Mean \u00b1 sample standard deviation over runs and their recognisers' seeds." if several else ""
    return Table("Results", tuple(header), tuple(rows), tuple(range(1, len(header))), note)


def _row(pair: Pair, several: bool) -> tuple[Cell, ...]:
    arrow = {"lower": " \u2193", "higher": " \u2191"}.get(pair.metric.better, "")
    texts = [pair.name + arrow, spread(pair.metric, pair.baseline), spread(pair.metric, pair.spin), metrics.signed(pair.change)]
    if several:
        texts.append(f"{pair.better} of {len(pair.spin)}" if pair.metric.better else "")
    return tuple(map(Cell, texts))


def targets_table(runs: list[dict]) -> Table:
    """Each target, what was measured, met or missed."""
    rows = [(Cell(item.target), Cell(item.measured), Cell(item.outcome)) for item in targets.verdicts(runs)]
    return Table("Targets", ("target", "measured", "outcome"), tuple(rows))


def runs_table(runs: list[dict]) -> Table:
    """What each run was made with, and how long it took."""
    rows = []
    for run in runs:
        seconds = [value for value in run["seconds"].values() if value is not None]
        seeds = f"{run.get('seed', '')} / {', '.join(map(str, run['seeds']))}"
        made = f"k2 {run['k2']}, torch {run['torch']}"
        texts = (seeds, run["command"], run["commit"], run["device"], made, metrics.duration(sum(seconds)))
        rows.append(tuple(map(Cell, texts)))
    return Table(
        "Runs", ("seeds: Spin / recognisers", "command", "commit", "device", "versions", "time, all stages"), tuple(rows)
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m spin.report.results", description=__doc__.split(":")[0])
    parser.add_argument("reports", nargs="+", metavar="REPORT.json")
    parser.add_argument("--only", choices=TABLES, help="one of the tables; default: all")
    arguments = parser.parse_args(argv)
    try:
        reports = [(path, read_json(path)) for path in arguments.reports]
        print(markdown(reports, (arguments.only,) if arguments.only else TABLES), end="")
    except SpinError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
