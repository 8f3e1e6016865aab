"""Pronunciations and lexicon.txt: the CMU dictionary in pocketsphinx's wheel, and for regular forms of its words a few rules.

The dictionary has 126,000 words, but 38 % of the utterances of train-clean-5 hold one that it lacks. Half of these words are
regular forms of its own: possessives, inflections, compounds. The rules derive those by phonology. The rest, mostly names,
is guessed from its letters. Of 20,000 of the dictionary's own words, taken out one at a time, the rules derive 7,900, and 81 % of
these exactly as it has them. Letters alone get 47 % of the same words (phone error rate 12.1 % against 4.1 %), although their
model was trained on them.
"""

import base64
import functools
import importlib.util
import logging
import re
import string
from collections.abc import Callable, Iterable
from pathlib import Path

from spin import artifacts
from spin.corpus.alignment import plain_phone
from spin.errors import DataError
from spin.runtime.files import write_text

Phones = tuple[str, ...]
_ONE_VOWEL = re.compile(r"[^AEIOU][AEIOUY][^AEIOUYWX]$")  # a single consonant that is not doubled (BAK-ING): E is silent
_VARIANT = re.compile(r"\(\d+\)$")
_VOICELESS = frozenset("P T K F TH S SH CH HH".split())
_VOWEL_BEFORE = {"Z": frozenset("S Z SH ZH CH JH".split()), "D": frozenset("TD")}  # sounds after which -S and -D have a vowel
_VOICELESS_FORM = {"Z": "S", "D": "T"}


def _table(rows: str) -> list[tuple[str, Phones]]:
    return [(affix, tuple(phones.split())) for affix, phones in (row.split(":") for row in rows.split(" | "))]


# Suffix: its phones; the stem is what the dictionary has, possibly with a final E restored, I for Y, or a consonant doubled.
_SUFFIXES = _table(
    "'S:Z | S:Z | ES:Z | 'D:D | ED:D | 'LL:AH L | 'VE:AH V | 'RE:ER | N'T:AH N T | ING:IH NG | ETH:AH TH | EST:AH S T | "
    "LESS:L AH S | FUL:F AH L | NESS:N AH S | MENT:M AH N T | LY:L IY | ER:ER | ISH:IH SH | ABLE:AH B AH L | LIKE:L AY K"
)
_PREFIXES = dict(_table("UN:AH N | RE:R IY | NON:N AA N | MIS:M IH S | OUT:AW T"))
_SHORTEST_STEM = 3
_SHORTEST_HALF = 4  # of a compound: shorter halves are chance


class Dictionary:
    """word -> pronunciations, in upper case, without stress, from a file of CMU dictionary form (word or word(2), then phones).

    Default: the file in pocketsphinx's wheel. `g2p` guesses a word that no rule derives, which has no pronunciation without it.
    """

    def __init__(self, path: str | Path | None = None, g2p: Callable[[str], Phones] | None = None):
        if path is None:
            import pocketsphinx  # imported here: a corpus without ASR and with alignments from a TSV does without it

            path = pocketsphinx.get_model_path("en-us/cmudict-en-us.dict")
        self._entries = _read(Path(path))
        self._g2p = g2p

    def __contains__(self, word: str) -> bool:
        return word in self._entries

    def pronunciations(self, word: str) -> tuple[Phones, ...]:
        """The dictionary's pronunciations of a normalised word, else one derived by rule, else one guessed, else ()."""
        if word in self._entries:
            return self._entries[word]
        phones = self.derive(word) or self.guess(word)
        return (phones,) if phones else ()

    def guess(self, word: str) -> Phones:
        """A pronunciation from a word's letters; of a possessive (HAGAR'S) from those of its stem, whose sound rules the S."""
        stem = word.removesuffix("'S")
        phones = self._g2p(stem) if self._g2p else ()
        return _attach(phones, ("Z",)) if phones and stem != word else phones

    def derive(self, word: str) -> Phones:
        """A pronunciation by rule from other words of the dictionary, () where no rule fits."""
        return self._first(word.strip("'")) or self._with_suffix(word) or self._compound(word)

    def _first(self, word: str) -> Phones:
        return self._entries.get(word, ((),))[0]

    def _with_suffix(self, word: str) -> Phones:
        for suffix, phones in _SUFFIXES:
            rest = word.removesuffix(suffix)
            if rest == word or len(rest) < _SHORTEST_STEM or (suffix == "S" and word.endswith(("SS", "US", "IS"))):
                continue
            # The rest may be a regular form (HEARTLESS-LY); a respelled one must not, or STAMMERED would be of STAM-MERE.
            stems = (self._first(stem) or (self.derive(stem) if stem == rest else ()) for stem in _stems(rest, suffix))
            if stem := next(filter(None, stems), ()):
                return _attach(stem, phones)
        return ()

    def _compound(self, word: str) -> Phones:
        for split in range(2, len(word) - _SHORTEST_HALF + 1):
            first = _PREFIXES.get(word[:split]) or (self._first(word[:split]) if split >= _SHORTEST_HALF else ())
            second = self._first(word[split:])
            if first and second:
                return first + second
        return ()


