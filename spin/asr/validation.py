"""Loss and errors of a model on the valid parts, and the mean of the weights of the last validated models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import nn

from spin.asr.batches import Batch
from spin.asr.decoders import best_path
from spin.asr.lang import Lang
from spin.asr.loss import count_needed_frames, ctc_loss
from spin.asr.model import CtcModel
from spin.asr.scoring import ErrorCounts, count_characters, count_words
from spin.asr.tokens import UNKNOWN_ID
from spin.runtime.checkpoints import read_checkpoint, write_checkpoint

TEXTS_SHOWN = 3


@torch.no_grad()
def evaluate(model: CtcModel, lang: Lang, batches: Iterable[Batch], device: torch.device) -> tuple[dict, list[tuple[str, str]]]:
    """Evaluates the model on batches of the valid parts, and leaves it in evaluation mode.

    Returns:
        {"loss": nats per token, "wer": percent, "cer": percent} and some pairs (reference, text). Utterances that are too short
        for their text, or have a word or character outside the tokens, have no loss, but count as errors. With phones both rates
        are the phone error rate.
    """
    model.eval()
    words, characters, loss, tokens, texts = ErrorCounts(), ErrorCounts(), 0.0, 0, []
    for batch in batches:
        log_probs = model(batch.inputs.to(device), batch.lengths)
        encoded = [lang.encode(text) for text in batch.texts]
        rows = [row for row, ids in enumerate(encoded) if _has_loss(ids, int(batch.lengths[row]))]
        if rows:
            loss += float(ctc_loss(log_probs[rows], batch.lengths[rows], [encoded[row] for row in rows]).double().sum())
            tokens += sum(len(encoded[row]) for row in rows)
        for reference, ids in zip(map(lang.reference, batch.texts), best_path(log_probs, batch.lengths)):
            text = lang.decode(ids)
            counted = count_words(reference, text)
            words += counted
            characters += counted if lang.kind == "phone" else count_characters(reference, text)
            texts.append((reference, text))
    return {"loss": loss / max(1, tokens), "wer": words.rate, "cer": characters.rate}, texts[:TEXTS_SHOWN]


def _has_loss(tokens: list[int], frames: int) -> bool:
    return UNKNOWN_ID not in tokens and count_needed_frames(tokens) <= frames


def format_rates(lang: Lang, valid: dict) -> str:
    """The error rates of `evaluate` for the log."""
    return f"PER {valid['wer']:.2f} %" if lang.kind == "phone" else f"CER {valid['cer']:.2f} %, WER {valid['wer']:.2f} %"


class WeightStore:
    """Weights of the last `count` validations in the folder of a training, next to its checkpoints.

    They are separate from the checkpoints because a signal adds a checkpoint at any step, and the mean must not depend on where a
    training was interrupted.
    """

    def __init__(self, folder: Path, count: int):
        self.folder, self.count = folder, count

    def keep(self, step: int, model: nn.Module) -> None:
        """Writes the weights of a step, and removes all but the last `count` up to it."""
        write_checkpoint(self.path(step), step, model.state_dict())
        for old in self.paths(step)[: -self.count]:
            old.unlink(missing_ok=True)

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.folder / f"weights-{step:09d}.safetensors"

    def paths(self, step: int) -> list[Path]:
        """Files of the steps up to `step`, oldest first; later ones belong to an interrupted run."""
        return sorted(path for path in self.folder.glob(f"weights-{'[0-9]' * 9}.safetensors") if path <= self.path(step))

    def mean(self, step: int) -> dict[str, torch.Tensor] | None:
        """The mean of each weight over the last `count` validations up to `step`; None when there are fewer than two."""
        paths = self.paths(step)[-self.count :]
        if len(paths) < 2:
            return None
        states = [read_checkpoint(path)[1] for path in paths]
        return {
            name: (sum(state[name].double() for state in states) / len(states)).to(first.dtype)
            for name, first in states[0].items()
        }
