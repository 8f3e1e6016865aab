"""The text files of a lang folder: symbol tables and lexicons."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from pathlib import Path

from spin.errors import DataError


def table(symbols: Iterable[str]) -> str:
    """A line a symbol: symbol and number, from 0."""
    return "".join(f"{symbol} {number}\n" for number, symbol in enumerate(symbols))


def lexicon_lines(lexicon: Iterable[tuple[str, tuple[int, ...]]], tokens: tuple[str, ...]) -> str:
    """A line a pronunciation: word and tokens."""
    return "".join(f"{word} {' '.join(tokens[number] for number in ids)}\n" for word, ids in lexicon)


def read_lines(path: Path) -> list[str]:
    """The lines of a file of the lang folder; DataError where there is none."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(str(path), found=str(error), expected="a file of the lang folder", remedy="run stage 4") from error


def read_table(path: Path) -> tuple[str, ...]:
    """Symbols in the order of their numbers; DataError names a line with a gap, or a symbol that comes twice."""
    symbols = []
    for number, line in enumerate(read_lines(path)):
        fields = line.split()
        if len(fields) != 2 or fields[1] != str(number):
            raise DataError(
                f"{path}, line {number + 1}",
                found=repr(line),
                expected=f"a symbol and {number}",
                remedy="run stage 4 with --force",
            )
        symbols.append(fields[0])
    if len(set(symbols)) < len(symbols):
        twice = next(symbol for symbol, count in collections.Counter(symbols).items() if count > 1)
        raise DataError(str(path), found=f"'{twice}' twice", expected="every symbol once")
    return tuple(symbols)


def read_lexicon(path: Path, token_ids: dict[str, int], words: set[str] | None = None) -> Iterator[tuple[str, tuple[int, ...]]]:
    """(word, token ids) a line; DataError names a line with an unknown token, or a word beyond `words` (None: any word)."""
    for number, line in enumerate(read_lines(path), start=1):
        word, *pieces = line.split() or [""]
        if not word or (words is not None and word not in words) or not pieces or any(piece not in token_ids for piece in pieces):
            raise DataError(f"{path}, line {number}", found=repr(line), expected="a word of words.txt and tokens of tokens.txt")
        yield word, tuple(token_ids[piece] for piece in pieces)
