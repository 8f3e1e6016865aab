"""Validation of a training: PNMI and perplexity of the units on the valid parts, and the check for a collapsed codebook."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from lhotse import MonoCut
from torch.nn.utils.rnn import pad_sequence

from spin.data.audio import UnreadableAudio, read_audio
from spin.data.cuts import count_cuts, read_cuts
from spin.errors import TrainingError
from spin.objectives.model import SpinModel
from spin.objectives.spin import perplexity
from spin.runtime.logs import get_logger
from spin.units.counts import JointCounts, pnmi
from spin.units.units import LABELS_PER_UNIT, alignment_of, frame_labels

BATCH_SECONDS = 60.0
COLLAPSE_PATIENCE = 2  # validations in a row
MIN_PERPLEXITY_SHARE = 0.05  # of codebook_size


class Validation:
    """The cuts of stage 0 that a training is validated on; their audio is read in each validation."""

    def __init__(self, cuts: Iterable[MonoCut]):
        self.cuts = sorted(cuts, key=lambda cut: (cut.duration, cut.id))
        self.log = get_logger("validation")
        if self.cuts and not any(alignment_of(cut) is not None for cut in self.cuts):
            self.log.warning("the valid parts have no phone alignment: PNMI is not measured")

    def measure(self, model: SpinModel) -> dict[str, float | None]:
        """Figures of the model's units."""
        codes = np.zeros(model.codebook_size, dtype=np.int64)
        joint = JointCounts(model.codebook_size)
        for cut, units in self._units(model):
            codes += np.bincount(units, minlength=model.codebook_size)
            items = alignment_of(cut)
            if items is not None:
                joint.add(frame_labels(items, LABELS_PER_UNIT * len(units)), units)
        value = pnmi(joint.matrix())
        return {
            "pnmi": None if math.isnan(value) else value,  # 0 to 1; None without alignments
            "perplexity": perplexity(torch.from_numpy(codes)) if codes.any() else None,  # of the codes, 1 to K
            "codes_used": float((codes > 0).sum()),
        }

    def _units(self, model: SpinModel) -> Iterator[tuple[MonoCut, np.ndarray]]:
        device = model.codebook.weight.device
        for batch in self._batches():
            waveforms = [torch.from_numpy(waveform) for _, waveform in batch]
            lengths = torch.tensor([len(waveform) for waveform in waveforms])
            with torch.compiler.set_stance("force_eager"):  # compiled for batches of training, which are few in shape
                units = model.units(pad_sequence(waveforms, batch_first=True).to(device), lengths)
            yield from ((cut, row.cpu().numpy()) for (cut, _), row in zip(batch, units, strict=True))

    def _batches(self) -> Iterator[list[tuple[MonoCut, np.ndarray]]]:
        batch: list[tuple[MonoCut, np.ndarray]] = []
        for cut in self.cuts:
            if batch and cut.duration * (len(batch) + 1) > BATCH_SECONDS:
                yield batch
                batch = []
            try:
                batch.append((cut, read_audio(cut)))
            except UnreadableAudio as error:
                self.log.warning("%s is skipped: %s", cut.id, error.reason)
        if batch:
            yield batch


def choose_cuts(manifests: Sequence[Path], count: int, min_duration_in_s: float = 0.0) -> list[MonoCut]:
    """At most `count` cuts, evenly spaced over the manifests, without those shorter than `min_duration_in_s`."""
    total = sum(count_cuts(path) for path in manifests)
    chosen = set(np.linspace(0, total - 1, min(total, count)).round().astype(int).tolist())
    cuts = (cut for path in manifests for cut in read_cuts(path))
    return [cut for index, cut in enumerate(cuts) if index in chosen and cut.duration >= min_duration_in_s]


def check_collapse(history: Sequence[dict], codebook_size: int) -> None:
    """Raises TrainingError when the perplexity was too low in the last COLLAPSE_PATIENCE records of `history`, oldest first."""
    least = MIN_PERPLEXITY_SHARE * codebook_size
    latest = [record["perplexity"] for record in history[-COLLAPSE_PATIENCE:]]
    if len(latest) < COLLAPSE_PATIENCE or any(value is None or value >= least for value in latest):
        return
    raise TrainingError(
        f"training, step {history[-1]['step']}: the codebook has collapsed",
        found=f"code perplexity {latest[-1]:.2f}, below {least:.2f} in {COLLAPSE_PATIENCE} validations in a row",
        expected=f"at least {least:.2f}, {MIN_PERPLEXITY_SHARE:.0%} of spin.codebook_size",
        cause="a learning rate that is too high, or batches with too few frames for the codebook",
        remedy="rerun with a lower spin.learning_rate, a longer spin.warmup_steps or a larger spin.batch_seconds",
    )
