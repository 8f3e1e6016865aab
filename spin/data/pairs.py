"""Pairs of views: the original waveform and its speaker-perturbed copy, cropped to the same stretch.

Legend: B utterances of a part, S samples of its longest one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import soundfile
import torch
from lhotse import MonoCut
from lhotse.audio import AudioLoadingError, DurationMismatchError
from torch import Tensor

from spin import artifacts
from spin.data.pair_sampler import BatchPlan
from spin.errors import SpinError

UNREADABLE = (OSError, soundfile.SoundFileError, AudioLoadingError, DurationMismatchError)

# (cropped cut, waveform of the crop (S,) float32, epoch) -> (second view (S,) float32, whether formants and pitch were changed)
Perturb = Callable[[MonoCut, np.ndarray, int], tuple[np.ndarray, bool]]


@dataclass
class PairPart:
    """One forward pass.

    Attributes:
        waveforms: (2B, S) float32, view 1 of each utterance, then view 2 of each; zeros beyond an utterance's end.
        lengths: (2B,) int64 samples; both views of an utterance are equally long.
    """

    waveforms: Tensor
    lengths: Tensor

    def pin_memory(self) -> PairPart:
        return PairPart(self.waveforms.pin_memory(), self.lengths)  # the lengths are used on the CPU


@dataclass
class PairBatch:
    """One rank's share of one update.

    Attributes:
        epoch, index: as in its BatchPlan.
        parts: one for each forward pass; None where this rank has no utterance.
        ids: utterances of all parts.
        seconds: audio of view 1.
        unchanged: ids without a voiced frame, whose second view is equalised only.
        unreadable: ids with the reason why they could not be read.
    """

    epoch: int
    index: int
    parts: list[PairPart | None] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    seconds: float = 0.0
    unchanged: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def pin_memory(self) -> PairBatch:
        self.parts = [part and part.pin_memory() for part in self.parts]
        return self


class PairDataset(torch.utils.data.Dataset):
    """BatchPlan -> PairBatch; reads and perturbs, in whichever process asks.

    Args:
        perturb: makes the second view; see Perturb.
    """

    def __init__(self, perturb: Perturb):
        self.perturb = perturb

    def __getitem__(self, plan: BatchPlan) -> PairBatch | SpinError:
        """A SpinError is returned, not raised: torch rebuilds exceptions of workers from their text alone."""
        batch = PairBatch(plan.epoch, plan.index)
        try:
            for crops in plan.parts:
                pairs = [pair for pair in (self._pair(crop.cut(), batch) for crop in crops) if pair is not None]
                batch.parts.append(collate(pairs) if pairs else None)
        except SpinError as error:
            return error
        return batch

    def _pair(self, cut: MonoCut, batch: PairBatch) -> tuple[np.ndarray, np.ndarray] | None:
        try:
            view1 = cut.load_audio()[0]
        except UNREADABLE as error:
            batch.unreadable.append((cut.id, " ".join(str(error).split())[:200]))
            return None
        view2, changed = self.perturb(cut, view1, batch.epoch)
        batch.ids.append(cut.id)
        batch.seconds += len(view1) / artifacts.SAMPLE_RATE
        if not changed:
            batch.unchanged.append(cut.id)
        return view1, view2


def collate(pairs: list[tuple[np.ndarray, np.ndarray]]) -> PairPart:
    """Pads B pairs of equally long views into one PairPart.

    Raises:
        ValueError: two views of an utterance differ in length (a defect of the perturbation).
    """
    views = [view for side in zip(*pairs, strict=True) for view in side]
    lengths = torch.tensor([len(view) for view in views])
    if not torch.equal(*lengths.chunk(2)):
        raise ValueError(f"views of unequal length: {lengths.tolist()}")
    waveforms = torch.zeros(len(views), int(lengths.max()))
    for row, view in zip(waveforms, views, strict=True):
        row[: len(view)] = torch.from_numpy(np.ascontiguousarray(view, dtype=np.float32))
    return PairPart(waveforms, lengths)
