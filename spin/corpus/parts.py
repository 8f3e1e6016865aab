"""One part on its way to a manifest: read, aligned, written. A kill loses little, because finished steps are kept.

The steps of a part lie in data/<corpus>/alignment/<part>/. They belong to one key of the manifest.
"""

import collections
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lhotse import MonoCut

from spin import artifacts
from spin.config import Config
from spin.corpus.align import align_part
from spin.corpus.alignment import TsvIndex
from spin.corpus.registry import CUT, ID, REASON, Corpus, needs_alignment
from spin.corpus.validate import PartSummary, check_cut, check_speakers, summarize
from spin.data.cuts import read_cuts, read_records, write_cuts
from spin.errors import DataError
from spin.runtime.digest import content_digest
from spin.runtime.files import read_json, read_jsonl, write_json, write_jsonl
from spin.runtime.product import Product
from spin.runtime.rejects import Rejects


class PartWork:
    """The steps of one part; those of another key of its manifest are removed."""

    def __init__(self, corpus: Corpus, part: str, key: dict):
        self.corpus, self.part = corpus, part
        self.folder = artifacts.alignment_folder(corpus.folder) / part
        self.read_file = self.folder / "read.jsonl.gz"  # records of the corpus; complete, or it does not exist
        self.aligned_file = self.folder / "alignments.jsonl"  # an interrupted run is resumed after the last line
        note = self.folder / "key.json"
        if _read(note) != key:
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(note, key)

    def read(self) -> None:
        """Reads every utterance of the part, unless an interrupted run has done so."""
        if not self.read_file.exists():
            write_jsonl(self.read_file, self.corpus.read(self.part, self.corpus.config.runtime.nj))

    def records(self) -> Iterator[dict]:
        """The records that read() wrote (spin/corpus/registry.py)."""
        return read_jsonl(self.read_file)

    def cuts(self) -> Iterator[dict]:
        """The cuts that read() wrote, as plain values."""
        return (record[CUT] for record in self.records() if CUT in record)

    def write(self, path: Path, index: TsvIndex | None, log: logging.Logger) -> None:
        """Aligns the cuts (by `index`, where the part has a TSV), and writes the manifest and the list of unaligned utterances.

        Raises DataError where a cut breaks the contract of spin.corpus.validate.
        """
        unaligned: list[dict] = []
        count = write_cuts(path, self._checked(self._aligned(index, unaligned, log)))
        listed = artifacts.unaligned(self.corpus.folder, self.part)
        write_jsonl(listed, unaligned)
        for reason, number in collections.Counter(record[REASON].split(":")[0] for record in unaligned).most_common():
            message = "part %s: %d of %d utterances have no phone alignment: %s (see %s)"
            log.warning(message, self.part, number, count, reason, listed)

    def remove(self) -> None:
        """Removes the steps, which the finished manifest makes useless."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _aligned(self, index: TsvIndex | None, unaligned: list[dict], log: logging.Logger) -> Iterator[dict]:
        config = self.corpus.config
        if self.corpus.has_alignments or not needs_alignment(config, self.part):
            yield from self.cuts()
            return
        log.info("part %s: phone alignment by %s", self.part, index.path.name if index else "pocketsphinx")
        for cut, reason in align_part(config, self.part, index, self.cuts, self.aligned_file):
            if reason is not None:
                unaligned.append({ID: cut["id"], REASON: reason})
            yield cut

    def _checked(self, cuts: Iterator[dict]) -> Iterator[MonoCut]:
        for record in cuts:
            cut = MonoCut.from_dict(record)
            problem = check_cut(cut)
            if problem is not None:
                subject = f"part {self.part}, utterance {cut.id}"
                cause = f"a fault of corpus.kind {self.corpus.config.corpus.kind}"
                remedy = "compare check_cut in spin/corpus/validate.py"
                raise DataError(subject, found=problem, expected="a valid cut", cause=cause, remedy=remedy)
            yield cut


def move_manifest(product: Product, part: str) -> bool:
    """Rewrites the manifest of a part where nothing but its folder has changed; returns whether that is so.

    Names, sizes, times and transcripts are as they were, so no utterance is read or aligned again.
    """
    record, new, name = _read(product.key_path), product.key, f"folder of {part}"
    if product.context.force or not record or name not in new["config"]:
        return False
    old = record["key"]
    moved = {**old, "config": {**old["config"], name: new["config"][name]}} == new != old
    if not moved or content_digest(product.path) != record["files"][product.path.name][2]:
        return False
    product.context.log.info("part %s: the same files in another folder; nothing is read or aligned again", part)
    with product.building() as partial:
        write_cuts(partial, _moved(product.path, Path(old["config"][name]), Path(new["config"][name])))
    return True


def _moved(manifest: Path, old: Path, new: Path) -> Iterator[MonoCut]:
    for cut in read_cuts(manifest):
        source = cut.recording.sources[0]
        source.source = str(new / Path(source.source).relative_to(old))
        yield cut


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
        if not summary.durations:
            remedy = f"fix what {rejects.path} lists, or remove the part from the corpus section of the configuration"
            raise DataError(f"part {part}", found="no usable utterance", expected="at least one", remedy=remedy)
    check_speakers({part: summary.seconds_of for part, summary in summaries.items()}, config.corpus)


def _read(note: Path) -> dict:
    try:
        return read_json(note)
    except DataError:
        return {}
