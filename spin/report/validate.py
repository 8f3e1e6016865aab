"""Checks a report.json, or compares two: python -m spin.report.validate report.json | --same A B.

Exit status 0: all is well; 1: what is wrong stands on standard error, a line for each key; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from spin.errors import SpinError
from spin.report.schema import problems, shown
from spin.runtime.files import read_json

NOT_COMPARED = ("seconds",)  # the only thing that may differ between two runs of the same command
ABSENT = "nothing"


def differences(first, second, key: str = "") -> Iterator[str]:
    """'key: first / second' for every place where two JSON values differ, in the first one's order; types count, 1 is not 1.0."""
    if isinstance(first, dict) and isinstance(second, dict):
        for name in [*first, *(name for name in second if name not in first)]:
            path = f"{key}.{name}" if key else str(name)
            if path in NOT_COMPARED:
                continue
            if name not in first or name not in second:
                left, right = (shown(side[name]) if name in side else ABSENT for side in (first, second))
                yield f"{path}: {left} / {right}"
            else:
                yield from differences(first[name], second[name], path)
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for index, (left, right) in enumerate(zip(first, second)):
            yield from differences(left, right, f"{key}.{index}")
    elif type(first) is not type(second) or first != second:
        yield f"{key or 'report'}: {shown(first)} / {shown(second)}"


def check(path: str) -> list[str]:
    """Messages about one file, each with the file's name; empty when it is sound."""
    try:
        return [f"{path}: {line}" for line in problems(read_json(path))]
    except SpinError as error:
        return [f"{path}: {error.found}"]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m spin.report.validate", description=__doc__.split("\n")[0])
    parser.add_argument("--same", action="store_true", help="compare two reports, but for 'seconds'")
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
