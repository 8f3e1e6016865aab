"""Parts on their way to manifests: read, checked together, aligned, written. A kill loses little: finished steps are kept.

The steps of a part lie in data/<corpus>/alignment/<part>/. They belong to one key of the manifest.
"""

import collections
import dataclasses
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from lhotse import MonoCut

from spin import artifacts, products
from spin.corpus.align import align_part
from spin.corpus.alignment import TsvIndex, check_overlap, open_alignments
from spin.corpus.registry import CUT, ID, REASON, Corpus, needs_alignment
from spin.corpus.validate import Speakers, check_cut, check_speakers, read_speakers
from spin.data.cuts import read_cuts, read_records, write_cuts
from spin.errors import DataError
from spin.runtime.files import read_jsonl, write_json, write_jsonl
from spin.runtime.product import Context, Product, read_record
from spin.runtime.rejects import Rejects


def prepare_parts(context: Context, corpus: Corpus, parts: list[str]) -> tuple[bool, dict[str, Speakers]]:
    """Builds stale manifests; returns whether there were any, and the speakers of every part.

    All parts are read and checked before the hours of alignment. Raises DataError for too many rejects, a part without
    utterances, an id that occurs twice, speakers in two roles, or a cut that breaks the contract of spin.corpus.validate.
    """
    indexes = open_alignments(context.config, parts)
    stale = {part: product for part in parts if (product := products.manifest(context, part)).needs_build()}
    works = {part: PartWork(corpus, product, part) for part, product in stale.items() if not move_manifest(product, part)}
    for work in works.values():
        work.read()
    part_of: dict[str, str] = {}
    speakers = {}
    for part in parts:
        cuts = works[part].cuts() if part in works else read_records(artifacts.cuts(corpus.folder, part))
        speakers[part] = read_speakers(part, cuts, part_of)
    _check_rejects(context, works, speakers)
    check_speakers(speakers, context.config.corpus)
    check_overlap(indexes, part_of)
    for part, work in works.items():
        work.build(indexes.get(part))
    return bool(works), speakers


class PartWork:
    """The steps of one part; those of another key of its manifest are removed."""

    def __init__(self, corpus: Corpus, product: Product, part: str):
        self.corpus, self.product, self.part = corpus, product, part
        self.log = product.context.log
        self.folder = artifacts.alignment_folder(corpus.folder) / part
        self.read_file = self.folder / "read.jsonl.gz"  # records of the corpus; complete, or it does not exist
        note, record = self.folder / "key.json", {"key": product.key, "forced": product.context.force}
        if read_record(note) != record:
            shutil.rmtree(self.folder, ignore_errors=True)
            write_json(note, record)

    def read(self) -> None:
        """Reads every utterance of the part, unless an interrupted run has done so."""
        self.log.info("part %s: reading every utterance", self.part)
        if not self.read_file.exists():
            write_jsonl(self.read_file, self.corpus.read(self.part, self.corpus.config.runtime.nj))

    def cuts(self) -> Iterator[dict]:
        """The cuts that read() wrote, as plain values."""
        return (record[CUT] for record in read_records(self.read_file) if CUT in record)

    def rejects(self) -> Iterator[dict]:
        """The other records that read() wrote."""
        return (record for record in read_records(self.read_file) if REASON in record)

    def build(self, index: TsvIndex | None) -> None:
        """Aligns the cuts, by the TSV of the part if it has one, and writes the manifest and the list of unaligned utterances."""
        unaligned: list[dict] = []
        listed = artifacts.unaligned(self.corpus.folder, self.part)
        with self.product.building() as partial:
            count = write_cuts(partial, self._finish(index, unaligned))
            write_jsonl(listed, unaligned)
            for reason, number in collections.Counter(record[REASON].split(":")[0] for record in unaligned).most_common():
                message = "part %s: %d of %d utterances have no phone alignment: %s (see %s)"
                self.log.warning(message, self.part, number, count, reason, listed)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _finish(self, index: TsvIndex | None, unaligned: list[dict]) -> Iterator[MonoCut]:
        """The cuts with their alignments, checked; `unaligned` receives the records of those without."""
        config, aligned = self.corpus.config, ((cut, None) for cut in self.cuts())
        if needs_alignment(config, self.part) and not self.corpus.has_alignments:
            self.log.info("part %s: phone alignment by %s", self.part, index.path.name if index else "pocketsphinx")
            finished = self.folder / "alignments.jsonl"  # an interrupted run is resumed after the last line
            aligned = align_part(config, self.part, index, self.cuts, finished)
        for record, reason in aligned:
            if reason is not None:
                unaligned.append({ID: record["id"], REASON: reason})
            cut = MonoCut.from_dict(record)
            if problem := check_cut(cut):
                expected = "a valid cut: check_cut in spin/corpus/validate.py"
                cause = f"a fault of corpus.kind {config.corpus.kind}"
                raise DataError(f"part {self.part}, utterance {cut.id}", found=problem, expected=expected, cause=cause)
            yield cut


def move_manifest(product: Product, part: str) -> bool:
    """Rewrites the manifest of a part where nothing but its folder has changed; returns whether that is so.

    Names, sizes, times and transcripts are as they were, so no utterance is read or aligned again.
    """
    name, config = f"folder of {part}", product.own_key["config"]
    old = read_record(product.key_path).get("key", {}).get("config", {}).get(name)
    unmoved = dataclasses.replace(product, own_key={**product.own_key, "config": {**config, name: old}})
    if unmoved.stale_reason(forced=True) is not None:
        return False
    product.context.log.info("part %s: the same files in another folder; nothing is read or aligned again", part)
    with product.building() as partial:
        write_cuts(partial, _moved(product.path, Path(old), Path(config[name])))
    return True


def _moved(manifest: Path, old: Path, new: Path) -> Iterator[MonoCut]:
    for cut in read_cuts(manifest):
        source = cut.recording.sources[0]
        source.source = str(new / Path(source.source).relative_to(old))
        yield cut


def _check_rejects(context: Context, works: Mapping[str, PartWork], speakers: Mapping[str, Speakers]) -> None:
    """Writes the rejects of all parts; raises DataError where they are too many, or no utterance of a part is left."""
    rejects = Rejects(artifacts.rejects(context.corpus, artifacts.STAGES[0]), 0)
    others = speakers.keys() - works.keys()
    rejects.records = [record for record in read_jsonl(rejects.path) if record.get(artifacts.REJECT_PART) in others]
    for part, work in works.items():
        for record in work.rejects():
            rejects.add(record[ID], part, record[REASON])
    usable = sum(len(spoken) for own in speakers.values() for spoken in own.values())
    rejects.check_share(usable + len(rejects.records), context.config.corpus.max_bad_share)
    rejects.close()
    for part, own in speakers.items():
        if not own:
            remedy = f"fix what {rejects.path} lists, or remove the part from the corpus section of the configuration"
            raise DataError(f"part {part}", found="no usable utterance", expected="at least one", remedy=remedy)
