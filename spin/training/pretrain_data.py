"""Batches for masked prediction: utterances of like length, cropped to the shortest of their batch, so that nothing is padded."""

from __future__ import annotations

import numpy as np
import soundfile
import torch
from torch.utils.data import Dataset

from spin.config import PretrainConfig
from spin.runtime.seeding import generator
from spin.training.masked_prediction import draw_mask
from spin.training.pretrain_labels import HOP_IN_SAMPLES, Utterance, frame_count

POOL_IN_BATCHES = 16  # utterances are sorted by length within pools of this many batches, pools are random


def plan_epoch(samples: np.ndarray, settings: PretrainConfig, *keys: int | str) -> list[np.ndarray]:
    """Batches (arrays of utterance indices) of one epoch, drawn from `keys`.

    Args:
        samples: (N,) length of each utterance.

    Returns:
        batches whose longest utterance (at most settings.max_samples) times their size is at most settings.batch_seconds.
    """
    random = generator("pretrain plan", *keys)
    order = random.permutation(len(samples))
    lengths = np.minimum(samples, settings.max_samples)
    budget = int(settings.batch_seconds * 16_000)
    pool_size = max(1, int(POOL_IN_BATCHES * budget / max(lengths.mean(), 1)))
    batches = []
    for start in range(0, len(order), pool_size):
        pool = order[start : start + pool_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batch: list[int] = []
        for index in pool:
            if batch and (len(batch) + 1) * lengths[index] > budget:
                batches.append(np.array(batch))
                batch = []
            batch.append(int(index))
        batches.append(np.array(batch))
    return [batches[i] for i in random.permutation(len(batches))]


class MaskedBatches(Dataset):
    """Item i is the batch of step start + i: (waveforms (B, S) float32, mask (B, T) bool, labels (B, T) int64).

    A batch depends on (seed, iteration, step) alone, so any number of loader workers and any resume give the same ones.
    """

    def __init__(
        self, utterances, labels: np.ndarray, offsets: np.ndarray, settings, seed: int, iteration: int, start: int, stop: int
    ):
        self.utterances: list[Utterance] = utterances
        self.labels, self.offsets, self.settings = labels, offsets, settings
        self.keys = (seed, iteration)
        self.start = start
        self.batches = self._plan(stop)[start:stop]

    def _plan(self, stop: int) -> list[tuple[int, np.ndarray]]:
        samples = np.array([utterance.samples for utterance in self.utterances])
        planned: list[tuple[int, np.ndarray]] = []
        epoch = 0
        while len(planned) < stop:
            planned += [(epoch, batch) for batch in plan_epoch(samples, self.settings, *self.keys, epoch)]
            epoch += 1
        return planned

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, item: int):
        epoch, batch = self.batches[item]
        chosen = [self.utterances[index] for index in batch]
        size = min(min(utterance.samples for utterance in chosen), self.settings.max_samples)
        frames = frame_count(size)
        waveforms, masks, labels = [], [], []
        for index, utterance in zip(batch, chosen):
            random = generator("pretrain crop", *self.keys, epoch, utterance.identity)
            first = int(random.integers((utterance.samples - size) // HOP_IN_SAMPLES + 1))
            start = first * HOP_IN_SAMPLES
            wave, _ = soundfile.read(utterance.path, start=start, stop=start + size, dtype="float32")
            waveforms.append(wave)
            masks.append(draw_mask(random, frames, self.settings.mask_probability, self.settings.mask_length))
            labels.append(self.labels[self.offsets[index] + first : self.offsets[index] + first + frames])
        return (
            torch.from_numpy(np.stack(waveforms)),
            torch.from_numpy(np.stack(masks)),
            torch.from_numpy(np.stack(labels).astype(np.int64)),
        )
