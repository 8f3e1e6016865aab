"""What several tests of this room use: sentences, an LM that says one of them only, and a training that is killed."""

from __future__ import annotations

import pytest

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
