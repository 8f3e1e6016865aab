"""Pronunciations and lexicon.txt: the CMU dictionary in pocketsphinx's wheel, and for regular forms of its words a few rules.

The dictionary has 126,000 words, but 38 % of the utterances of train-clean-5 hold one that it lacks, half of them a regular
form of one that it has: a possessive, an inflection, a British spelling or a compound. The rules derive those by English
phonology; the rest (names, mostly) is guessed from its letters. Of 20,000 of the dictionary's own words, taken out one at a time,
the rules derive 8,400, and 78 % of these exactly as it has them. Letters alone get 49 % of the same words (phone error rate
11.8 % against 4.7 %), although their model was trained on them.
"""

import base64
import functools
import importlib.util
import logging
import re
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
# An ending: the sounds after which it has a vowel, then its voiceless and its voiced form.
_S = (frozenset("S Z SH ZH CH JH".split()), "S", "Z")
_D = (frozenset("TD"), "T", "D")


def _table(rows: str) -> list[tuple[str, Phones]]:
    return [(affix, tuple(phones.split())) for affix, phones in (row.split(":") for row in rows.split(" | "))]


# British spelling -> American, as the dictionary has it; tried on the whole word.
_SPELLINGS = tuple(
    pair.split(":")
    for pair in "OUR:OR ISE:IZE ISI:IZI ISA:IZA YSE:YZE ENCE:ENSE LLE:LE LLI:LI LL:L "
    "TRE:TER BRE:BER AE:E OE:E OGUE:OG GREY:GRAY MME:M UL:ULL XION:CTION".split()
)
# Suffix: its phones; the stem is what the dictionary has, possibly with a final E restored, I for Y, or a consonant doubled.
_SUFFIXES = _table(
    "'LL:AH L | 'VE:AH V | 'RE:ER | N'T:AH N T | INGLY:IH NG L IY | INGS:IH NG Z | ING:IH NG | IN':IH N | IN:IH N | "
    "LESSLY:L AH S L IY | LESS:L AH S | FULLY:F AH L IY | FUL:F AH L | NESSES:N AH S IH Z | NESS:N AH S | "
    "MENTS:M AH N T S | MENT:M AH N T | LY:L IY | ERS:ER Z | ER:ER | EST:AH S T | ETH:AH TH | ST:S T | ISH:IH SH | "
    "ABLE:AH B AH L | LIKE:L AY K | Y:IY"
)
_PREFIXES = _table("UNDER:AH N D ER | OVER:OW V ER | OUT:AW T | NON:N AA N | UN:AH N | RE:R IY | MIS:M IH S")
_SHORTEST_STEM = 3
_SHORTEST_HALF = 4  # of a compound: shorter halves are chance


class Dictionary:
    """word -> pronunciations, in upper case, without stress.

    Args:
        path: a file of CMU dictionary form (word or word(2), then phones); default: the one in pocketsphinx's wheel.
        g2p: guesses a word that no rule derives; None: such a word has no pronunciation.

    Raises:
        DataError: no such file.
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
        return self._entries.get(word) or self.derive(word) or self.guess(word)

    def guess(self, word: str) -> tuple[Phones, ...]:
        """A pronunciation from a word's letters; of a possessive (HAGAR'S) from those of its stem, whose sound rules the S."""
        if self._g2p is None:
            return ()
        stem = word[:-2] if word.endswith("'S") else word
        phones = self._g2p(stem)
        phones = _end(phones, *_S) if stem != word else phones
        return (phones,) if phones else ()

    def derive(self, word: str) -> tuple[Phones, ...]:
        """A pronunciation by rule from other words of the dictionary, () where no rule fits."""
        bare = word.strip("'")
        if bare != word and bare in self._entries:
            return self._entries[bare][:1]
        for rule in (self._with_s, self._with_d, self._respelled, self._with_suffix, self._with_prefix, self._compound):
            phones = rule(word)
            if phones:
                return (phones,)
        return ()

    def _first(self, word: str) -> Phones | None:
        return next(iter(self._entries.get(word, ())), None)

    def _stem(self, word: str) -> Phones | None:
        """A word that may itself be a regular form (JUSTINIAN'S has no stem, BARKEEPER'S has)."""
        return self._first(word) or next(iter(self.derive(word)), None) if len(word) >= _SHORTEST_STEM else None

    def _inflected(self, rest: str, suffix: str) -> Phones | None:
        """The stem before a suffix; a respelled one must be a word of the dictionary, or STAMMERED would be of STAM-MERE."""
        if len(rest) < _SHORTEST_STEM - 1:
            return None
        stems = (self._stem(stem) if stem == rest else self._first(stem) for stem in _stems(rest, suffix))
        return next(filter(None, stems), None)

    def _with_s(self, word: str) -> Phones | None:
        if word.endswith("'S"):
            return _end(self._stem(word[:-2]), *_S)
        if word.endswith("IES"):
            return _end(self._stem(word[:-3] + "Y"), *_S)
        if word.endswith("S") and not word.endswith(("SS", "US", "IS")):
            return _end(self._stem(word[:-1]) or (self._stem(word[:-2]) if word.endswith("ES") else None), *_S)
        return None

    def _with_d(self, word: str) -> Phones | None:
        return _end(self._inflected(word[:-2], "E"), *_D) if word.endswith(("ED", "'D")) else None

    def _with_suffix(self, word: str) -> Phones | None:
        for suffix, phones in _SUFFIXES:
            if word.endswith(suffix):
                stem = self._inflected(word[: -len(suffix)], suffix)
                if stem:
                    return stem + phones
        return None

    def _with_prefix(self, word: str) -> Phones | None:
        for prefix, phones in _PREFIXES:
            stem = self._stem(word[len(prefix) :]) if word.startswith(prefix) else None
            if stem and len(word) - len(prefix) > _SHORTEST_STEM:
                return phones + stem
        return None

    def _respelled(self, word: str) -> Phones | None:
        candidates = (word.replace(british, american) for british, american in _SPELLINGS if british in word)
        return next(filter(None, map(self._first, candidates)), None)

    def _compound(self, word: str) -> Phones | None:
        for split in range(len(word) - _SHORTEST_HALF, _SHORTEST_HALF - 1, -1):
            first, second = self._first(word[:split]), self._first(word[split:])
            if first and second:
                return first + second
        return None


@functools.lru_cache(maxsize=1)
def default_dictionary() -> Dictionary:
    """The dictionary of pocketsphinx's wheel and the model of gruut_lang_en (where it is installed), read once a process."""
    return Dictionary(g2p=default_model())


