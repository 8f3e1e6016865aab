"""A random ten-band equaliser: low shelf, eight peaking filters and high shelf, as a compiled cascade of biquads.

Filter formulas: R. Bristow-Johnson, "Cookbook formulae for audio equalizer biquad filter coefficients".
"""

import numpy as np
from numba import njit

BANDS = 10
LOWEST_IN_HZ, HIGHEST_IN_HZ = 60.0, 7600.0
NYQUIST_SHARE = 0.95  # at low rates the highest band comes down to this share of the Nyquist frequency


def centre_frequencies(sample_rate: float) -> np.ndarray:
    """(BANDS,) Hz, spaced by a constant ratio."""
    highest = min(HIGHEST_IN_HZ, NYQUIST_SHARE * 0.5 * sample_rate)
    return np.geomspace(min(LOWEST_IN_HZ, 0.5 * highest), highest, BANDS)


def design(sample_rate: float, gains_in_db, qualities) -> np.ndarray:
    """(BANDS, 6) float64 sections for a gain and a Q of each band: b0 b1 b2 1 a1 a2, the layout of scipy.signal.sosfilt."""
    omega = 2.0 * np.pi * centre_frequencies(sample_rate) / sample_rate
    cosine, alpha = np.cos(omega), np.sin(omega) / (2.0 * np.asarray(qualities, dtype=np.float64))
    amplitude = 10.0 ** (np.asarray(gains_in_db, dtype=np.float64) / 40.0)
    boost, cut = alpha * amplitude, alpha / amplitude
    sections = np.stack([1.0 + boost, -2.0 * cosine, 1.0 - boost, 1.0 + cut, -2.0 * cosine, 1.0 - cut], axis=1)  # all peaking
    for band, kind in ((0, -1.0), (BANDS - 1, 1.0)):
        sections[band] = _shelf(kind, cosine[band], alpha[band], amplitude[band])
    return sections / sections[:, 3:4]


def _shelf(kind: float, cosine: float, alpha: float, amplitude: float) -> tuple[float, ...]:
    """b0 b1 b2 a0 a1 a2; kind -1 is a low shelf, 1 a high shelf."""
    more, less, bend = amplitude + 1.0, amplitude - 1.0, 2.0 * np.sqrt(amplitude) * alpha
    return (
        amplitude * (more + kind * less * cosine + bend),
        -2.0 * kind * amplitude * (less + kind * more * cosine),
        amplitude * (more + kind * less * cosine - bend),
        more - kind * less * cosine + bend,
        2.0 * kind * (less - kind * more * cosine),
        more - kind * less * cosine - bend,
    )


def equalise(waveform: np.ndarray, sections: np.ndarray) -> np.ndarray:
    """Runs (samples,) float32 through the sections of design(), states in double precision; within 1e-4 of sosfilt."""
    result = np.array(waveform, dtype=np.float32)
    _cascade(result, np.ascontiguousarray(sections, dtype=np.float64))
    return result


@njit(nogil=True, cache=True, fastmath={"contract"})
def _cascade(wave, sections):
    """In place, five sections at a time: their recursions interleave in the pipeline, their states stay in registers."""
    for first in range(0, len(sections), 5):
        s = sections[first : first + 5]
        b00, b01, b02, a01, a02 = s[0, 0], s[0, 1], s[0, 2], s[0, 4], s[0, 5]
        b10, b11, b12, a11, a12 = s[1, 0], s[1, 1], s[1, 2], s[1, 4], s[1, 5]
        b20, b21, b22, a21, a22 = s[2, 0], s[2, 1], s[2, 2], s[2, 4], s[2, 5]
        b30, b31, b32, a31, a32 = s[3, 0], s[3, 1], s[3, 2], s[3, 4], s[3, 5]
        b40, b41, b42, a41, a42 = s[4, 0], s[4, 1], s[4, 2], s[4, 4], s[4, 5]
        p0 = q0 = p1 = q1 = p2 = q2 = p3 = q3 = p4 = q4 = 0.0
        for i in range(len(wave)):
            x = float(wave[i]) + 1e-30  # inaudible; keeps the states out of the slow denormal numbers in digital silence
            y = b00 * x + p0
            p0, q0 = b01 * x - a01 * y + q0, b02 * x - a02 * y
            x = b10 * y + p1
            p1, q1 = b11 * y - a11 * x + q1, b12 * y - a12 * x
            y = b20 * x + p2
            p2, q2 = b21 * x - a21 * y + q2, b22 * x - a22 * y
            x = b30 * y + p3
            p3, q3 = b31 * y - a31 * x + q3, b32 * y - a32 * x
            y = b40 * x + p4
            p4, q4 = b41 * x - a41 * y + q4, b42 * x - a42 * y
            wave[i] = y