@functools.lru_cache(maxsize=1)
def default_dictionary() -> Dictionary:
    """The dictionary of pocketsphinx's wheel and the model of gruut_lang_en (where it is installed), read once a process."""
    return Dictionary(g2p=default_model())


def write_lexicon(path: Path, words: Iterable[str], dictionary: Dictionary, log: logging.Logger) -> None:
    """Writes word, tab, phones for each word that has a pronunciation (its first), sorted.

    Further pronunciations go to artifacts.lexicon_variants(corpus) in the same folder and form, because alignments and
    training know one pronunciation of each word.
    """
    pronunciations = {word: dictionary.pronunciations(word) for word in sorted(set(words))}
    entries = [[f"{word}\t{' '.join(phones)}\n" for phones in variants] for word, variants in pronunciations.items()]
    write_text(artifacts.lexicon_variants(path.parent), "".join(line for lines in entries for line in lines[1:]))
    write_text(path, "".join(line for lines in entries for line in lines[:1]))
    new = [word for word in pronunciations if word not in dictionary]
    log.info("lexicon: %d words; %d that the dictionary lacks are derived by rule or guessed", len(entries), len(new))
    missing = [word for word, variants in pronunciations.items() if not variants]
    if missing:
        hint = "run utils/setup_env.sh where gruut_lang_en is not installed"
        log.warning("lexicon: %d words without a pronunciation, such as %s; %s", len(missing), " ".join(missing[:8]), hint)


def _read(path: Path) -> dict[str, tuple[Phones, ...]]:
    entries: dict[str, list[Phones]] = {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"dictionary {path}", found=str(error), expected="lines of a word and its phones") from error
    for line in text.splitlines():
        word, *phones = line.split()
        plain = tuple(plain_phone(phone) for phone in phones)
        variants = entries.setdefault(_VARIANT.sub("", word).upper(), [])
        if plain and plain not in variants:
            variants.append(plain)
    return {word: tuple(variants) for word, variants in entries.items() if variants}


def _stems(rest: str, suffix: str) -> list[str]:
    """Stems that a suffix may follow: BAK(E)ING, CARR(Y)IED, STOP(P)ED; TAPING is of TAPE rather than TAP."""
    stems = [rest]
    if suffix[0] in "AEIOUY":
        stems.insert(0 if _ONE_VOWEL.search(rest) else 1, rest + "E")
    if rest.endswith("I"):
        stems.append(rest[:-1] + "Y")
    if len(rest) > 2 and rest[-1] == rest[-2]:
        stems.append(rest[:-1])
    return stems


