"""Validation of a Spin training: PNMI and code perplexity on the valid parts, and the watch for a collapsed codebook."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from lhotse import CutSet, MonoCut
from torch import Tensor

from spin import artifacts
from spin.config import Config
from spin.corpus.alignment import labels_from_items
from spin.data.pairs import UNREADABLE
from spin.errors import DataError, TrainingError
from spin.models.spin_model import SpinModel
from spin.runtime.logs import get_logger
from spin.training.swapped_prediction import perplexity
from spin.units.phones import LABELS_A_UNIT, alignment_of
from spin.units.purity import JointCounts, pnmi

BATCH_SECONDS = 60.0


class Validation:
    """The utterances of the valid parts that a training looks at from time to time; only their manifest entries are kept.

    Args:
        cuts: stage 0's cuts, with phone alignments where there are any.
        codebook_size: K.
        official_padding: see Encoder.forward.
    """

    def __init__(self, cuts: list[MonoCut], codebook_size: int, official_padding: bool = False):
        self.cuts = sorted(cuts, key=lambda cut: (cut.duration, cut.id))
        self.codebook_size, self.official_padding = codebook_size, official_padding
        self.aligned = sum(alignment_of(cut) is not None for cut in cuts)
        if cuts and not self.aligned:
            get_logger("validation").warning("no phone alignment in the valid parts: PNMI is not measured")

    def measure(self, model: SpinModel) -> dict[str, float | None]:
        """{"pnmi": ratio or None without alignments, "perplexity": of the codes, 1 to K, "codes_used": of K}."""
        codes = np.zeros(self.codebook_size, dtype=np.int64)
        joint = JointCounts(self.codebook_size)
        for cut, units in self._units(model):
            codes += np.bincount(units, minlength=self.codebook_size)
            items = alignment_of(cut)
            if items is not None:
                joint.add(labels_from_items(items, LABELS_A_UNIT * len(units)), units)
        value = pnmi(joint.matrix()) if joint.utterances else None
        return {
            "pnmi": value if value == value else None,
            "perplexity": perplexity(torch.from_numpy(codes)),
            "codes_used": float((codes > 0).sum()),
        }

    def _units(self, model: SpinModel) -> Iterator[tuple[MonoCut, np.ndarray]]:
        device = model.codebook.weight.device
        for batch in self._batches():
            waveforms, lengths = _padded([waveform for _, waveform in batch])
            units = model.units(waveforms.to(device), lengths, self.official_padding)
            yield from ((cut, row.cpu().numpy()) for (cut, _), row in zip(batch, units, strict=True))

    def _batches(self) -> Iterator[list[tuple[MonoCut, np.ndarray]]]:
        batch: list[tuple[MonoCut, np.ndarray]] = []
        for cut in self.cuts:
            if batch and cut.duration * (len(batch) + 1) > BATCH_SECONDS:
                yield batch
                batch = []
            try:
                batch.append((cut, cut.load_audio()[0]))
            except UNREADABLE as error:
                get_logger("validation").warning("%s cannot be read and is left out: %s", cut.id, error)
        if batch:
            yield batch


def _padded(waveforms: list[np.ndarray]) -> tuple[Tensor, Tensor]:
    lengths = torch.tensor([len(waveform) for waveform in waveforms])
    padded = torch.zeros(len(waveforms), int(lengths.max()))
    for row, waveform in zip(padded, waveforms, strict=True):
        row[: len(waveform)] = torch.from_numpy(waveform)
    return padded, lengths


def valid_cuts(config: Config, corpus: Path) -> list[MonoCut]:
    """At most spin.valid_utterances cuts, evenly spaced over the valid parts.

    Raises:
        DataError: a valid part has no manifest.
    """
    paths = [artifacts.cuts(corpus, part) for part in config.corpus.valid]
    missing = next((path for path in paths if not path.exists()), None)
    if missing is not None:
        raise DataError(str(missing), found="no such file", expected="a manifest of stage 0", remedy="run stage 0 first")
    shortest = config.corpus.min_duration_in_s
    total = sum(1 for path in paths for _ in CutSet.from_jsonl_lazy(path))
    wanted = set(np.linspace(0, total - 1, min(total, config.spin.valid_utterances)).round().astype(int).tolist())
    cuts = (cut for path in paths for cut in CutSet.from_jsonl_lazy(path))
    return [cut for index, cut in enumerate(cuts) if index in wanted and cut.duration >= shortest]


class CollapseWatch:
    """Raises when the codes' perplexity stays too low for several validations in a row.

    Args:
        codebook_size: K.
        min_share: perplexity below this share of K is too low.
        patience: validations in a row.
        low: how many there were before, for a resumed training.
    """

    def __init__(self, codebook_size: int, min_share: float, patience: int, low: int = 0):
        self.least, self.patience, self.low = min_share * codebook_size, patience, low

    def look(self, step: int, value: float) -> None:
        """Raises TrainingError at the last permitted low value."""
        self.low = self.low + 1 if value < self.least else 0
        if self.low < self.patience:
            return
        raise TrainingError(
            f"Spin training, step {step}: the codebook has collapsed",
            found=f"code perplexity {value:.2f}, below {self.least:.2f} in {self.low} validations in a row",
            expected=f"at least {self.least:.2f} (spin.min_perplexity_share x spin.codebook_size)",
            cause="a learning rate that is too high, or batches with too few frames for the codebook",
            remedy="lower spin.learning_rate, raise spin.warmup_steps or spin.batch_seconds, then run the stage with --force",
        )
