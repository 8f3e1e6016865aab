"""The table of bad input for RESULTS.md: python -m tests.faults.table

Tries every kind through the stage scripts (about two minutes on one core) and prints Markdown; status 1 where one went wrong.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.faults.run_case import Outcome, try_all

HEADS = {
    "utterance": "Bad utterances (stage 0)",
    "corpus": "Bad corpora (stage 0)",
    "configuration": "Bad configurations (any stage)",
    "checkpoint": "Bad weights and checkpoints (stages 2 and 3)",
    "product": "Damaged products of earlier stages (stages 1 to 5)",
}


def lines(tried: Iterable[Outcome]) -> Iterator[str]:
    """Markdown, a table a group."""
    group = None
    for one in tried:
        if one.group != group:
            group = one.group
            yield f"\n**{HEADS[group]}**\n\n| kind | outcome |\n|---|---|"
        outcome = f"WRONG: {one.wrong}" if one.wrong else one.outcome
        yield f"| {_cell(one.name)} | {_cell(outcome)} |"


def _cell(text: str) -> str:
    line = " ".join("".join(sign if sign.isprintable() else "?" for sign in text).split())
    return line.replace("|", "\\|").replace("<", "&lt;")


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        tried = list(try_all(Path(folder)))
    for line in lines(tried):
        print(line.replace(f"{folder}/", ""))
    wrong = sum(bool(one.wrong) for one in tried)
    print(f"\n{len(tried)} kinds tried, {wrong} with another outcome than they must have.")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
