"""A third system beside the two encoders: log-mel filterbank features for the same recogniser, as the first rung of the ladder.

80 energies every 10 ms (lhotse's Fbank, Kaldi's settings, no dither), two neighbours joined: as many frames as the encoder has,
so that every system learns from the same utterances with the same recogniser.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import CutSet, Fbank, FbankConfig
from lhotse.cut import Cut
from lhotse.features.io import NumpyFilesWriter

from spin import artifacts
from spin.asr.features import frames_of, open_cuts
from spin.asr.readers import audio_of
from spin.runtime.devices import prepare_cpu
from spin.runtime.files import atomic_path

MEL_BINS = 80
JOINED = 2  # frames of 10 ms in one of the encoder's


@dataclass(frozen=True)
class FbankJob:
    """One part, for a process of its own."""

    exp: Path
    part: str


def extract_part(job: FbankJob) -> int:
    """Features of all utterances that the baseline has in a part; returns their number. What is done is kept.

    Raises:
        DataError: audio that stage 3 could read is no longer there.
    """
    prepare_cpu(1)
    target = artifacts.features_cuts(job.exp, artifacts.FBANK, job.part)
    if target.exists():
        return 0
    extractor = Fbank(FbankConfig(num_mel_bins=MEL_BINS, dither=0.0))
    arrays = artifacts.fbank_arrays(job.exp, job.part)
    arrays.mkdir(parents=True, exist_ok=True)
    number = 0
    with (
        NumpyFilesWriter(str(arrays)) as writer,
        atomic_path(target) as temporary,
        CutSet.open_writer(temporary, overwrite=True) as manifest,
    ):
        for cut in open_cuts(job.exp, artifacts.SYSTEMS[0], [job.part]):
            number += 1
            features = filterbank(cut, extractor)
            shift = artifacts.FRAME_SHIFT_IN_S
            array = writer.store_array(cut.id, features, frame_shift=shift, temporal_dim=0, start=cut.start)
            cut.custom = None
            manifest.write(cut.with_custom(artifacts.HIDDEN_FIELD, array))
    return number


def filterbank(cut: Cut, extractor: Fbank) -> np.ndarray:
    """(T, 2 * 80) float16 with the T of the cut's stored features."""
    samples = audio_of(cut)
    return joined(np.asarray(extractor.extract(samples, cut.sampling_rate), dtype=np.float32), frames_of(cut))


def joined(frames: np.ndarray, count: int) -> np.ndarray:
    """(T, D) every 10 ms -> (count, 2 D) every 20 ms float16; cut off, or filled up with the last frame."""
    missing = JOINED * count - len(frames)
    if missing > 0:
        frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    return frames[: JOINED * count].reshape(count, -1).astype(np.float16)
