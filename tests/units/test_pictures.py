"""Pictures: the order of units, and figures that can be drawn whatever the input."""

from __future__ import annotations

import numpy as np
import pytest
from lhotse.supervision import AlignmentItem
from matplotlib.backends.backend_agg import FigureCanvasAgg

from spin.units.pictures import order_units, units_by_phones, utterance_picture


def test_units_are_sorted_by_main_phone_then_by_certainty_unused_last():
    counts = np.array([[0, 1, 0, 8, 4], [5, 0, 0, 1, 1]])
    assert order_units(counts).tolist() == [1, 3, 4, 0, 2]


@pytest.mark.parametrize("shape", [(1, 1), (40, 200)])
def test_matrix_is_drawn(shape):
    counts = np.random.default_rng(0).integers(0, 3, shape)
    figure = units_by_phones([f"P{i}" for i in range(shape[0])], counts, "title")
    FigureCanvasAgg(figure).draw()


@pytest.mark.parametrize("samples", [100, 16_000])
def test_utterance_is_drawn(samples):
    items = [AlignmentItem("AH", 0.1, 0.2), AlignmentItem("S", 0.3, 0.1)] if samples > 400 else []
    units = {"baseline": np.array([1, 1, 2, 2, 2, 100]), "spin": np.zeros(0, np.int32)}
    figure = utterance_picture(np.random.default_rng(0).normal(size=samples), items, units, "u: WORDS")
    FigureCanvasAgg(figure).draw()
    strips = figure.axes[2:]
    assert [text.get_text() for text in strips[0].texts] == ["1", "2", "100"] and not strips[1].texts
