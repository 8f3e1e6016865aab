"""Loss of a model on the valid parts, and the errors of its best path."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from spin.asr.batches import Batch
from spin.asr.decoders import best_path
from spin.asr.lang import Lang
from spin.asr.loss import count_needed_frames, ctc_loss
from spin.asr.model import CtcModel
from spin.asr.scoring import ErrorCounts, count_characters, count_words
from spin.asr.tokens import UNKNOWN_ID

TEXTS_SHOWN = 3


@torch.no_grad()
def evaluate(model: CtcModel, lang: Lang, batches: Iterable[Batch], device: torch.device) -> tuple[dict, list[tuple[str, str]]]:
    """Evaluates the model, and leaves it in evaluation mode.

    Args:
        model: CTC model on `device`.
        lang: its tokens.
        batches: batches of the valid parts.
        device: where to compute.

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
