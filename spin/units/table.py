"""Rows of the table over layers, K and seeds, and how they are written: JSON, Markdown."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from spin.units.table_cells import Cell

# key -> (title, decimals); shown where any row has it
COLUMNS = {
    "pnmi": ("PNMI", 3),
    "phone_purity": ("phone purity", 3),
    "cluster_purity": ("cluster purity", 3),
    "abx_units_within": ("ABX units within %", 2),
    "abx_units_across": ("ABX units across %", 2),
    "abx_features_within": ("ABX features within %", 2),
    "abx_features_across": ("ABX features across %", 2),
    "border_r_value": ("R-value", 3),
    "border_f1": ("border F1", 3),
    "bitrate": ("bit/s", 1),
    "perplexity": ("perplexity", 1),
    "dead_codes": ("dead codes", 1),
    "speaker_nmi": ("speaker NMI", 4),
    "speaker_accuracy": ("speaker from units", 3),
    "speaker_accuracy_of_features": ("speaker from features", 3),
}
NOT_MEASURED = "\u2014"


@dataclass(frozen=True)
class Wanted:
    """A cell under the name that the table gives its system, and the digest of the layer whose own figures stand beside it."""

    system: str
    cell: Cell
    features: str | None


def rows(wanted: list[Wanted], layers: dict[str, dict]) -> list[dict]:
    """One row for each (system, layer, K), in the order of `wanted`.

    Args:
        wanted: measured cells; those of one row differ in their seeds (or, for codebooks, in their models).
        layers: digest of a layer -> its figures.

    Returns:
        {"system", "layer", "K", "seeds": [..], "figures": {key: {"mean", "sd", "values"}}}; sd is the sample standard deviation
        over seeds, None for a single one; a value that could not be measured is None and makes mean and sd None.
    """
    groups: dict[tuple, list[Wanted]] = {}
    for entry in wanted:
        groups.setdefault((entry.system, entry.cell.layer, entry.cell.clusters), []).append(entry)
    found = []
    for (system, layer, clusters), entries in groups.items():
        measured = [entry.cell.figures() | layers.get(entry.features, {}) for entry in entries]
        keys = [key for key in measured[0] if key != "K"]
        figures = {key: spread([values.get(key) for values in measured]) for key in keys}
        row = {
            "system": system,
            "layer": layer,
            "K": clusters,
            "seeds": [entry.cell.seed for entry in entries],
            "figures": figures,
        }
        found.append(row)
    return found


def spread(values: list[float | None]) -> dict:
    """{"mean", "sd", "values"}; see rows."""
    if any(value is None for value in values):
        return {"mean": None, "sd": None, "values": values}
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "values": values}


def markdown(found: list[dict]) -> str:
    """A table of all rows, mean and, after +-, standard deviation over seeds, without columns that no row has."""
    columns = {key: column for key, column in COLUMNS.items() if any(key in row["figures"] for row in found)}
    lines = [["system", "layer", "K", "seeds", *(title for title, _ in columns.values())]]
    lines.append(["---", *["---:"] * (len(lines[0]) - 1)])
    for row in found:
        shown = [_shown(row["figures"].get(key), decimals) for key, (_, decimals) in columns.items()]
        lines.append([row["system"], str(row["layer"]), str(row["K"]), str(len(row["seeds"])), *shown])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _shown(figure: dict | None, decimals: int) -> str:
    if figure is None or figure["mean"] is None:
        return NOT_MEASURED
    text = f"{figure['mean']:.{decimals}f}"
    return text if figure["sd"] is None else f"{text} \u00b1 {figure['sd']:.{decimals}f}"
