"""Numbers, changes, p-values and names as a report writes them."""

from __future__ import annotations

import math

NOT_MEASURED = "not measured"
SPACE = "\u00a0"  # keeps a figure and its unit on one line
MINUS, DASH = "\u2212", "\u2014"
SIGNIFICANT = 0.05  # the usual level of a test; the page names it
OBJECTIVE_TITLES = {"spin": "Spin", "rspin": "R-Spin", "dcspin": "DC-Spin-style"}


def number(value: float | None, digits: int, unit: str = "") -> str:
    """-1.234 with two digits -> '−1.23'; None -> 'not measured'; what rounds to zero has no sign."""
    if value is None:
        return NOT_MEASURED
    text = f"{abs(value):.{digits}f}"
    sign = MINUS if value < 0 and float(text) != 0 else ""
    return sign + text + (SPACE + unit if unit else "")


def signed(value: float | None, digits: int = 1, unit: str = "%") -> str:
    """A change with its sign: '+3.1 %', '−12.4 %', '0.0 %'; a dash for None."""
    if value is None:
        return DASH
    text = number(value, digits, unit)
    return "+" + text if value > 0 and float(f"{value:.{digits}f}") != 0 else text


def p_value(value: float | None) -> str:
    """'p = 0.031', 'p < 0.001' or 'p not measured'."""
    if value is None:
        return f"p {NOT_MEASURED}"
    text = "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
    return text.replace(" ", SPACE)


def duration(seconds: float | None) -> str:
    """'4.1 s', '41 s', '3 min 05 s' or '2 h 03 min'."""
    if seconds is None:
        return NOT_MEASURED
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f}{SPACE}s" if seconds < 10 else f"{whole}{SPACE}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{SPACE}min {rest:02d}{SPACE}s"
    return f"{minutes // 60}{SPACE}h {minutes % 60:02d}{SPACE}min"


def relative_change(baseline: float | None, other: float | None) -> float | None:
    """Change from baseline to other in percent of the baseline, negative where it falls.

    None where it means nothing: a figure is missing, or the baseline is not above zero, as an R-value may be.
    """
    if baseline is None or other is None or not baseline > 0 or not math.isfinite(baseline) or not math.isfinite(other):
        return None
    return 100.0 * (other - baseline) / baseline


def system_titles(report: dict) -> dict[str, str]:
    """Name -> title of each system; the trained one is called by its objective."""
    objective = (report.get("config") or {}).get("objective", "spin")
    known = {"spin": OBJECTIVE_TITLES.get(objective, objective), "fbank": "filterbank"}
    return {name: known.get(name, name.replace("_", " ")) for name in report["systems"]}
