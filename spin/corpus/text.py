"""The one normalisation of text, for the language model, for training and for scoring.

Result: upper case A-Z and apostrophe, words separated by single spaces, the form of LibriSpeech's transcripts. What has no single
reading (digits, currency signs, other alphabets) is rejected instead of being guessed or dropped.
"""

import re
import unicodedata

from spin.corpus.registry import Rejected

# Letters that Unicode does not decompose into A-Z and a mark.
_LETTERS = {"Æ": "AE", "Œ": "OE", "Ø": "O", "Ł": "L", "Đ": "D", "Ð": "D", "Þ": "TH", "ẞ": "SS", "Ħ": "H", "Ŀ": "L", "Ŋ": "NG"}
_APOSTROPHES = "\u2019\u02bc\u2032\u02b9"  # right quote, modifier apostrophe, prime: what stands for ' in print
_SPOKEN = set("&%@#\u00a7\u2030")  # punctuation by Unicode, but read aloud
_ACCENTS = set("`\u00b4^~|\u00a8\u00af")  # symbols by Unicode, but never read aloud
_NORMAL = re.compile(r"(?=.*[A-Z])[A-Z']+(?: [A-Z']+)*")


def normalise(text: str) -> str:
    """Upper case A-Z and apostrophe, single spaces; '' where nothing is spoken. normalise(normalise(x)) == normalise(x).

    Accents are folded (e with acute: E, sharp s: SS), punctuation, hyphens, tabs, line ends and byte order marks separate or
    vanish, a word of apostrophes only is dropped.

    Raises Rejected for a digit, a symbol that is read aloud, or a letter of another alphabet; names the first one.
    """
    letters = unicodedata.normalize("NFKD", text.upper()).upper()  # again: NFKD makes small letters of some signs
    folded = "".join(map(_fold, letters))
    return " ".join(word for word in folded.split() if word.strip("'"))


def is_normal(text: str) -> bool:
    """True for what normalise returns for a text with at least one word."""
    return _NORMAL.fullmatch(text) is not None and normalise(text) == text


def _fold(sign: str) -> str:
    if "A" <= sign <= "Z" or sign == "'":
        return sign
    if sign in _APOSTROPHES:
        return "'"
    if sign in _LETTERS:
        return _LETTERS[sign]
    kind = unicodedata.category(sign)
    if kind in ("Mn", "Cf"):  # accents; byte order mark, soft hyphen, joiners
        return ""
    if sign in _ACCENTS or kind[0] == "Z" or kind == "Cc" or (kind[0] == "P" and sign not in _SPOKEN):
        return " "
    raise Rejected(f"text: {sign!r} (U+{ord(sign):04X}) has no single reading")
