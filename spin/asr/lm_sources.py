"""Where an n-gram LM comes from: trained on text, or a given ARPA file such as LibriSpeech's 3-gram.pruned.1e-7.arpa.gz."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import k2

from spin import artifacts
from spin.asr.lang import WORDS_FILE, Lang
from spin.asr.lm import grammar, train_arpa
from spin.errors import DataError
from spin.runtime.logs import get_logger

NO_WORDS = ("<s>", "</s>", "<unk>", "<UNK>")
_BYTES = 1 << 20


@dataclass(frozen=True)
class LmSource:
    """One LM.

    Attributes:
        text: sentences to train on.
        order: of the n-grams to train; a given file has its own.
        given: ARPA file, perhaps gzipped, in place of training.
    """

    text: Path
    order: int
    given: Path | None = None

    def digest(self) -> str:
        """Of what the LM is made from: the given file's bytes, or order and sentences."""
        state = hashlib.blake2b(digest_size=16)
        if self.given is None:
            state.update(f"{self.order}\n".encode())
            for sentence in read_sentences(self.text):
                state.update(sentence.encode("utf-8") + b"\n")
            return state.hexdigest()
        state.update(b"given\n")
        with _opened(self.given, packed=True) as stream:
            while block := stream.read(_BYTES):
                state.update(block)
        return state.hexdigest()

    def grammar(self, lang: Lang, folder: Path) -> k2.Fsa:
        """G over the word table of `folder`; a trained model is left there as an ARPA file.

        Raises:
            DataError: no text, no such file, or no ARPA file.
        """
        words = folder / WORDS_FILE
        if self.given is None:
            path = artifacts.arpa(folder, self.order)
            sentences = read_sentences(self.text)
            number = train_arpa(sentences, self.order, lang.words, path)
            unspoken = len(set(lang.words) - {word for sentence in sentences for word in sentence.split()})
            message = "%d-gram LM from %d sentences; %d word(s) of the lexicon never occur in them"
            get_logger("asr.graphs").info(message, self.order, number, unspoken)
            return grammar(path, words, self.order)
        with _unpacked(self.given) as path:
            return grammar(path, words, arpa_order(path))

    def words(self) -> list[str]:
        """Words of the LM in the order of the file; of a text, none beyond the lexicon's."""
        return [] if self.given is None else list(arpa_words(self.given))


def read_sentences(path: Path) -> list[str]:
    """The lines of a text file that hold a word."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), found=str(error), expected="a sentence a line", remedy="run stage 0") from error
    return [" ".join(line.split()) for line in lines if line.split()]


def arpa_order(path: Path) -> int:
    """The highest n of the "ngram n=count" lines.

    Raises:
        DataError: there is none before the first section.
    """
    order = 0
    for line in _lines(path):
        if line.startswith("ngram "):
            order = max(order, int(line.split()[1].split("=")[0]))
        elif line.startswith("\\") and "-grams:" in line:
            break
    if order == 0:
        raise _no_arpa(path, "no line 'ngram n=count'")
    return order


def arpa_words(path: Path) -> Iterator[str]:
    """The words of the unigrams, without <s>, </s> and the unknown word.

    Raises:
        DataError: there is no section of unigrams.
    """
    inside = False
    for line in _lines(path):
        if line.startswith("\\"):
            if inside:
                return
            inside = line.startswith("\\1-grams:")
        elif inside and len(fields := line.split()) >= 2 and fields[1] not in NO_WORDS:
            yield fields[1]
    if not inside:
        raise _no_arpa(path, "no section \\1-grams:")


def _lines(path: Path) -> Iterator[str]:
    with _opened(path) as stream:
        try:
            for line in stream:
                yield line.decode("utf-8").strip()
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise _no_arpa(path, str(error)) from error


@contextlib.contextmanager
def _opened(path: Path, packed: bool = False):
    try:
        stream = gzip.open(path, "rb") if path.suffix == ".gz" and not packed else open(path, "rb")
    except OSError as error:
        raise _no_arpa(path, str(error)) from error
    with stream:
        yield stream


@contextlib.contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """The file itself, or a plain copy of a gzipped one for as long as it is needed."""
    if path.suffix != ".gz":
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="spin-arpa-") as folder:
        plain = Path(folder) / path.stem
        try:
            with _opened(path) as source, open(plain, "wb") as target:
                shutil.copyfileobj(source, target, _BYTES)
        except (OSError, EOFError) as error:
            raise _no_arpa(path, str(error)) from error
        yield plain


def _no_arpa(path: Path, found: str) -> DataError:
    return DataError(
        str(path), found=found, expected="an ARPA file, plain or .gz", remedy="see decoding.arpa and decoding.rescore_arpa"
    )
