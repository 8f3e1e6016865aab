"""The schema of report.json, and a command that checks reports: python -m spin.report.validate REPORT.json ...

Exit status 0: no problem; 1: problems, one line per key on standard error; 2: wrong usage.
"""

import argparse
import reprlib
import sys
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from spin.errors import DataError, SpinError, rerun
from spin.report.measures import SUFFIXES, results
from spin.runtime.files import read_json
from spin.setting_types import EACH_ONCE

TOLERANCE = 0.05  # percent points between a rate and the counts behind it: rates may be rounded

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Commit = Annotated[str, StringConstraints(pattern=r"^(unknown|[0-9a-f]{7,40}(-dirty)?)$")]
StageName = Annotated[str, StringConstraints(pattern=r"^stage[0-9]+$")]
NonNegative = Annotated[float, Field(ge=0.0)]
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Percent = Annotated[float, Field(ge=0.0, le=100.0)]


class Record(BaseModel):
    """A JSON object; keys of later editions are allowed, NaN is not."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class UnitFigures(Record):
    """Figures of one system's units, of spin.units.metrics.METRICS; null where not measured."""

    __pydantic_extra__: dict[str, float | None]
    K: Annotated[int, Field(ge=2)]
    pnmi: Ratio | None
    phone_purity: Ratio | None
    cluster_purity: Ratio | None
    abx_within: Percent | None
    abx_across: Percent | None
    bitrate: NonNegative | None
    perplexity: NonNegative | None = None


class Speaker(Record):
    """{"accuracy": the metric speaker_accuracy_of_features} by system, and the metric speaker_chance."""

    __pydantic_extra__: dict[str, dict[str, Ratio | None]]
    chance: Ratio | None


class Result(Record):
    """Error rates of one decoding in percent, over all seeds. `per` exists where symbols are phones; wer and cer equal it."""

    wer: NonNegative
    cer: NonNegative
    ci95: Annotated[list[NonNegative], Field(min_length=2, max_length=2)]
    words: Annotated[int, Field(ge=1)]
    errors: NonNegative
    per: NonNegative | None = None


class Gain(Record):
    """Reduction of the error rate against the baseline in percent, and the paired test of it."""

    relative_wer_reduction: Annotated[float, Field(le=100.0)] | None
    p_value: Ratio | None


Results = dict[str, dict[str, dict[str, Result]]]  # system -> part -> method
Gains = dict[str, dict[str, dict[str, Gain]]]


class Report(Record):
    """report.json."""

    number: Literal[2] = Field(alias="schema")
    name: Text
    commit: Commit
    command: Text
    device: Text
    k2: Text
    torch: Text
    seeds: Annotated[list[int], Field(min_length=1), EACH_ONCE]
    systems: Annotated[list[Text], Field(min_length=1), EACH_ONCE]
    seconds: dict[StageName, NonNegative]
    units: dict[str, UnitFigures]  # system -> figures pooled over the clean test parts
    units_by_part: dict[str, dict[str, dict[str, float | None]]] = {}  # system -> part, clean or noisy -> figures
    speaker: Speaker
    asr: Results  # of recognisers on features
    gain: Gains  # of each system but the baseline
    asr_from_units: Results | None = None  # absent where no recogniser reads units
    gain_from_units: Gains | None = None


def problems(report) -> list[str]:
    """One line per key that does not fit schema 2."""
    try:
        Report.model_validate(report)
    except ValidationError as error:
        return [_line(item) for item in error.errors(include_url=False)]
    return list(_contradictions(report))


def check_report(report: dict, name: str = "report.json") -> None:
    """Raises DataError when a report does not fit its schema."""
    wrong = problems(report)
    if wrong:
        raise DataError(
            name,
            found="; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""),
            expected="figures that fit schema 2 of the report",
            cause="a product of stages 3 to 5 that another tool wrote",
            remedy=rerun(3, 5),
        )


def _line(item: dict) -> str:
    """One problem that pydantic found, as 'key: what is wrong'."""
    key = ".".join(str(name) for name in item["loc"] if name != "[key]") or "report"
    if item["type"] == "missing":
        return f"{key}: missing"
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    return f"{key}: found {reprlib.repr(item['input'])}, {message.replace('String should', 'expected to')}"


def _contradictions(report: dict) -> Iterator[str]:
    """Keys that do not fit each other."""
    for name in ("units", "speaker"):
        yield from (f"{name}.{system}: missing" for system in report["systems"] if system not in report[name])
    for input_kind in [kind for kind in SUFFIXES if results(report, kind)] or ["features"]:
        places = {(part, method) for parts in results(report, input_kind).values() for part in parts for method in parts[part]}
        if not places:
            yield f"asr{SUFFIXES[input_kind]}: no part was decoded, expected at least one"
        for place in sorted(places):
            yield from _check_decoding(report, SUFFIXES[input_kind], *place)


def _check_decoding(report: dict, suffix: str, part: str, method: str) -> Iterator[str]:
    """Every system needs a result, whose rate fits its counts, and a gain, which fits the rates: (before - after) / before."""
    baseline, before = report["systems"][0], None
    for system in report["systems"]:
        name = f"{system}.{part}.{method}"
        result, gain = (
            (report.get(f"{section}{suffix}") or {}).get(system, {}).get(part, {}).get(method) for section in ("asr", "gain")
        )
        if result is None:
            yield f"asr{suffix}.{name}: missing"
            continue
        rate = 100 * result["errors"] / result["words"]
        if abs(result["wer"] - rate) > TOLERANCE:
            yield f"asr{suffix}.{name}.wer: found {result['wer']}, expected {rate:.2f} by its words and errors"
        if result["ci95"][0] > result["ci95"][1]:
            yield f"asr{suffix}.{name}.ci95: expected the lower bound first"
        if system == baseline:
            before = result["wer"]
        elif gain is None:
            yield f"gain{suffix}.{name}: missing"
        elif before is not None:
            yield from _check_gain(gain["relative_wer_reduction"], before, result["wer"], f"gain{suffix}.{name}")


def _check_gain(given: float | None, before: float, after: float, name: str) -> Iterator[str]:
    """The reduction in percent of `before`; with before = 0 it says nothing, and may be null or 0."""
    expected, tolerance = (100 * (before - after) / before, 200 * TOLERANCE / before) if before else (0.0, 0.0)
    if before > 0 if given is None else abs(given - expected) > tolerance:
        yield f"{name}.relative_wer_reduction: found {given}, expected {expected:.2f} (WER {before:g} -> {after:g})"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m spin.report.validate", description=__doc__.split(":")[0])
    parser.add_argument("reports", nargs="+", metavar="REPORT.json")
    messages = []
    for path in parser.parse_args(argv).reports:
        try:
            messages += [f"{path}: {line}" for line in problems(read_json(path))]
        except SpinError as error:
            messages.append(f"{path}: {error.found}")
    sys.stderr.writelines(f"{line}\n" for line in messages)
    return 1 if messages else 0


if __name__ == "__main__":
    sys.exit(main())
