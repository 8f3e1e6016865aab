"""Contents of report.json (schema 2) and of the two files it is made from.

metrics.json of one system (stage 3); null where something could not be measured:
    {"units": {name: figure},                           pooled over the clean test parts; the names of spin.units.metrics.METRICS
     "parts": {part: {name: figure}}}                   each test part by itself, clean and noisy
phone_counts.npz next to it: phones (P,) str, counts (P, K) int64; no file without alignments.
The "speaker" section of report.json repeats speaker_accuracy_of_features and speaker_chance of METRICS.

scores.json (stage 5), in percent:
    {"asr": {system: {part: {method: result}}},         recognisers on features
     "gain": {system: {part: {method: gain}}},          each system but the baseline, against the baseline
     "asr_from_units": ..., "gain_from_units": ...}     the same for recognisers on units; absent where none were trained
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from spin.errors import DataError

TOLERANCE = 0.05  # percent points between a rate and the counts behind it: rates may be rounded
SHOWN = 60  # characters of a value in a message

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
Commit = Annotated[str, StringConstraints(pattern=r"^(unknown|[0-9a-f]{7,40}(-dirty)?)$")]
StageName = Annotated[str, StringConstraints(pattern=r"^stage[0-9]+$")]
NonNegative = Annotated[float, Field(ge=0.0)]
Ratio = Annotated[float, Field(ge=0.0, le=1.0)]
Percent = Annotated[float, Field(ge=0.0, le=100.0)]


def _reject_repeats(values: list) -> list:
    if len(set(values)) < len(values):
        raise ValueError("expected each value once")
    return values


class Record(BaseModel):
    """A JSON object; keys of later editions are allowed, NaN is not."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class UnitFigures(Record):
    """Figures of one system's units; null where not measured. Any other figure of METRICS may follow."""

    __pydantic_extra__: dict[str, float | None]
    K: Annotated[int, Field(ge=2)]
    pnmi: Ratio | None
    phone_purity: Ratio | None
    cluster_purity: Ratio | None
    abx_within: Percent | None
    abx_across: Percent | None
    bitrate: NonNegative | None
    perplexity: NonNegative | None = None


class Accuracy(Record):
    """Speaker probe of one system's features."""

    accuracy: Ratio | None


class Speaker(Record):
    """Speaker probes by system, and the accuracy of guessing."""

    __pydantic_extra__: dict[str, Accuracy]
    chance: Ratio | None


class Result(Record):
    """Error rates of one decoding in percent, over all seeds. `per` exists where symbols are phones; wer and cer equal it."""

    wer: NonNegative
    cer: NonNegative
    ci95: Annotated[list[NonNegative], Field(min_length=2, max_length=2)]
    words: Annotated[int, Field(ge=1)]
    errors: NonNegative
    per: NonNegative | None = None

    @model_validator(mode="after")
    def _check(self):
        if self.ci95[0] > self.ci95[1]:
            raise ValueError("ci95: expected the lower bound first")
        rate = 100 * self.errors / self.words
        if abs(self.wer - rate) > TOLERANCE:
            raise ValueError(f"wer: expected {rate:.2f} ({self.errors:g} errors in {self.words} words), found {self.wer:g}")
        return self


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
    seeds: Annotated[list[int], Field(min_length=1), AfterValidator(_reject_repeats)]
    systems: Annotated[list[Text], Field(min_length=1), AfterValidator(_reject_repeats)]
    seconds: dict[StageName, NonNegative]
    units: dict[str, UnitFigures]
    units_by_part: dict[str, dict[str, dict[str, float | None]]] = {}  # system -> part
    speaker: Speaker
    asr: Results
    gain: Gains
    asr_from_units: Results | None = None
    gain_from_units: Gains | None = None


def problems(report, decoded: bool = True) -> list[str]:
    """Everything that is wrong with a report: one line per key; empty when it fits schema 2.

    Args:
        decoded: whether there must be a decoding.
    """
    try:
        return list(_contradictions(Report.model_validate(report), decoded))
    except ValidationError as error:
        return [_line(item) for item in error.errors(include_url=False)]


def check_report(report: dict, decoded: bool) -> None:
    """Raises DataError when a report does not fit its schema."""
    wrong = problems(report, decoded)
    if wrong:
        raise DataError(
            "report.json",
            found="; ".join(wrong[:5]) + (f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""),
            expected="figures that fit schema 2 of the report",
            cause="a product of stages 3 to 5 that another tool wrote",
            remedy="./run.sh --stage 3 --stop-stage 5 --force with the same --conf, --set and --exp-dir",
        )


def shorten(value) -> str:
    """A value in a message, cut to a readable length."""
    words = repr(value)
    return words if len(words) <= SHOWN else words[: SHOWN - 3] + "..."


def _line(item: dict) -> str:
    """One problem that pydantic found, as 'key: what is wrong'."""
    key = ".".join(str(name) for name in item["loc"] if name != "[key]") or "report"
    if item["type"] == "missing":
        return f"{key}: missing"
    message = item["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    message = message.replace("String should", "expected to")
    if item["type"] == "value_error" and isinstance(item["input"], dict):  # of a whole record; the message begins with its key
        return f"{key}.{message}"
    return f"{key}: found {shorten(item['input'])}, {message}"


def _contradictions(report: Report, decoded: bool) -> Iterator[str]:
    """Keys that do not fit each other."""
    sections = {"units": report.units, "speaker": report.speaker.__pydantic_extra__}
    for name, section in sections.items():
        yield from (f"{name}.{system}: missing, but the system is listed" for system in report.systems if system not in section)
    if decoded and not report.asr and not report.asr_from_units:
        yield "asr: no part was decoded, expected at least one"
    for suffix in ("", "_from_units"):
        results, gains = getattr(report, f"asr{suffix}"), getattr(report, f"gain{suffix}")
        if results:
            yield from _check_results(report.systems, results, gains or {}, suffix)


def _check_results(systems: list[str], results: Results, gains: Gains, suffix: str) -> Iterator[str]:
    """Every system has each decoding of the others, and every system but the baseline its gain."""

    def find(holder: dict, system: str, part: str, method: str):
        return holder.get(system, {}).get(part, {}).get(method)

    decodings = sorted({(part, method) for parts in results.values() for part, methods in parts.items() for method in methods})
    if not decodings:
        yield f"asr{suffix}: no part was decoded, expected at least one"
    for system in systems:
        for part, method in decodings:
            name = f"{system}.{part}.{method}"
            baseline, result = (find(results, who, part, method) for who in (systems[0], system))
            if result is None:
                yield f"asr{suffix}.{name}: missing, but another system has it"
            elif system != systems[0] and baseline is not None:
                gain = find(gains, system, part, method)
                yield from _check_gain(gain, baseline.wer, result.wer, f"gain{suffix}.{name}")


def _check_gain(gain: Gain | None, before: float, after: float, name: str) -> Iterator[str]:
    """The reduction must be (before - after) / before in percent; with before = 0 it says nothing, and may be null or 0."""
    if gain is None:
        yield f"{name}: missing"
        return
    given, name = gain.relative_wer_reduction, f"{name}.relative_wer_reduction"
    if before == 0:
        if given:
            yield f"{name}: found {given:g}, expected 0: the baseline makes no error"
        return
    expected = 100 * (before - after) / before
    if given is None or abs(given - expected) > 200 * TOLERANCE / before:
        yield f"{name}: found {given}, expected {expected:.2f} (WER {before:g} -> {after:g})"
