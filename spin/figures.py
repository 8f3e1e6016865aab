"""Style, colours and the spectrogram that all figures share, on TensorBoard and in the report."""

import matplotlib
import numpy as np
from matplotlib.colors import to_rgb

from spin import artifacts

# Colours of the light scheme. The report's page replaces each by the CSS variable of that name, so one drawing fits both schemes.
COLOURS = {"ink": "#1d2530", "muted": "#5d6874", "grid": "#dde2e8"}
SYSTEM_COLOURS = ("#8b95a1", "#1769c2", "#b4731c", "#7b52ab", "#15806b", "#bf3f6f", "#6b7a1e", "#8c5a41")  # baseline first
BRIGHT = "#2f7de1"  # reads on white and on black; its opacity carries a number
STYLE = {
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "svg.fonttype": "none",  # text stays text: small, readable aloud, and in the page's own face
    "axes.axisbelow": True,
    "grid.color": COLOURS["grid"],
    "text.color": COLOURS["ink"],
    "savefig.pad_inches": 0.06,
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), COLOURS["muted"]),
    **dict.fromkeys(("axes.linewidth", "grid.linewidth"), 0.8),
    **dict.fromkeys(("font.size", "axes.labelsize"), 10.0),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize", "legend.fontsize"), 9.0),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor"), "none"),
}
BANDS, RANGE_IN_DB, SHADES = 64, 60.0, 24  # shades: levels of opacity, few of which make a small file
WINDOW, SHIFT, POINTS = 400, 160, 512  # samples


def style():
    """The context in which a figure is made and written."""
    return matplotlib.rc_context(STYLE)


def system_colour(index: int) -> str:
    """Colour of the system at that place of the list of systems; the baseline is grey."""
    return SYSTEM_COLOURS[0 if index == 0 else 1 + (index - 1) % (len(SYSTEM_COLOURS) - 1)]


def spectrogram(audio: np.ndarray) -> np.ndarray:
    """(S,) audio at 16 kHz -> (BANDS, frames of 10 ms) power in dB, lowest band first, up to 8 kHz.

    It is scaled so that 1 is the loudest and 0 lies RANGE_IN_DB below it.
    """
    audio = np.pad(np.asarray(audio, dtype=np.float64), (0, max(0, WINDOW - len(audio))))
    frames = np.lib.stride_tricks.sliding_window_view(audio, WINDOW)[::SHIFT] * np.hanning(WINDOW)
    power = np.abs(np.fft.rfft(frames, POINTS)[:, 1:]) ** 2
    level = 10 * np.log10(power.reshape(len(power), BANDS, -1).sum(2).T + 1e-12)
    return np.clip((level - level.max()) / RANGE_IN_DB + 1, 0, 1)


def tint(opacity: np.ndarray) -> np.ndarray:
    """(H, W) opacities, 0 to 1 -> (H, W, 4) image in BRIGHT."""
    image = np.zeros((*opacity.shape, 4))
    image[..., :3] = to_rgb(BRIGHT)
    image[..., 3] = opacity
    return image


def plot_spectrogram(axes, audio: np.ndarray) -> None:
    """The spectrogram of `audio` (S,) on matplotlib axes, in kHz over seconds."""
    levels = spectrogram(audio)
    image = tint(np.round(levels * SHADES) / SHADES)
    extent = (0, levels.shape[1] * SHIFT / artifacts.SAMPLE_RATE, 0, artifacts.SAMPLE_RATE / 2000)
    axes.imshow(image, origin="lower", aspect="auto", interpolation="none", extent=extent)
    axes.set(ylabel="kHz", xlim=(0, len(audio) / artifacts.SAMPLE_RATE))
    axes.tick_params(bottom=False)
