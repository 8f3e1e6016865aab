"""Forced phone alignment by pocketsphinx: its wheel brings an English acoustic model and the CMU dictionary.

Two passes over an utterance: words (with silences and pronunciation variants, a finite-state search), then phones within the
words. An utterance that cannot be aligned stays in the corpus without an alignment. It is used for training and recognition,
but not for unit metrics.
"""

from __future__ import annotations

import functools
import re

import numpy as np
import pocketsphinx
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.corpus.alignment import plain_phone
from spin.corpus.pronunciation import Dictionary, default_dictionary

FRAME_IN_S = 0.01  # of pocketsphinx's model
_VARIANT = re.compile(r"\(\d+\)$")


class Unalignable(Exception):
    """An utterance that cannot be aligned, with the reason; not an error of the corpus."""


class ForcedAligner:
    """One decoder, good for any number of utterances; the result for one does not depend on those before it.

    `dictionary` has the words that the decoder's own lacks; default: by rules, then by letters.
    """

    def __init__(self, dictionary: Dictionary | None = None):
        # bestpath adds a last word of one frame, in which no phone fits (cmusphinx/pocketsphinx issue 339).
        self._decoder = pocketsphinx.Decoder(loglevel="FATAL", lm=None, bestpath=False, samprate=artifacts.SAMPLE_RATE)
        self._dictionary = dictionary or default_dictionary()
        self._added: set[str] = set()

    def align(self, samples: np.ndarray, text: str) -> tuple[list[AlignmentItem], list[AlignmentItem]]:
        """(phones, words) of an utterance, in seconds from its start.

        Args:
            samples: (S,) int16 at 16 kHz.
            text: normalised (spin.corpus.text).

        Returns:
            phones: ARPAbet without stress and SIL, one item after the other from 0 without a gap, to within 30 ms of the end.
            words: the words of `text` without the silences.

        Raises:
            Unalignable: a word without pronunciation, or a text that the acoustic model cannot fit to the audio.
        """
        self._learn(text.split())
        audio = samples.astype("<i2", copy=False).tobytes()
        try:
            self._decoder.set_align_text(text.lower())
            self._decode(audio)
            self._decoder.set_alignment()
            self._decode(audio)
            entries = [(word.name, word.start, word.duration, list(word)) for word in self._decoder.get_alignment()]
        except RuntimeError as error:
            raise Unalignable(f"pocketsphinx finds no alignment: {error}"[:120]) from error
        return _collect(entries, text)

    def _decode(self, audio: bytes) -> None:
        # The noise estimate of the front end survives from utterance to utterance; a new front end resets it.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        try:
            self._decoder.process_raw(audio, full_utt=True)
        finally:
            self._decoder.end_utt()

    def _learn(self, words: list[str]) -> None:
        """Adds derived and guessed pronunciations to the decoder's dictionary."""
        new = {word: self._dictionary.pronunciations(word) for word in words if word not in self._dictionary}
        missing = sorted(word for word in new if not new[word])
        if missing:
            raise Unalignable(f"no pronunciation: {' '.join(missing)}"[:120])
        for word in [word for word in new if word not in self._added]:
            self._decoder.add_word(word.lower(), " ".join(new[word][0]), update=False)
            self._added.add(word)


@functools.lru_cache(maxsize=1)
def process_aligner() -> ForcedAligner:
    """The aligner of this process: its dictionary and model take half a second to load."""
    return ForcedAligner()


def _collect(entries: list, text: str) -> tuple[list[AlignmentItem], list[AlignmentItem]]:
    phones, words = [], []
    for name, start, duration, parts in entries:
        silent = name.startswith(("<", "["))
        if not silent:
            words.append(_item(_VARIANT.sub("", name).upper(), start, duration))
        for part in parts:
            item = _item(artifacts.SILENCE if silent else plain_phone(part.name), part.start, part.duration)
            if phones and item.symbol == phones[-1].symbol == artifacts.SILENCE:  # sentence start, pause and noise are one
                item = AlignmentItem(item.symbol, phones[-1].start, round(item.end - phones.pop().start, 6))
            phones.append(item)
    if " ".join(word.symbol for word in words) != text:
        raise Unalignable("pocketsphinx aligned other words than the text")
    return phones, words


def _item(symbol: str, start: int, duration: int) -> AlignmentItem:
    return AlignmentItem(symbol, round(start * FRAME_IN_S, 6), round(duration * FRAME_IN_S, 6))