def _attach(stem: Phones, suffix: Phones) -> Phones:
    """The stem with a suffix; -S and -D take the sound that the end of the stem asks for."""
    sound = suffix[-1]
    if len(suffix) > 1 or sound not in _VOICELESS_FORM:
        return stem + suffix
    if stem[-1] in _VOWEL_BEFORE[sound]:
        return (*stem, "IH", sound)
    return (*stem, _VOICELESS_FORM[sound] if stem[-1] in _VOICELESS else sound)


PACKAGES = ("gruut_lang_en", "pycrfsuite")
_CONTEXT = 3  # letters before and after
_ENCODED = {letter: base64.b64encode(letter.encode()).decode("ascii") for letter in string.ascii_lowercase}
_STRESS = "\u02c8\u02cc"
_ARPABET = {
    "a\u026a": "AY", "a\u028a": "AW", "b": "B", "d": "D", "d\u0361\u0292": "JH", "e\u026a": "EY", "f": "F", "h": "HH",
    "i": "IY", "j": "Y", "k": "K", "l": "L", "m": "M", "n": "N", "o\u028a": "OW", "p": "P", "s": "S", "t": "T",
    "t\u0361\u0283": "CH", "u": "UW", "v": "V", "w": "W", "z": "Z", "\u00e6": "AE", "\u00f0": "DH", "\u014b": "NG",
    "\u0251": "AA", "\u0254": "AO", "\u0254\u026a": "OY", "\u0259": "AH", "\u025a": "ER", "\u025b": "EH", "\u0261": "G",
    "\u026a": "IH", "\u0279": "R", "\u0283": "SH", "\u028a": "UH", "\u028c": "AH", "\u0292": "ZH", "\u03b8": "TH",
}  # fmt: skip


@functools.lru_cache(maxsize=1)
def default_model() -> Callable[[str], Phones] | None:
    """Pronunciations by letters: a conditional random field, trained on the CMU dictionary; None where it is not installed.

    The model is the English one of gruut (github.com/rhasspy/gruut, MIT), a file of 2 MB in the wheel gruut_lang_en. gruut itself
    is not needed: it adds only tokenisation, and numbers by an LGPL package. The model answers in IPA. Its 68 symbols are the 39
    ARPAbet phones with their stress, one to one except for the two unstressed vowels of AH and ER.
    """
    if not all(importlib.util.find_spec(name) for name in PACKAGES):
        return None
    import pycrfsuite

    tagger = pycrfsuite.Tagger()
    tagger.open(str(Path(importlib.util.find_spec(PACKAGES[0]).origin).parent / "g2p" / "model.crf"))
    return functools.partial(_spell, tagger)


def _spell(tagger, word: str) -> Phones:
    """ARPAbet without stress of a normalised word (A-Z, apostrophes are ignored); () where every letter is silent."""
    letters = re.sub("[^A-Z]", "", word).lower()
    labels = tagger.tag([_features(letters, index) for index in range(len(letters))]) if letters else []
    return tuple(phone for label in labels for phone in _phones(label))


def _features(letters: str, index: int) -> dict:
    """Those of the model's training (gruut/g2p.py): a letter and the three before and after it."""
    features = {"bias": 1.0, "grapheme": _ENCODED[letters[index]]}
    features |= {name: True for name, place in (("begin", 0), ("end", len(letters) - 1)) if index == place}
    near = range(max(0, index - _CONTEXT), min(len(letters), index + _CONTEXT + 1))
    return features | {f"grapheme{other - index:+d}": _ENCODED[letters[other]] for other in near if other != index}


@functools.lru_cache(maxsize=1024)
def _phones(label: str) -> Phones:
    """The phones of one letter: the model's label is base64 of IPA, with | between several and _ for none."""
    symbols = base64.b64decode(label).decode().split("|")
    return tuple(_ARPABET[symbol.lstrip(_STRESS)] for symbol in symbols if symbol != "_")
