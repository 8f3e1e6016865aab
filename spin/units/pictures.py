"""Pictures for TensorBoard: units by phones, and a few utterances with their phones and units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from spin import artifacts
from spin.units.phones import phone_class


def order_units(counts: np.ndarray) -> np.ndarray:
    """Units (K,) sorted by their main phone's row, then by how sure they are of it; unused units last.

    Args:
        counts: (P, K) frames.
    """
    total = counts.sum(0)
    main = counts.argmax(0) if len(counts) else np.zeros(counts.shape[1], int)
    sure = counts.max(0, initial=0) / np.maximum(total, 1)
    return np.lexsort((np.arange(len(total)), -sure, main, total == 0))


def units_by_phones(phones: Sequence[str], counts: np.ndarray, title: str) -> Figure:
    """P(phone | unit): a row a phone by class, a column a unit, darker the surer.

    Args:
        phones: P symbols in the order of rows.
        counts: (P, K) frames.
    """
    shares = counts / np.maximum(counts.sum(0, keepdims=True), 1)
    figure = Figure(figsize=(11, 0.17 * len(phones) + 1.5), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares[:, order_units(counts)], aspect="auto", cmap="Greys", vmin=0, vmax=1, interpolation="nearest")
    axes.set_yticks(range(len(phones)), phones, fontsize=7)
    for row in range(1, len(phones)):
        if phone_class(phones[row]) != phone_class(phones[row - 1]):
            axes.axhline(row - 0.5, color="tab:blue", linewidth=0.6)
    axes.set_xlabel("units, by their main phone; unused units on the right")
    axes.set_title(title)
    figure.colorbar(image, label="P(phone | unit)")
    return figure


def utterance_picture(audio: np.ndarray, alignment: Sequence, units: dict[str, np.ndarray], title: str) -> Figure:
    """Spectrogram, phones under it, and each system's units under them.

    Args:
        audio: (S,) at 16 kHz.
        alignment: phone items in seconds, may be empty.
        units: system -> (T,) units of 20 ms.
    """
    duration = len(audio) / artifacts.SAMPLE_RATE
    figure = Figure(figsize=(max(8.0, 2.4 * duration), 4.0 + 0.5 * len(units)), layout="constrained")
    rows = figure.subplots(2 + len(units), 1, sharex=True, height_ratios=[6, 1] + [1] * len(units))
    rows[0].imshow(_log_spectrogram(audio), origin="lower", aspect="auto", cmap="magma", extent=(0, duration, 0, 8))
    rows[0].set(ylabel="kHz", title=title, xlim=(0, duration))
    _strip(rows[1], "phones", [(item.start, item.start + item.duration, item.symbol) for item in alignment])
    for axes, (system, sequence) in zip(rows[2:], units.items(), strict=True):
        _strip(axes, system, _runs(sequence))
    rows[-1].set_xlabel("seconds")
    return figure


def _runs(sequence: np.ndarray) -> list[tuple[float, float, str]]:
    borders = [0, *(np.flatnonzero(np.diff(sequence)) + 1).tolist(), len(sequence)]
    shift = artifacts.FRAME_SHIFT_IN_S
    return [(a * shift, b * shift, str(sequence[a])) for a, b in zip(borders, borders[1:]) if b > a]


def _strip(axes, name: str, spans: list[tuple[float, float, str]]) -> None:
    for index, (start, stop, label) in enumerate(spans):
        axes.axvspan(start, stop, color=("0.82", "0.93")[index % 2], linewidth=0)
        axes.text((start + stop) / 2, 0.5, label, ha="center", va="center", fontsize=6, rotation=90 if len(label) > 2 else 0)
    axes.set(yticks=[], ylim=(0, 1))
    axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)


def _log_spectrogram(audio: np.ndarray, window: int = 400, shift: int = 160) -> np.ndarray:
    """(257, frames) dB, floored 70 dB below the maximum."""
    audio = np.pad(np.asarray(audio, dtype=np.float64), (0, max(0, window - len(audio))))
    frames = np.lib.stride_tricks.sliding_window_view(audio, window)[::shift] * np.hanning(window)
    power = 10 * np.log10(np.abs(np.fft.rfft(frames, 512)).T ** 2 + 1e-10)
    return np.maximum(power, power.max() - 70)
