"""What a report.json of schema 1 must hold: a rule a key, each giving what is wrong in words."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from spin import artifacts

Rule = Callable[[object], "str | None"]  # a value -> what was expected, or None when the value is right

SECONDS = re.compile(r"stage[0-9]+")
COMMIT = re.compile(r"(unknown|[0-9a-f]{7,40}(-dirty)?)")
TOLERANCE = 0.05  # between a rate and the counts it was made from, in per cent points: rates may be rounded


def text(value) -> str | None:
    return None if isinstance(value, str) and value.strip() else "a text that is not empty"


def commit(value) -> str | None:
    return None if isinstance(value, str) and COMMIT.fullmatch(value) else "a git commit, perhaps with -dirty, or 'unknown'"


def schema_number(value) -> str | None:
    return None if value == 1 and type(value) is int else "1"


def seeds(value) -> str | None:
    right = isinstance(value, list) and value and all(type(item) is int for item in value) and len(set(value)) == len(value)
    return None if right else "a list of different whole numbers, at least one"


def real(low: float = -math.inf, high: float = math.inf, null: bool = False) -> Rule:
    """A finite number from low to high; None too where null is true."""

    def rule(value) -> str | None:
        if value is None and null:
            return None
        if type(value) in (int, float) and math.isfinite(value) and low <= value <= high:
            return None
        if math.isfinite(low) and math.isfinite(high):
            span = f"a number from {low:g} to {high:g}"
        else:
            span = (
                f"a number of {low:g} or more"
                if math.isfinite(low)
                else f"a number of {high:g} or less"
                if math.isfinite(high)
                else "a number"
            )
        return span + (" or null" if null else "")

    return rule


def whole(low: int) -> Rule:
    def rule(value) -> str | None:
        return None if type(value) is int and value >= low else f"a whole number of {low} or more"

    return rule


def interval(value) -> str | None:
    right = isinstance(value, list) and len(value) == 2 and not any(map(real(0.0), value)) and value[0] <= value[1]
    return None if right else "two numbers, the lower one first"


TOP: dict[str, Rule] = {
    "schema": schema_number,
    "name": text,
    "commit": commit,
    "command": text,
    "device": text,
    "k2": text,
    "torch": text,
    "seeds": seeds,
}
SHARE, PERCENT = real(0.0, 1.0, null=True), real(0.0, 100.0, null=True)
UNITS: dict[str, Rule] = {
    "K": whole(2),
    "pnmi": SHARE,
    "phone_purity": SHARE,
    "cluster_purity": SHARE,
    "abx_within": PERCENT,
    "abx_across": PERCENT,
    "bitrate": real(0.0, null=True),
}
UNITS_MORE: dict[str, Rule] = {"perplexity": real(0.0, null=True)}  # may be there
ACCURACY: dict[str, Rule] = {"accuracy": SHARE}
RESULT: dict[str, Rule] = {"wer": real(0.0), "cer": real(0.0), "ci95": interval, "words": whole(1), "errors": real(0.0)}
GAIN: dict[str, Rule] = {"relative_wer_reduction": real(high=100.0, null=True), "p_value": SHARE}


def problems(report) -> list[str]:
    """Everything that is wrong with a report, each line naming the key; empty when it fits schema 1."""
    if not isinstance(report, dict):
        return ["report: found " + shown(report) + ", expected an object"]
    found = _keys(report, TOP, "")
    for section, check in (("seconds", _seconds), ("units", _units), ("speaker", _speaker), ("asr", _asr)):
        if isinstance(report.get(section), dict):
            found += check(report[section])
        else:
            found.append(_line(section, report, section, "an object"))
    if not isinstance(report.get("gain"), dict):
        found.append(_line("gain", report, "gain", "an object"))
    elif not found:  # the comparison below rests on sound results
        found += _gain(report["gain"], report["asr"])
    return found


def shown(value) -> str:
    """A value in a message, cut to a readable length."""
    words = repr(value)
    return words if len(words) <= 60 else words[:57] + "..."


def _line(key: str, holder: dict, name: str, expected: str) -> str:
    return f"{key}: " + (f"found {shown(holder[name])}" if name in holder else "missing") + f", expected {expected}"


def _keys(holder: dict, rules: dict[str, Rule], prefix: str, optional: bool = False) -> list[str]:
    found = []
    for name, rule in rules.items():
        if name not in holder and optional:
            continue
        expected = rule(holder.get(name))
        if name not in holder or expected is not None:
            found.append(_line(prefix + name, holder, name, expected or "to be there"))
    return found


def _objects(holder: dict, names, prefix: str) -> tuple[list[str], list[str]]:
    """(names that hold objects, messages about those that do not)."""
    good = [name for name in names if isinstance(holder.get(name), dict)]
    return good, [_line(prefix + name, holder, name, "an object") for name in names if name not in good]


def _seconds(seconds: dict) -> list[str]:
    rule = real(0.0)
    found = [
        _line(f"seconds.{name}", seconds, name, "a key such as stage3") for name in seconds if not SECONDS.fullmatch(str(name))
    ]
    return found + [
        _line(f"seconds.{name}", seconds, name, rule(value)) for name, value in seconds.items() if rule(value) is not None
    ]


def _units(units: dict) -> list[str]:
    names, found = _objects(units, [*artifacts.SYSTEMS, *sorted(set(units) - set(artifacts.SYSTEMS))], "units.")
    for name in names:
        found += _keys(units[name], UNITS, f"units.{name}.") + _keys(units[name], UNITS_MORE, f"units.{name}.", optional=True)
    return found


def _speaker(speaker: dict) -> list[str]:
    names, found = _objects(speaker, artifacts.SYSTEMS, "speaker.")
    for name in names:
        found += _keys(speaker[name], ACCURACY, f"speaker.{name}.")
    return found + _keys(speaker, {"chance": SHARE}, "speaker.")


def _asr(asr: dict) -> list[str]:
    systems, found = _objects(asr, [*artifacts.SYSTEMS, *sorted(set(asr) - set(artifacts.SYSTEMS))], "asr.")
    layouts = {}
    for system in systems:
        layouts[system] = set()
        parts, wrong = _objects(asr[system], list(asr[system]), f"asr.{system}.")
        found += wrong
        for part in parts:
            methods, wrong = _objects(asr[system][part], list(asr[system][part]), f"asr.{system}.{part}.")
            found += wrong
            layouts[system] |= {(part, method) for method in methods}
            for method in methods:
                found += _result(asr[system][part][method], f"asr.{system}.{part}.{method}.")
    first, second = (layouts.get(system, set()) for system in artifacts.SYSTEMS)
    for part, method in sorted(first ^ second):
        system = artifacts.SYSTEMS[0 if (part, method) in second else 1]
        found.append(f"asr.{system}.{part}.{method}: missing, but the other system has it")
    if not first and not found:
        found.append(f"asr.{artifacts.SYSTEMS[0]}: no part was decoded, expected at least one")
    return found


def _result(result: dict, prefix: str) -> list[str]:
    found = _keys(result, RESULT, prefix)
    if not found and abs(result["wer"] - 100 * result["errors"] / result["words"]) > TOLERANCE:
        rate = 100 * result["errors"] / result["words"]
        found.append(
            f"{prefix}wer: found {result['wer']:g}, expected {rate:.2f} ({result['errors']:g} errors in {result['words']} words)"
        )
    return found


def _gain(gain: dict, asr: dict) -> list[str]:
    found = []
    baseline, spin = (asr[system] for system in artifacts.SYSTEMS)
    for part, methods in baseline.items():
        for method, result in methods.items():
            name = f"gain.{part}.{method}"
            entry = gain.get(part, {}).get(method) if isinstance(gain.get(part), dict) else None
            if not isinstance(entry, dict):
                found.append(f"{name}: missing, expected relative_wer_reduction and p_value")
                continue
            wrong = _keys(entry, GAIN, f"{name}.")
            found += wrong or _reduction(entry["relative_wer_reduction"], result["wer"], spin[part][method]["wer"], name)
    return found


def _reduction(given: float | None, before: float, after: float, name: str) -> list[str]:
    """The reduction must be (before - after) / before in per cent; where before is 0 it says nothing, and may be null or 0."""
    if before == 0:
        return [] if not given else [f"{name}.relative_wer_reduction: found {given:g}, expected 0: the baseline makes no error"]
    expected = 100 * (before - after) / before
    slack = 200 * TOLERANCE / before
    if given is None or abs(given - expected) > slack:
        return [f"{name}.relative_wer_reduction: found {given}, expected {expected:.2f} (WER {before:g} -> {after:g})"]
    return []
