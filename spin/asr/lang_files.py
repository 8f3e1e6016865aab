"""The text files of a lang folder: symbol tables and lexicons."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from pathlib import Path

from spin.errors import DataError

Lexicon = tuple[tuple[str, tuple[int, ...]], ...]
REMEDY = "./run.sh --stage 4 --stop-stage 4 --force"


def format_table(symbols: Iterable[str]) -> str:
    """One line per symbol: symbol and number, from 0."""
    return "".join(f"{symbol} {number}\n" for number, symbol in enumerate(symbols))


def format_lexicon(lexicon: Iterable[tuple[str, tuple[int, ...]]], tokens: tuple[str, ...]) -> str:
    """One line per pronunciation: word and tokens."""
    return "".join(f"{word} {' '.join(tokens[number] for number in ids)}\n" for word, ids in lexicon)


def read_lines(path: Path) -> list[str]:
    """The lines of a file of the lang folder; DataError when it is missing."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), found=str(error), expected="a file of the lang folder", remedy=REMEDY) from error


def read_table(path: Path) -> tuple[str, ...]:
    """Symbols in the order of their numbers; DataError names a line with a gap, or a symbol that occurs twice."""
    symbols = []
    for number, line in enumerate(read_lines(path)):
        fields = line.split()
        if len(fields) != 2 or fields[1] != str(number):
            expected = f"a symbol and {number}"
            raise DataError(f"{path}, line {number + 1}", found=repr(line), expected=expected, remedy=REMEDY)
        symbols.append(fields[0])
    repeated = [symbol for symbol, count in collections.Counter(symbols).items() if count > 1]
    if repeated:
        raise DataError(str(path), found=f"'{repeated[0]}' twice", expected="every symbol once", remedy=REMEDY)
    return tuple(symbols)


def read_lexicon(path: Path, token_ids: dict[str, int], words: set[str] | None = None) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(word, token ids) of each line; DataError names a line with an unknown token, or a word outside `words`."""
    for number, line in enumerate(read_lines(path), start=1):
        word, *pieces = line.split() or [""]
        known = bool(word) and (words is None or word in words)
        if not known or not pieces or any(piece not in token_ids for piece in pieces):
            expected = "a word of words.txt and tokens of tokens.txt"
            raise DataError(f"{path}, line {number}", found=repr(line), expected=expected, remedy=REMEDY)
        yield word, tuple(token_ids[piece] for piece in pieces)
