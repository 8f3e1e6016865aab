"""Log-mel filterbanks, a system without an encoder: the first rung of the ladder.

80 energies every 10 ms (lhotse's Fbank, Kaldi's settings, no dither), two neighbours joined. So there are as many frames as an
encoder has, and every recogniser learns from the same utterances.
"""

from __future__ import annotations

import numpy as np

from spin import artifacts

MEL_BINS = 80
JOINED = 2  # frames of 10 ms per frame of an encoder
RECEPTIVE_FIELD = 400  # samples of one encoder frame, which decide the number of frames


class Filterbank:
    """(S,) samples at 16 kHz -> (T, 160) float16."""

    def __init__(self):
        from lhotse import Fbank, FbankConfig

        self.extractor = Fbank(FbankConfig(num_mel_bins=MEL_BINS, dither=0.0))

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        count = 1 + (len(samples) - RECEPTIVE_FIELD) // artifacts.HOP_IN_SAMPLES
        frames = self.extractor.extract(samples[None], artifacts.SAMPLE_RATE)
        return join_frames(np.asarray(frames, dtype=np.float32), count)


def join_frames(frames: np.ndarray, count: int) -> np.ndarray:
    """(T, D) every 10 ms -> (count, 2 D) every 20 ms float16; truncated, or padded with the last frame."""
    missing = JOINED * count - len(frames)
    if missing > 0:
        frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    return frames[: JOINED * count].reshape(count, -1).astype(np.float16)
