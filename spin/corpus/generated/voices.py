"""Generated speakers: an eSpeak NG voice variant each (vocal tract, pitch, roughness), an accent, a channel and a noise level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spin.runtime.seeding import generator

# Accents of English that the engine carries; all share one grammar and one dictionary of spellings.
# "en" is the engine's British English: it takes no variant under the name en-gb.
ACCENTS = ("en-us", "en", "en-gb-x-rp", "en-gb-scotland", "en-029", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-us-nyc")
TRACT_SCALE = (0.84, 1.28)  # formant frequencies relative to the engine's adult male; short tracts are above 1
CHANNEL_BANDS_IN_HZ = (120.0, 500.0, 1800.0, 5000.0)


@dataclass(frozen=True)
class Voice:
    """One speaker. `variant` is the text of the engine's variant file; the rest is applied to the waveform."""

    speaker: str
    gender: str
    accent: str
    variant: str
    rate_in_words_per_minute: int
    channel_gains_in_db: tuple[float, ...]
    snr_in_db: float
    noise_tilt: float  # exponent of the noise spectrum: 0 white, 1 pink
    level: float  # root mean square of speech


def speaker_name(index: int) -> str:
    return f"g{index:04d}"


def draw_voice(seed: int, index: int) -> Voice:
    """The speaker of this number; the same for a (seed, index) on every machine, whatever other speakers there are."""
    random = generator("generated voice", seed, index)
    tract = float(random.uniform(*TRACT_SCALE))
    # Short vocal tracts go with high voices in people; the spread keeps the two from naming each other.
    middle = 105.0 * (tract / TRACT_SCALE[0]) ** 2.1
    low = float(np.clip(middle * np.exp(random.normal(0.0, 0.16)), 65.0, 280.0))
    high = low * float(random.uniform(1.25, 1.9))
    lines = ["language variant", f"name {speaker_name(index)}", f"pitch {low:.0f} {high:.0f}"]
    for formant in range(9):
        frequency = 100.0 * tract * random.uniform(0.94, 1.06)
        strength, width = 100.0 * random.uniform(0.75, 1.2), 100.0 * random.uniform(0.8, 1.4)
        lines.append(f"formant {formant} {frequency:.0f} {strength:.0f} {width:.0f}")
    lines += [f"flutter {random.integers(0, 8)}", f"roughness {random.integers(0, 5)}", f"intonation {random.integers(1, 5)}"]
    lines += [f"voicing {random.integers(70, 121)}", f"consonants {random.integers(70, 121)} {random.integers(70, 121)}"]
    if random.random() < 0.4:
        lines.append("breath " + " ".join(str(random.integers(0, 5)) for _ in range(8)))
    if random.random() < 0.25:
        lines.append(f"klatt {random.integers(1, 4)}")
    lines.append("stressAdd " + " ".join(str(random.integers(-20, 41)) for _ in range(8)))
    return Voice(
        speaker=speaker_name(index),
        gender="F" if tract > 1.06 else "M",
        accent=ACCENTS[int(random.integers(len(ACCENTS)))],
        variant="\n".join(lines) + "\n",
        rate_in_words_per_minute=int(random.integers(140, 191)),
        channel_gains_in_db=tuple(float(gain) for gain in random.uniform(-6.0, 6.0, len(CHANNEL_BANDS_IN_HZ))),
        snr_in_db=float(random.uniform(22.0, 40.0)),
        noise_tilt=float(random.uniform(0.0, 1.0)),
        level=float(random.uniform(0.03, 0.08)),
    )
