"""Checks a report.json, or compares two: python -m spin.report.validate report.json | --same A B.

Exit status 0: no problem; 1: problems, one line per key on standard error; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from spin.errors import SpinError
from spin.report.schema import problems, shorten
from spin.runtime.files import read_json

NOT_COMPARED = ("seconds",)  # all else must agree between two runs of the same command
ABSENT = "nothing"


def differences(first, second, key: str = "") -> Iterator[str]:
    """'key: first / second' for every difference of two JSON values, in the order of the first; 1 and 1.0 differ."""
    if isinstance(first, dict) and isinstance(second, dict):
        for name in [*first, *(name for name in second if name not in first)]:
            path = f"{key}.{name}" if key else str(name)
            if path in NOT_COMPARED:
                continue
            if name not in first or name not in second:
                left, right = (shorten(side[name]) if name in side else ABSENT for side in (first, second))
                yield f"{path}: {left} / {right}"
            else:
                yield from differences(first[name], second[name], path)
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for index, (left, right) in enumerate(zip(first, second)):
            yield from differences(left, right, f"{key}.{index}")
    elif type(first) is not type(second) or first != second:
        yield f"{key or 'report'}: {shorten(first)} / {shorten(second)}"


def check(path: str) -> list[str]:
    """Problems of one file, each with the name of the file; empty when it fits the schema."""
    try:
        return [f"{path}: {line}" for line in problems(read_json(path))]
    except SpinError as error:
        return [f"{path}: {error.found}"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m spin.report.validate", description=__doc__.split("\n")[0])
    parser.add_argument("--same", action="store_true", help="compare two reports, except for 'seconds'")
    parser.add_argument("reports", nargs="+", metavar="REPORT.json")
    arguments = parser.parse_args(argv)
    if arguments.same and len(arguments.reports) != 2:
        parser.error(f"--same needs two reports, found {len(arguments.reports)}")
    messages = [line for path in arguments.reports for line in check(path)]
    if arguments.same and not messages:
        first, second = map(read_json, arguments.reports)
        messages = [f"{line}  ({arguments.reports[0]} / {arguments.reports[1]})" for line in differences(first, second)][:1]
    for line in messages:
        print(line, file=sys.stderr)
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
