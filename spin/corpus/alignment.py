"""Phone alignments as lhotse AlignmentItems, as labels every 10 ms, and as the TSV of the Spin authors.

TSV: one line per utterance: id, tab, phones every 10 ms separated by commas (github.com/vectominist/spin, read_phn in
src/data/dataset.py, which removes the stress digits as is done here).
"""

import functools
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path

from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.errors import DataError
from spin.runtime.files import atomic_path

PHONES = tuple(
    "AA AE AH AO AW AY B CH D DH EH ER EY F G HH IH IY JH K L M N NG OW OY P R S SH T TH UH UW V W Y Z ZH".split()
)  # ARPAbet without stress, the 39 phones of the CMU dictionary
TSV_FORM = "utterance, tab, comma-separated phones every 10 ms"
_SILENT = {"", "SIL", "SP", "SPN", "NSN", "PAU", "H#", "<EPS>", "+NSN+", "+SPN+", "+BREATH+", "+COUGH+", "+NOISE+", "+SMACK+"}


@functools.lru_cache(maxsize=4096)
def plain_phone(symbol: str) -> str:
    """ARPAbet in upper case without stress digits; every name of silence or noise becomes SIL.

    >>> plain_phone("ow2"), plain_phone("spn")
    ('OW', 'SIL')
    """
    phone = re.sub("[0-9]", "", symbol.strip()).upper()
    return artifacts.SILENCE if phone in _SILENT else phone


def items_from_labels(labels: Iterable[str], shift: float = artifacts.PHONE_SHIFT_IN_S) -> list[AlignmentItem]:
    """Runs of equal labels as items; spin.units.phones.frame_labels gives the labels back exactly."""
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
                found = "no label, or a tab, comma or line end in it"
                raise DataError(f"utterance {utterance_id!r}", found=found, expected="plain words", remedy="rename it")
            stream.write(f"{utterance_id}\t{','.join(labels)}\n")
            count += 1
    return count


def read_tsv(path: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Yields (utterance id, plain phones every 10 ms), reading one line at a time.

    Raises:
        DataError: no such file, not UTF-8, or a line of another form; names the file and the line.
    """
    return ((identity, phones) for _, _, identity, phones in _utterances(path))


class TsvIndex:
    """Index of the lines of a TSV: it holds ids only, and phones are read on demand.

    Raises:
        DataError: as read_tsv, or an utterance that occurs twice.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._offsets: dict[str, int] = {}
        for where, offset, identity, _ in _utterances(path):
            if identity in self._offsets:
                raise DataError(where, found=f"{identity} a second time", expected="one line per utterance")
            self._offsets[identity] = offset

    def __iter__(self) -> Iterator[str]:
        return iter(self._offsets)

    def __contains__(self, utterance_id: str) -> bool:
        return utterance_id in self._offsets

    def labels(self, utterance_id: str) -> list[str]:
        """The plain phones of an utterance every 10 ms; KeyError when the file has none."""
        return next(_utterances(self.path, self._offsets[utterance_id]))[3]


def _utterances(path: str | Path, offset: int = 0) -> Iterator[tuple[str, int, str, list[str]]]:
    """(file and line for messages, byte offset, id, phones) of every line that is not blank, from an offset."""
    try:
        with open(path, "rb") as stream:
            stream.seek(offset)
            for number, raw in enumerate(stream, 1):
                where = f"{path} line {number}"
                if raw.strip(b"\xef\xbb\xbf \t\r\n"):
                    yield where, offset, *_parse(where, raw)
                offset += len(raw)
    except OSError as error:
        raise DataError(
            f"alignment file {path}",
            found=error.strerror or str(error),
            expected=f"a TSV: {TSV_FORM}",
            remedy="--set corpus.alignment_tsv=FILE (or a folder of <part>.tsv; python -m spin align makes one of "
            "TextGrids), or --set corpus.alignment=pocketsphinx",
        ) from error


def _parse(where: str, raw: bytes) -> tuple[str, list[str]]:
    try:
        line = raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(where, found=str(error), expected="UTF-8 text") from error
    identity, tab, phones = line.partition("\t")
    if not tab or not identity.strip() or not phones.strip() or "\t" in phones.rstrip():
        raise DataError(where, found=repr(line[:60]), expected=TSV_FORM)
    return identity.strip(), [plain_phone(phone) for phone in phones.split(",")]