def write_lexicon(path: Path, words: Iterable[str], dictionary: Dictionary, log: logging.Logger) -> None:
    """Writes word, tab, phones for each word that has a pronunciation (its first), sorted.

    Further pronunciations go to artifacts.lexicon(corpus, variants=True) in the same folder and form, because alignments and
    training know one pronunciation of each word.
    """
    pronunciations = {word: dictionary.pronunciations(word) for word in sorted(set(words))}
    entries = [[f"{word}\t{' '.join(phones)}\n" for phones in variants] for word, variants in pronunciations.items()]
    write_text(artifacts.lexicon(path.parent, variants=True), "".join(line for lines in entries for line in lines[1:]))
    write_text(path, "".join(line for lines in entries for line in lines[:1]))
    new = [word for word in pronunciations if word not in dictionary]
    log.info("lexicon: %d words; %d that the dictionary lacks are derived by rule or guessed", len(entries), len(new))
    missing = [word for word, variants in pronunciations.items() if not variants]
    if missing:
        message = (
            "lexicon: %d words without a pronunciation, such as %s; if gruut_lang_en is not installed, run utils/setup_env.sh"
        )
        log.warning(message, len(missing), " ".join(missing[:8]))


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


def _end(stem: Phones | None, vowel_after: frozenset[str], voiceless: str, voiced: str) -> Phones | None:
    """The stem with the sound of -S or -D; None where there is no stem."""
    if not stem:
        return None
    if stem[-1] in vowel_after:
        return (*stem, "IH", voiced)
    return (*stem, voiceless if stem[-1] in _VOICELESS else voiced)


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
    """Pronunciations by letters: a conditional random field, trained on the CMU dictionary; 2 MB, read in 4 ms.

    The model is the English one of gruut (github.com/rhasspy/gruut, MIT), a file in the wheel gruut_lang_en. gruut itself is not
    needed: it adds only tokenisation, and numbers by an LGPL package. The features are those of the model's training
    (gruut/g2p.py): a letter and the three before and after it. The model answers in IPA. Its 68 symbols are the 39 ARPAbet phones
    with their stress, one to one except for the two unstressed vowels of AH and ER.
    """

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
    features = {"bias": 1.0, "grapheme": _encoded(letters[index])}
    features |= {name: True for name, place in (("begin", 0), ("end", len(letters) - 1)) if index == place}
    near = range(max(0, index - _CONTEXT), min(len(letters), index + _CONTEXT + 1))
    return features | {f"grapheme{other - index:+d}": _encoded(letters[other]) for other in near if other != index}


@functools.lru_cache(maxsize=64)
def _encoded(letter: str) -> str:
    return base64.b64encode(letter.encode()).decode("ascii")


@functools.lru_cache(maxsize=1024)
def _phones(label: str) -> Phones:
    """IPA without stress of one label of the model."""
    symbols = base64.b64decode(label).decode().split(_JOINED)
    return tuple(symbol.lstrip(_STRESS) for symbol in symbols if symbol != _NOTHING)
