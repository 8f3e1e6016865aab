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
    if isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        first, second = dict(enumerate(first)), dict(enumerate(second))
    if isinstance(first, dict) and isinstance(second, dict):
        for name in {**first, **second}:
            path = f"{key}.{name}" if key else str(name)
            if path in NOT_COMPARED:
                continue
            if name in first and name in second:
                yield from differences(first[name], second[name], path)
            else:
                left, right = (shorten(side[name]) if name in side else ABSENT for side in (first, second))
                yield f"{path}: {left} / {right}"
    elif type(first) is not type(second) or first != second:
        yield f"{key or 'report'}: {shorten(first)} / {shorten(second)}"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m spin.report.validate", description=__doc__.split("\n")[0])
    parser.add_argument("--same", action="store_true", help="compare two reports, except for 'seconds'")
    parser.add_argument("reports", nargs="+", metavar="REPORT.json")
    arguments = parser.parse_args(argv)
    if arguments.same and len(arguments.reports) != 2:
        parser.error(f"--same needs two reports, found {len(arguments.reports)}")
    messages, reports = [], []
    for path in arguments.reports:
        try:
            reports.append(read_json(path))
            messages += [f"{path}: {line}" for line in problems(reports[-1])]
        except SpinError as error:
            messages.append(f"{path}: {error.found}")
    if arguments.same and not messages:
        messages = [f"{line}  ({' / '.join(arguments.reports)})" for line in differences(*reports)][:1]
    for line in messages:
        print(line, file=sys.stderr)
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
