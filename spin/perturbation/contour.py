"""Reading a pitch contour between its frames."""

from __future__ import annotations

import math

from numba import njit


@njit(nogil=True, cache=True)
def frequency_at(contour, origin, step, time):
    """Linear between voiced frames; the frame's value within half a step of one whose neighbour is unvoiced; else 0.

    `contour` is 0 where unvoiced; origin (time of the first frame), step and time share one unit.
    """
    frames = len(contour)
    place = (time - origin) / step
    lower = math.floor(place)
    fraction = place - lower
    left = contour[lower] if 0 <= lower < frames else 0.0
    right = contour[lower + 1] if 0 <= lower + 1 < frames else 0.0
    if left > 0.0 and right > 0.0:
        return left + fraction * (right - left)
    return left if fraction < 0.5 else right
