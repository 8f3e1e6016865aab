"""Where a recogniser's features come from: stored by stage 3, or from the frozen encoder as they are needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from lhotse.audio.utils import AudioLoadingError, DurationMismatchError
from lhotse.cut import Cut

from spin import artifacts
from spin.asr.features import FeatureReader, frames_of
from spin.config import Config
from spin.errors import DataError
from spin.models.encoder import Encoder
from spin.models.importers import load_encoder
from spin.models.spin_model import load_model
from spin.runtime.devices import one_thread, resolve_device

STORED = "stored"  # of asr.features


def open_reader(config: Config, exp: Path, system: str, max_bytes: int) -> FeatureReader:
    """The reader that the configuration asks for; the filterbank is always read from the disk.

    Args:
        exp: the experiment's folder.
        system: whose features.
        max_bytes: bound of what is kept in memory.

    Raises:
        CheckpointError: the encoder, or the Spin model, cannot be read.
    """
    asr = config.asr
    if system == artifacts.FBANK:
        return FeatureReader(max_bytes)
    if asr.features == STORED:
        return FeatureReader(max_bytes, artifacts.LAYERS_FIELD if asr.weighted_sum else artifacts.HIDDEN_FIELD)
    if system == artifacts.SYSTEMS[0]:
        encoder = load_encoder(config.encoder.source)
    else:
        encoder = load_model(artifacts.spin_model(exp)).encoder
    layer = None if asr.weighted_sum else config.units.layer or config.encoder.layer
    return EncoderReader(max_bytes, encoder, layer, resolve_device(config.runtime.device))


class EncoderReader(FeatureReader):
    """Features straight from the encoder, the same as stage 3 stores: rounded to float16, each utterance by itself.

    (On a GPU stage 3 runs batches, which round differently in the last bits. Here no batch has a say, so that a training that was
    cut off goes on with the same features.)

    Args:
        max_bytes: bound of what is kept in memory.
        encoder: frozen; moved to `device`.
        layer: whose output, 1 to L; None: all of them, the input of the first in front.
        device: where to compute.
    """

    def __init__(self, max_bytes: int, encoder: Encoder, layer: int | None, device: torch.device):
        super().__init__(max_bytes)
        # Its parameters keep requires_grad, as in stage 3: without it some CPU kernels are others, and round differently.
        self._encoder, self._layer, self._device = encoder.eval().to(device), layer, device

    @torch.no_grad()
    def load(self, cut: Cut) -> np.ndarray:
        """(T, D) or (T, L + 1, D) float16 of one utterance.

        Raises:
            DataError: audio that stage 3 could read is gone or has changed, or features that float16 cannot hold.
        """
        waveform = torch.from_numpy(audio_of(cut)).to(self._device)
        with one_thread():  # as in stage 3: sums over several threads round differently
            hidden, _ = self._encoder(waveform, torch.tensor([waveform.shape[1]]), self._layer)
        values = hidden[-1][0] if self._layer is not None else torch.stack([state[0] for state in hidden], dim=1)
        features = values.half().cpu().numpy()
        if len(features) != frames_of(cut):
            raise DataError(
                f"features of {cut.id}",
                found=f"{len(features)} frames",
                expected=f"{frames_of(cut)}, as in stage 3",
                cause="the audio or the encoder has changed since",
                remedy="run stage 3 with --force",
            )
        if not np.isfinite(features).all():
            raise DataError(f"features of {cut.id}", found="a value beyond 65,504", expected="finite float16 numbers")
        return features


def audio_of(cut: Cut) -> np.ndarray:
    """(1, S) float32 samples of an utterance that stage 3 could read.

    Raises:
        DataError: it can no longer be read.
    """
    try:
        return np.asarray(cut.load_audio(), dtype=np.float32)
    except (OSError, RuntimeError, ValueError, AudioLoadingError, DurationMismatchError) as error:
        raise DataError(
            f"audio of {cut.id}",
            found=" ".join(str(error).split())[:200],
            expected="what stage 3 could read",
            remedy="put the audio back, or run stage 0 with --force",
        ) from error
