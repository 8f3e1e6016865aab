"""Grapheme-to-phoneme conversion of words that no dictionary has: a conditional random field, trained on the CMU dictionary.

The model is the English one of gruut (github.com/rhasspy/gruut, MIT), which the wheel gruut_lang_en brings as a file. It is read
with python-crfsuite (MIT). gruut itself is not needed: it adds only tokenisation, and numbers by an LGPL package. The features
are those of the model's training (gruut/g2p.py): a letter and the three before and after it. The model answers in IPA. Its 68
symbols are the 39 ARPAbet phones with their stress, one to one except for the two unstressed vowels of AH and ER.
"""

from __future__ import annotations

import base64
import functools
import importlib.util
import re
from pathlib import Path

Phones = tuple[str, ...]
PACKAGES = ("gruut_lang_en", "pycrfsuite")
_CONTEXT = 3  # letters before and after
_NOTHING, _JOINED = "_", "|"  # a silent letter; several phones of one letter
_STRESS = "\u02c8\u02cc"
_ARPABET = {
    "a\u026a": "AY", "a\u028a": "AW", "b": "B", "d": "D", "d\u0361\u0292": "JH", "e\u026a": "EY", "f": "F", "h": "HH",
    "i": "IY", "j": "Y", "k": "K", "l": "L", "m": "M", "n": "N", "o\u028a": "OW", "p": "P", "s": "S", "t": "T",
    "t\u0361\u0283": "CH", "u": "UW", "v": "V", "w": "W", "z": "Z", "\u00e6": "AE", "\u00f0": "DH", "\u014b": "NG",
    "\u0251": "AA", "\u0254": "AO", "\u0254\u026a": "OY", "\u0259": "AH", "\u025a": "ER", "\u025b": "EH", "\u0261": "G",
    "\u026a": "IH", "\u0279": "R", "\u0283": "SH", "\u028a": "UH", "\u028c": "AH", "\u0292": "ZH", "\u03b8": "TH",
}  # fmt: skip


class GraphemeToPhoneme:
    """The model in memory: 2 MB, read in 4 ms."""

    def __init__(self):
        import pycrfsuite

        self._tagger = pycrfsuite.Tagger()
        self._tagger.open(str(Path(importlib.util.find_spec(PACKAGES[0]).origin).parent / "g2p" / "model.crf"))

    def __call__(self, word: str) -> Phones:
        """ARPAbet without stress of a normalised word (A-Z, apostrophes are ignored); () where every letter is silent."""
        letters = re.sub("[^A-Z]", "", word).lower()
        if not letters:
            return ()
        labels = self._tagger.tag([_features(letters, index) for index in range(len(letters))])
        return tuple(_ARPABET[phone] for label in labels for phone in _phones(label))


@functools.lru_cache(maxsize=1)
def default_model() -> GraphemeToPhoneme | None:
    """The model, read once per process; None where one of the packages is not installed."""
    return GraphemeToPhoneme() if all(importlib.util.find_spec(name) for name in PACKAGES) else None


def _features(letters: str, index: int) -> dict:
    features: dict = {"bias": 1.0, "grapheme": _encoded(letters[index])}
    if index == 0:
        features["begin"] = True
    if index == len(letters) - 1:
        features["end"] = True
    for distance in range(1, _CONTEXT + 1):
        if index >= distance:
            features[f"grapheme-{distance}"] = _encoded(letters[index - distance])
        if index + distance < len(letters):
            features[f"grapheme+{distance}"] = _encoded(letters[index + distance])
    return features


@functools.lru_cache(maxsize=64)
def _encoded(letter: str) -> str:
    return base64.b64encode(letter.encode()).decode("ascii")


@functools.lru_cache(maxsize=1024)
def _phones(label: str) -> Phones:
    """IPA without stress of one label of the model."""
    symbols = base64.b64decode(label).decode().split(_JOINED)
    return tuple(symbol.lstrip(_STRESS) for symbol in symbols if symbol != _NOTHING)
