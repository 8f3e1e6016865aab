"""How good a model is on the valid parts: loss, and the errors of its best path."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from spin.asr.decoding import best_path
from spin.asr.features import Batch
from spin.asr.lang import Lang
from spin.asr.loss import ctc_loss, frames_needed
from spin.asr.model import CtcModel
from spin.asr.scoring import ErrorCounts, count_characters, count_words
from spin.asr.tokens import UNKNOWN_ID

TEXTS_SHOWN = 3


@torch.no_grad()
def evaluate(model: CtcModel, lang: Lang, batches: Iterable[Batch], device: torch.device) -> tuple[dict, list[tuple[str, str]]]:
    """Leaves the model in evaluation mode.

    Args:
        model: on `device`.
        lang: its tokens.
        batches: of the valid parts.
        device: where to compute.

    Returns:
        {"loss": nats a token, "wer": percent, "cer": percent} and some pairs (reference, text). Utterances too short for their
        text, or with a word or character that no training can teach, have no loss, but count as errors. Of phones both rates are
        the phone error rate.
    """
    model.eval()
    words, characters, loss, tokens, texts = ErrorCounts(), ErrorCounts(), 0.0, 0, []
    for batch in batches:
        log_probs, lengths = model(batch.features.to(device), batch.lengths)
        encoded = [lang.encode(text) for text in batch.texts]
        rows = [row for row, ids in enumerate(encoded) if UNKNOWN_ID not in ids and frames_needed(ids) <= int(lengths[row])]
        if rows:
            loss += float(ctc_loss(log_probs[rows], lengths[rows], [encoded[row] for row in rows]).double().sum())
            tokens += sum(len(encoded[row]) for row in rows)
        for reference, ids in zip(map(lang.reference, batch.texts), best_path(log_probs, lengths)):
            text = lang.decode(ids)
            counted = count_words(reference, text)
            words += counted
            characters += counted if lang.kind == "phone" else count_characters(reference, text)
            texts.append((reference, text))
    return {"loss": loss / max(1, tokens), "wer": words.rate, "cer": characters.rate}, texts[:TEXTS_SHOWN]


def rates(lang: Lang, valid: dict) -> str:
    """The error rates of `evaluate` in words."""
    return f"PER {valid['wer']:.2f} %" if lang.kind == "phone" else f"CER {valid['cer']:.2f} %, WER {valid['wer']:.2f} %"
