"""Batches of views: the crops of a plan, read and transformed.

Legend: B utterances of a micro-batch, V views (2 for Spin), S samples of its longest one, T encoder frames of its longest one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from spin import artifacts
from spin.data.audio import UnreadableAudio, read_audio
from spin.data.crops import Crop
from spin.data.sampler import BatchPlan
from spin.data.views import Draw, View
from spin.errors import SpinError

NO_LABEL = -1


@dataclass
class MicroBatch:
    """One forward pass.

    Attributes:
        waveforms: (V * B, S) float32, view 1 of each utterance, then view 2 of each; zeros beyond an utterance's end.
        lengths: (V * B,) int64 samples; all views of an utterance are equally long.
        labels: (B, T) int64 frame labels that the views share, NO_LABEL where there is none; None for a training without labels.
    """

    waveforms: Tensor
    lengths: Tensor
    labels: Tensor | None = None

    def pin_memory(self) -> MicroBatch:
        """Pins what goes to the GPU; the lengths are used on the CPU."""
        return MicroBatch(
            self.waveforms.pin_memory(), self.lengths, self.labels if self.labels is None else self.labels.pin_memory()
        )


@dataclass
class Batch:
    """One rank's share of one update.

    Attributes:
        epoch, index: as in its BatchPlan.
        micro_batches: one per forward pass; None where this rank has no utterance.
        ids: utterances of all micro-batches.
        seconds: audio of one view.
        unchanged: ids without a voiced frame, whose perturbed view is equalised only.
        unreadable: ids with the reason why they could not be read.
    """

    epoch: int
    index: int
    micro_batches: list[MicroBatch | None] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    seconds: float = 0.0
    unchanged: list[str] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def pin_memory(self) -> Batch:
        """Called by torch's DataLoader."""
        self.micro_batches = [micro_batch and micro_batch.pin_memory() for micro_batch in self.micro_batches]
        return self


class ViewDataset(torch.utils.data.Dataset):
    """BatchPlan -> Batch; reads and transforms in whichever process asks.

    Args:
        views: the transforms of each view (spin.data.views.make_views).
        seed: random seed of the transforms.
    """

    def __init__(self, views: Sequence[View], seed: int):
        self.views, self.seed = tuple(views), seed

    def __getitem__(self, plan: BatchPlan) -> Batch | SpinError:
        """A SpinError is returned, not raised: torch rebuilds exceptions of workers from their text alone."""
        batch = Batch(plan.epoch, plan.index)
        try:
            for crops in plan.micro_batches:
                items = [item for item in (self._read(crop, batch) for crop in crops) if item is not None]
                batch.micro_batches.append(collate(*zip(*items, strict=True)) if items else None)
        except SpinError as error:
            return error
        return batch

    def _read(self, crop: Crop, batch: Batch) -> tuple[list[np.ndarray], np.ndarray | None] | None:
        """(views, labels) of a crop; None when it cannot be read."""
        cut, changed = crop.cut(), True
        try:
            audio, views = read_audio(cut), []
            for number, transforms in enumerate(self.views):
                waveform = audio
                for transform in transforms:
                    waveform, changes = transform(waveform, cut, Draw(self.seed, batch.epoch, cut.id, number))
                    changed = changed and changes
                views.append(waveform)
        except UnreadableAudio as error:
            batch.unreadable.append((cut.id, error.reason))
            return None
        batch.ids.append(cut.id)
        batch.seconds += len(audio) / artifacts.SAMPLE_RATE
        if not changed:
            batch.unchanged.append(cut.id)
        return views, (cut.custom or {}).get(artifacts.LABELS_FIELD)


def collate(views: Sequence[Sequence[np.ndarray]], labels: Sequence[np.ndarray | None] = ()) -> MicroBatch:
    """Pads B utterances into one MicroBatch.

    Args:
        views: for each utterance its V equally long views, each (samples,).
        labels: for each utterance its frame labels (frames,), or None for all.

    Raises:
        ValueError: views of an utterance differ in length (a defect of a transform).
    """
    rows = [view for side in zip(*views, strict=True) for view in side]
    lengths = torch.tensor([len(row) for row in rows])
    if not (lengths.reshape(-1, len(views)) == lengths[: len(views)]).all():
        raise ValueError(f"views of unequal length: {lengths.tolist()}")
    with_labels = any(row is not None for row in labels)
    return MicroBatch(pad(rows, 0.0, np.float32), lengths, pad(labels, NO_LABEL, np.int64) if with_labels else None)


def pad(rows: Sequence[np.ndarray], value: float, kind: type) -> Tensor:
    """(rows, longest) tensor of NumPy type `kind`, filled up with `value` at the end of each row."""
    padded = np.full((len(rows), max(map(len, rows))), value, dtype=kind)
    for target, row in zip(padded, rows):
        target[: len(row)] = row
    return torch.from_numpy(padded)
