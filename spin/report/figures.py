"""The report's charts: error rates with their intervals, quality of units, training curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure

from spin.report import metrics, tables
from spin.report.metrics import SPEAKER_METRIC, UNIT_METRICS, WER
from spin.report.pictures import COLOURS, Picture, colour, style

BAR = 0.34  # of the distance between two groups
SMALL = (4.4, 2.9)  # inches


def error_bars(report: dict) -> Picture | None:
    """Error rates of the systems with 95 % intervals, one group a part and method; None without results."""
    names = [system for system in tables.systems(report) if system in report["asr"]]
    groups = [(part, method) for part, methods in report["asr"].get("baseline", {}).items() for method in methods]
    if not groups:
        return None
    kinds = sorted({_tested(report, part, method).title for part, method in groups}, reverse=True)
    title = kinds[0] if len(kinds) == 1 else "error rate"
    with style():
        figure = Figure(figsize=(5.8, 0.7 + (0.36 * len(names) + 0.32) * len(groups)), layout="tight")
        axes = figure.add_subplot()
        height, highest = 0.8 / len(names), 0.0
        for column, system in enumerate(names):
            for row, (part, method) in enumerate(groups):
                result = report["asr"][system].get(part, {}).get(method)
                if result is not None:
                    place = row + (column - (len(names) - 1) / 2) * height
                    highest = max(highest, _error_bar(axes, place, height, system, result))
        labels = [f"{part}\n{_measure(report, part, method, kinds)}{metrics.method_title(method)}" for part, method in groups]
        axes.set_yticks(range(len(groups)), labels)
        axes.invert_yaxis()
        axes.set_xlim(0, max(1.0, highest * 1.16))
        axes.grid(axis="x")
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"{title}, %")
        _legend(axes, names)
    alt = "; ".join(_spoken(report, part, method, names, kinds) for part, method in groups)
    caption = (
        "Look whether Spin's bar ends left of the baseline's. The thin lines are 95\u00a0% intervals of each system by itself; "
        "the paired test in the table compares both on the same sentences and is the sharper judge."
    )
    return Picture("wer", f"{title.capitalize()}s", f"Bar chart of {title}s. {alt}.", caption, figure)


def _tested(report: dict, part: str, method: str) -> metrics.Metric:
    return metrics.recognition_metrics(*(methods.get(part, {}).get(method) for methods in report["asr"].values()))[0]


def _measure(report: dict, part: str, method: str, kinds: Sequence[str]) -> str:
    """'PER, ' where a chart has phones beside words; nothing where all its bars are of one kind."""
    return f"{metrics.initials(_tested(report, part, method))}, " if len(kinds) > 1 else ""


def _error_bar(axes, place: float, height: float, system: str, result: dict) -> float:
    wer, (low, high) = result["wer"], result["ci95"]
    axes.barh(place, wer, height * 0.92, color=colour(system), label=system)
    spread = [[max(0.0, wer - low)], [max(0.0, high - wer)]]
    axes.errorbar(wer, place, xerr=spread, color=COLOURS["ink"], elinewidth=1.1, capsize=2.5, capthick=1.1)
    axes.annotate(metrics.number(wer, 1), (max(high, wer), place), (5, 0), textcoords="offset points", va="center", fontsize=9.5)
    return max(high, wer)


def _spoken(report: dict, part: str, method: str, names: Sequence[str], kinds: Sequence[str]) -> str:
    results = [(name, report["asr"][name].get(part, {}).get(method)) for name in names]
    figures = ", ".join(
        f"{metrics.system_title(name)} {WER.show(result['wer'])}" for name, result in results if result is not None
    )
    return f"{part}, {_measure(report, part, method, kinds)}{metrics.method_title(method)}: {figures}"


def unit_bars(report: dict) -> list[Picture]:
    """Quality of units: what should rise (ratios) and what should fall (ABX errors); a picture without any figure is left out."""
    names = [system for system in tables.systems(report) if system in report["units"]]
    by_key = {metric.key: metric for metric in UNIT_METRICS}
    rising = [by_key[key] for key in ("pnmi", "phone_purity", "cluster_purity")]
    falling = [by_key[key] for key in ("abx_within", "abx_across")]

    def unit_value(system: str, key: str):
        if key == SPEAKER_METRIC.key:
            return (report["speaker"].get(system) or {}).get(key)
        return report["units"][system].get(key)

    ratios = _grouped_bars([*rising, SPEAKER_METRIC], names, unit_value, "ratio", "{:.3f}")
    errors = _grouped_bars(falling, names, unit_value, "ABX error, %", "{:.1f}")
    captions = (
        "PNMI and phone purity should rise with Spin. Cluster purity may fall when a phone spreads over more units. How well the "
        "speaker is recognised shows what is left of the voice; it is no target.",
        "Both should fall; across speakers falls most when units have become free of the voice.",
    )
    made = []
    for name, title, picture, caption in zip(("units", "abx"), ("Units and phones", "ABX errors"), (ratios, errors), captions):
        if picture is not None:
            figure, alt = picture
            made.append(Picture(name, title, f"Bar chart. {alt}.", caption, figure))
    return made


def _grouped_bars(wanted, names: Sequence[str], value: Callable, label: str, form: str) -> tuple[Figure, str] | None:
    shown = [metric for metric in wanted if any(value(name, metric.key) is not None for name in names)]
    if not shown:
        return None
    with style():
        figure = Figure(figsize=(5.2, 0.7 + (0.3 * len(names) + 0.26) * len(shown)), layout="tight")
        axes = figure.add_subplot()
        height, highest, words = 0.76 / len(names), 0.0, []
        for row, metric in enumerate(shown):
            for column, name in enumerate(names):
                figure_of = value(name, metric.key)
                place = row + (column - (len(names) - 1) / 2) * height
                axes.barh(place, figure_of or 0.0, height * 0.9, color=colour(name), label=name)
                text = metrics.NOT_MEASURED if figure_of is None else form.format(figure_of)
                axes.annotate(text, (figure_of or 0.0, place), (4, 0), textcoords="offset points", va="center", fontsize=9)
                highest = max(highest, figure_of or 0.0)
                words.append(f"{metric.title}, {metrics.system_title(name)}: {metric.show(figure_of)}")
        axes.set_yticks(range(len(shown)), [metric.title for metric in shown])
        axes.invert_yaxis()
        axes.set_xlim(0, max(highest, 1e-3) * 1.22)
        axes.grid(axis="x")
        axes.tick_params(length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(label)
        _legend(axes, names)
    return figure, "; ".join(words)


def _legend(axes, names: Sequence[str]) -> None:
    handles, labels = axes.get_legend_handles_labels()
    first = {label: handle for handle, label in reversed(list(zip(handles, labels)))}
    axes.legend(
        [first[name] for name in names if name in first],
        [metrics.system_title(name) for name in names if name in first],
        loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=len(names), borderaxespad=0.1, handlelength=1.1, columnspacing=1.4,
    )  # fmt: skip
