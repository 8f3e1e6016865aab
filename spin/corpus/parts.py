"""One part on its way to a manifest: read, aligned, written. A kill loses little, because finished steps are kept.

The steps of a part lie in data/<corpus>/alignment/<part>/. They belong to one key of the manifest.
Steps of another key are removed.
"""

from __future__ import annotations

import collections
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lhotse import MonoCut

from spin import artifacts
from spin.config import Config
from spin.corpus import align
from spin.corpus.registry import CUT, ID, REASON, Corpus, needs_alignment
from spin.corpus.validate import PartSummary, check_cut, check_not_empty, check_speakers, summarize
from spin.data.cuts import read_records, write_cuts
from spin.errors import DataError
from spin.runtime.files import read_json, read_jsonl, write_json, write_jsonl
from spin.runtime.rejects import Rejects


class PartWork:
    """The steps of one part.

    Args:
        corpus: the corpus that holds it.
        part: its name.
        key: key of its manifest; steps of another key are removed.
    """

    def __init__(self, corpus: Corpus, part: str, key: dict):
        self.corpus, self.part = corpus, part
        self.config: Config = corpus.config
        self.folder = artifacts.alignment_folder(corpus.folder) / part
        note = self.folder / "key.json"
        if not _holds(note, key):
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(note, key)

    @property
    def read_file(self) -> Path:
        """Records of the corpus (spin/corpus/registry.py); the file is complete or does not exist."""
        return self.folder / "read.jsonl.gz"

    @property
    def aligned_file(self) -> Path:
        """Alignments; an interrupted run is resumed after the last line."""
        return self.folder / "aligned.jsonl"

    def read(self) -> None:
        """Reads every utterance of the part, unless an interrupted run has done so."""
        if not self.read_file.exists():
            write_jsonl(self.read_file, self.corpus.read(self.part, self.config.runtime.nj))

    def records(self) -> Iterator[dict]:
        """The records that read() wrote."""
        return read_jsonl(self.read_file)

    def cuts(self) -> Iterator[dict]:
        """The cuts that read() wrote, as plain values."""
        return (record[CUT] for record in self.records() if CUT in record)

    def write(self, path: Path, log: logging.Logger) -> int:
        """Aligns the cuts, checks each and writes the manifest and the list of unaligned utterances.

        Args:
            path: manifest to write.

        Returns:
            The number of cuts.

        Raises:
            DataError: a cut breaks the contract of spin.corpus.validate.
        """
        wanted = not self.corpus.has_alignments and needs_alignment(self.config, self.part)
        if wanted:
            log.info("part %s: phone alignment (%s)", self.part, align.method(self.config))
            align.align_part(self.config, self.part, self.cuts, self.aligned_file)
        unaligned: list[dict] = []
        cuts = align.join(self.cuts(), self.aligned_file, unaligned) if wanted else self.cuts()
        count = write_cuts(path, self._checked(cuts))
        write_jsonl(artifacts.unaligned(self.corpus.folder, self.part), unaligned)
        self._log_unaligned(unaligned, count, log)
        return count

    def remove(self) -> None:
        """Removes the steps, which the finished manifest makes useless."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _checked(self, cuts: Iterator[dict]) -> Iterator[MonoCut]:
        for record in cuts:
            cut = MonoCut.from_dict(record)
            problem = check_cut(cut)
            if problem is not None:
                subject = f"part {self.part}, utterance {cut.id}"
                raise DataError(subject, found=problem, expected="a valid cut", remedy="rerun stage 0 with --force")
            yield cut

    def _log_unaligned(self, unaligned: list[dict], count: int, log: logging.Logger) -> None:
        reasons = collections.Counter(record[REASON].split(":")[0] for record in unaligned)
        for reason, number in reasons.most_common():
            message = "part %s: %d of %d utterances have no phone alignment: %s (see %s)"
            log.warning(message, self.part, number, count, reason, artifacts.unaligned(self.corpus.folder, self.part))


def summarize_parts(
    folder: Path, parts: Sequence[str], works: Mapping[str, PartWork]
) -> tuple[dict[str, PartSummary], dict[str, str]]:
    """(summary of each part, part of each utterance), from the read cuts of parts at work and the manifests of the others.

    Raises:
        DataError: an id that occurs twice in the corpus.
    """
    part_of: dict[str, str] = {}
    summaries = {}
    for part in parts:
        cuts = works[part].cuts() if part in works else read_records(artifacts.cuts(folder, part))
        summaries[part] = summarize(part, cuts, part_of)
    return summaries, part_of


def check_parts(config: Config, folder: Path, works: Mapping[str, PartWork], summaries: Mapping[str, PartSummary]) -> None:
    """Writes the rejects of all parts and checks the corpus, before the hours of alignment.

    Raises:
        DataError: too many rejects, a part without utterances, or speakers in two roles.
    """
    rejects = Rejects(artifacts.rejects(folder, artifacts.STAGES[0]), 0)
    others = set(summaries) - set(works)
    rejects.records = [record for record in read_jsonl(rejects.path) if record.get(artifacts.REJECT_PART) in others]
    for part, work in works.items():
        for record in work.records():
            if REASON in record:
                rejects.add(record[ID], part, record[REASON])
    usable = sum(len(summary.durations) for summary in summaries.values())
    rejects.check_share(usable + len(rejects.records), config.corpus.max_bad_share)
    rejects.close()
    for part, summary in summaries.items():
        check_not_empty(part, len(summary.durations), rejects.path)
    check_speakers({part: summary.seconds_of for part, summary in summaries.items()}, config.corpus)


def _holds(note: Path, key: dict) -> bool:
    try:
        return read_json(note) == key
    except DataError:
        return False
