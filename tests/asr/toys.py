"""What several tests of this room use: sentences, an LM that says one of them only, and a training that is killed."""

from __future__ import annotations

import pytest
import torch

from spin.asr import training
from spin.asr.training_stage import train_asr
from spin.runtime.stages import Context

TEXTS = ["A CAB", "ABBA BE A", "CC EEL", "EEL EEL", "A A BAB", "BE CC"]
# A back-off weight of 10^-99 shuts the door to everything but the bigrams.
ONE_SENTENCE = """\\data\\
ngram 1=4
ngram 2=3

\\1-grams:
-99\t<s>\t-99
-99\t</s>
-99\tCAB\t-99
-99\tA\t-99

\\2-grams:
0\t<s> CAB
0\tCAB A
0\tA </s>

\\end\\
"""


def posteriors(lang, texts: list[str], sharpness: float = 20.0, noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Each token in two frames, a blank between equal neighbours; longest text first."""
    rows = []
    for text in texts:
        frames: list[int] = [0]
        for token in lang.encode(text):
            frames += [0, token, token] if frames[-1] == token else [token, token]
        rows.append([*frames, 0])
    logits = torch.zeros(len(rows), max(map(len, rows)), lang.vocabulary_size)
    for row, frames in enumerate(rows):
        logits[row, torch.arange(len(frames)), torch.tensor(frames)] = sharpness
    logits += noise * torch.randn(logits.shape, generator=torch.Generator().manual_seed(3))
    return logits.log_softmax(-1), torch.tensor([len(frames) for frames in rows])


class Killed(Exception):
    """Stands for SIGKILL."""


def train_until_killed(context: Context, system: str, step: int) -> None:
    """Stage 4, killed in the update of a step of one system's training."""
    original = training.Training.update

    def killing(self, batch):
        if self.job.system == system and self.step == step - 1:
            raise Killed
        return original(self, batch)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training.Training, "update", killing)
        train_asr(context)
