"""Phone alignments as lhotse AlignmentItems, as labels every 10 ms, and as the TSV of the Spin authors.

TSV: one line per utterance: id, tab, phones every 10 ms separated by commas (github.com/vectominist/spin, read_phn in
src/data/dataset.py, which removes the stress digits as is done here).
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.corpus.text import shorten
from spin.errors import DataError
from spin.runtime.files import atomic_path

PHONES = tuple(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()
)  # ARPAbet without stress, the 39 phones of the CMU dictionary
_SILENT = {"", "SIL", "SP", "SPN", "NSN", "PAU", "H#", "<EPS>", "+NSN+", "+SPN+", "+BREATH+", "+COUGH+", "+NOISE+", "+SMACK+"}
_STRESS = re.compile(r"[0-9]")


@functools.lru_cache(maxsize=4096)
def plain_phone(symbol: str) -> str:
    """ARPAbet in upper case without stress digits; every name of silence or noise becomes SIL."""
    phone = _STRESS.sub("", symbol.strip()).upper()
    return artifacts.SILENCE if phone in _SILENT else phone


def labels_from_items(items: Iterable[AlignmentItem], frames: int, shift: float = artifacts.PHONE_SHIFT_IN_S) -> list[str]:
    """The phone at the centre of each of `frames` frames of `shift` seconds; SIL where no item is.

    Args:
        items: in order of time, not overlapping; seconds from the start of the utterance.
    """
    labels = [artifacts.SILENCE] * frames
    for item in items:
        first, last = (max(0, min(frames, _frames_before(time, shift))) for time in (item.start, item.end))
        labels[first:last] = [item.symbol] * (last - first)
    return labels


def _frames_before(time: float, shift: float) -> int:
    # How many frame centres (i + 1/2) * shift lie before `time`; rounded first, as times are sums of binary fractions.
    return math.ceil(round(time / shift, 6) - 0.5)


def items_from_labels(labels: Iterable[str], shift: float = artifacts.PHONE_SHIFT_IN_S) -> list[AlignmentItem]:
    """Runs of equal labels as items; labels_from_items gives the labels back exactly."""
    items, start = [], 0
    for symbol, run in groupby(labels):
        count = sum(1 for _ in run)
        items.append(AlignmentItem(symbol, round(start * shift, 6), round(count * shift, 6)))
        start += count
    return items


def write_tsv(path: str | Path, utterances: Iterable[tuple[str, list[str]]]) -> int:
    """Writes (utterance id, labels every 10 ms) lines completely or not at all; returns the number of lines.

    Raises:
        DataError: an id or a label holds a tab, a comma or a line end, or an utterance has no label.
    """
    count = 0
    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as stream:
        for utterance_id, labels in utterances:
            if not labels or any(set(word) & set("\t,\r\n") or not word for word in (utterance_id, *labels)):
                raise DataError(
                    f"utterance {utterance_id!r}", found="no label, or a tab, comma or line end in it", expected="plain words"
                )
            stream.write(f"{utterance_id}\t{','.join(labels)}\n")
            count += 1
    return count


def read_tsv(path: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Yields (utterance id, plain phones every 10 ms), reading one line at a time.

    Raises:
        DataError: no such file, not UTF-8, or a line of another form; names the file and the line.
    """
    for number, _, line in _lines(path):
        yield _parse(path, number, line)


class TsvIndex:
    """Index of the lines of a TSV: it holds ids only, and phones are read on demand.

    Raises:
        DataError: no such file, a malformed line, or an utterance that occurs twice.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._offsets: dict[str, int] = {}
        for number, offset, line in _lines(self.path):
            utterance_id = _parse(self.path, number, line)[0]
            if utterance_id in self._offsets:
                raise DataError(
                    f"{self.path} line {number}", found=f"{utterance_id} a second time", expected="one line per utterance"
                )
            self._offsets[utterance_id] = offset

    def __len__(self) -> int:
        return len(self._offsets)

    def __contains__(self, utterance_id: str) -> bool:
        return utterance_id in self._offsets

    def labels(self, utterance_id: str) -> list[str]:
        """The plain phones of an utterance every 10 ms; KeyError when the file has none."""
        with open(self.path, "rb") as stream:
            stream.seek(self._offsets[utterance_id])
            return _parse(self.path, 0, _decode(self.path, 0, stream.readline()))[1]


def _lines(path: str | Path) -> Iterator[tuple[int, int, str]]:
    """(number from 1, byte offset, text) of every line that is not blank."""
    try:
        with open(path, "rb") as stream:
            offset = 0
            for number, raw in enumerate(stream, 1):
                line = _decode(path, number, raw)
                if line.strip():
                    yield number, offset, line
                offset += len(raw)
    except OSError as error:
        raise DataError(
            f"alignment file {path}",
            found=error.strerror or str(error),
            expected="a TSV: utterance, tab, comma-separated phones every 10 ms",
            remedy="--set corpus.alignment_tsv=FILE (or a folder of <part>.tsv; python -m spin align makes one of "
            "TextGrids or CTM), or --set corpus.alignment=pocketsphinx",
        ) from error


def _decode(path: str | Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} line {number}", found=str(error), expected="UTF-8 text") from error


def _parse(path: str | Path, number: int, line: str) -> tuple[str, list[str]]:
    utterance_id, tab, phones = line.partition("\t")
    if not tab or not utterance_id.strip() or not phones.strip() or "\t" in phones.rstrip():
        raise DataError(
            f"{path} line {number}", found=repr(shorten(line)), expected="utterance, tab, comma-separated phones every 10 ms"
        )
    return utterance_id.strip(), [plain_phone(phone) for phone in phones.split(",")]
