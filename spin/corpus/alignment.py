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
from spin.config import Config, CorpusConfig
from spin.corpus.registry import OFFICIAL_PARTS, needs_alignment
from spin.errors import ConfigError, DataError
from spin.runtime.download import cache_folder, fetch
from spin.runtime.files import atomic_path

TSV_FORM = "utterance, tab, comma-separated phones every 10 ms"
OFFICIAL_URL = "https://huggingface.co/datasets/vectominist/spin_data/resolve/main/{part}.tsv"
_SILENT = {"", "SIL", "SP", "SPN", "NSN", "PAU", "H#", "<EPS>", "+NSN+", "+SPN+", "+BREATH+", "+COUGH+", "+NOISE+", "+SMACK+"}
_OTHER_METHOD = "--set corpus.alignment=pocketsphinx"


@functools.lru_cache(maxsize=4096)
def plain_phone(symbol: str) -> str:
    """ARPAbet in upper case without stress digits; every name of silence or noise becomes SIL.

    >>> plain_phone("ow2"), plain_phone("spn")
    ('OW', 'SIL')
    """
    phone = re.sub("[0-9]", "", symbol.strip()).upper()
    return artifacts.SILENCE if phone in _SILENT else phone


def items_from_labels(labels: Iterable[str], shift: float = artifacts.PHONE_SHIFT_IN_S) -> list[AlignmentItem]:
    """Runs of equal labels as items; spin.units.units.frame_labels gives the labels back exactly."""
    items, start = [], 0
    for symbol, run in groupby(labels):
        count = sum(1 for _ in run)
        items.append(AlignmentItem(symbol, round(start * shift, 6), round(count * shift, 6)))
        start += count
    return items


def write_tsv(path: str | Path, utterances: Iterable[tuple[str, list[str]]]) -> int:
    """Writes (utterance id, labels every 10 ms) lines completely or not at all; returns the number of lines.

    Raises DataError where an id or a label holds a tab, a comma or a line end, or an utterance has no label.
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


class TsvIndex(dict[str, int]):
    """Utterance id -> byte offset of its line in a TSV; phones are read on demand.

    Raises DataError for a missing file, one that is not UTF-8, a line of another form, or an utterance that occurs twice.
    """

    def __init__(self, path: str | Path):
        super().__init__()
        self.path = Path(path)
        for where, offset, identity, _ in self._lines():
            if self.setdefault(identity, offset) != offset:
                raise DataError(where, found=f"{identity} a second time", expected="one line per utterance")

    def labels(self, utterance_id: str) -> list[str]:
        """The plain phones of an utterance every 10 ms; KeyError when the file has none."""
        return next(self._lines(self[utterance_id]))[3]

    def _lines(self, offset: int = 0) -> Iterator[tuple[str, int, str, list[str]]]:
        """(file and line for messages, byte offset, id, phones) of every line that is not blank, from an offset."""
        try:
            with open(self.path, "rb") as stream:
                stream.seek(offset)
                for number, raw in enumerate(stream, 1):
                    where = f"{self.path} line {number}"
                    if raw.strip(b"\xef\xbb\xbf \t\r\n"):
                        yield where, offset, *_parse(where, raw)
                    offset += len(raw)
        except OSError as error:
            remedy = (
                "--set corpus.alignment_tsv=FILE (or a folder of <part>.tsv; python -m spin align makes one of TextGrids), "
                f"or {_OTHER_METHOD}"
            )
            found, expected = error.strerror or str(error), f"a TSV: {TSV_FORM}"
            raise DataError(f"alignment file {self.path}", found=found, expected=expected, remedy=remedy) from error


def _parse(where: str, raw: bytes) -> tuple[str, list[str]]:
    try:
        line = raw.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise DataError(where, found=str(error), expected="UTF-8 text") from error
    identity, tab, phones = line.partition("\t")
    if not tab or not identity.strip() or not phones.strip() or "\t" in phones.rstrip():
        raise DataError(where, found=repr(line[:60]), expected=TSV_FORM)
    return identity.strip(), [plain_phone(phone) for phone in phones.split(",")]


def open_alignments(config: Config, parts: Iterable[str]) -> dict[str, TsvIndex]:
    """The TSV of each part that is aligned by one, read early, so that a bad file ends the stage before the work.

    Raises ConfigError or DataError where corpus.alignment_tsv is not set, a file is missing or bad, a download failed, or no part
    has official alignments.
    """
    if config.corpus.alignment not in ("tsv", "official"):
        return {}
    indexes = {part: TsvIndex(_tsv_of(config.corpus, part)) for part in parts if needs_alignment(config, part)}
    if not indexes:
        raise ConfigError(
            "corpus.alignment",
            found=f"{config.corpus.alignment}, for none of the parts",
            expected=f"one of {', '.join(OFFICIAL_PARTS)} among the valid and test parts",
            remedy=_OTHER_METHOD,
        )
    return indexes


def _tsv_of(config: CorpusConfig, part: str) -> Path:
    """The published TSV, downloaded once, or corpus.alignment_tsv: one file for all parts, or a folder with <part>.tsv."""
    if config.alignment == "official":
        return fetch(OFFICIAL_URL.format(part=part), cache_folder() / "spin_data" / f"{part}.tsv")
    if not config.alignment_tsv:
        remedy = f"--set corpus.alignment_tsv=FILE, or {_OTHER_METHOD}"
        raise ConfigError("corpus.alignment_tsv", found="not set", expected=f"a TSV: {TSV_FORM}", remedy=remedy)
    path = Path(config.alignment_tsv)
    return path / f"{part}.tsv" if path.is_dir() else path


def check_overlap(indexes: dict[str, TsvIndex], part_of: dict[str, str]) -> None:
    """Raises DataError where the TSVs of parts have no utterance of the corpus (id -> part)."""
    expected = {identity: part for identity, part in part_of.items() if part in indexes}
    if indexes and not any(identity in indexes[part] for identity, part in expected.items()):
        raise DataError(
            f"alignment file {', '.join(dict.fromkeys(str(index.path) for index in indexes.values()))}",
            found=f"ids such as {next((identity for index in indexes.values() for identity in index), '(no line at all)')}",
            expected=f"ids of the parts {', '.join(indexes)}, such as {next(iter(expected), '103-1240-0000')}",
            cause="alignments of other parts, or ids of another form",
            remedy=f"--set corpus.alignment_tsv=FILE with the alignments of these parts, or {_OTHER_METHOD}",
        )
