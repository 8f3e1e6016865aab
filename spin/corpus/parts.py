"""Parts on their way to manifests: read, checked together, aligned, written. A kill loses little: finished steps are kept.

The steps of a part lie in data/<corpus>/alignment/<part>/. They belong to one key of the manifest.
"""

import collections
import dataclasses
import itertools
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from lhotse import MonoCut
from lhotse.qa import validate

from spin import artifacts, products
from spin.config import CorpusConfig
from spin.corpus.align import align_part
from spin.corpus.alignment import TsvIndex, check_overlap, open_alignments
from spin.corpus.registry import CUT, ID, REASON, Corpus, needs_alignment
from spin.corpus.text import is_normal
from spin.data.cuts import read_cuts, read_records, write_cuts
from spin.errors import ConfigError, DataError
from spin.runtime.files import read_jsonl, write_json, write_jsonl
from spin.runtime.product import Context, Product, read_record
from spin.runtime.rejects import Rejects

Speakers = dict[str, list[float]]  # speaker -> duration of each of their utterances in seconds
_TOLERANCE_IN_S = 0.025  # one analysis window past the end


def prepare_parts(context: Context, corpus: Corpus, parts: list[str]) -> tuple[bool, dict[str, Speakers]]:
    """Builds stale manifests; returns whether there were any, and the speakers of every part.

    All parts are read and checked before the hours of alignment. Raises DataError for too many rejects, a part without
    utterances, an id that occurs twice, speakers in two roles, or a cut that breaks the contract of check_cut.
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
            self.log.info("part %s: phone alignment by %s", self.part, "pocketsphinx" if index is None else index.path.name)
            finished = self.folder / "alignments.jsonl"  # an interrupted run is resumed after the last line
            aligned = align_part(config, self.part, index, self.cuts, finished)
        for record, reason in aligned:
            if reason is not None:
                unaligned.append({ID: record["id"], REASON: reason})
            cut = MonoCut.from_dict(record)
            if problem := check_cut(cut):
                expected = "a valid cut: check_cut in spin/corpus/parts.py"
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


def read_speakers(part: str, cuts: Iterable[dict], part_of: dict[str, str]) -> Speakers:
    """The speakers of the cuts (plain values) of a part, read once.

    `part_of` has the part of each utterance of the parts read before; those of this part are added. Raises DataError for an id
    that this part or another one has already.
    """
    speakers: Speakers = {}
    for cut in cuts:
        if cut["id"] in part_of:
            raise DataError(
                f"part {part}, utterance {cut['id']}",
                found=f"the same id in part {part_of[cut['id']]}",
                expected="ids that occur once in the corpus",
                cause="a part that contains another one (train-clean-100 has all of train-clean-5)",
                remedy=f"name one of the two in both roles: --set corpus.spin_train=[{part}] --set corpus.asr_train=[{part}]",
            )
        part_of[cut["id"]] = part
        speakers.setdefault(cut["supervisions"][0]["speaker"], []).append(cut["duration"])
    return speakers


def check_cut(cut: MonoCut) -> str | None:
    """The first problem of a cut, None if it keeps the contract of manifests.

    After lhotse's own checks: one recording of 16 kHz; one supervision with the cut's id, a speaker and normalised text (empty
    where a part is not transcribed); phones in order of time, none after the end.
    """
    try:
        validate(cut)
    except AssertionError as error:
        return f"lhotse: {' '.join(str(error).split())}"
    if not isinstance(cut, MonoCut) or not cut.has_recording or len(cut.supervisions) != 1:
        return f"{type(cut).__name__} with {len(cut.supervisions)} supervisions, not one recording with one"
    supervision = cut.supervisions[0]
    if supervision.id != cut.id or not supervision.speaker:
        return f"supervision {supervision.id!r} of speaker {supervision.speaker!r}"
    if supervision.text is None or (supervision.text and not is_normal(supervision.text)):
        return f"text {str(supervision.text)[:60]!r} is not normalised"
    if cut.sampling_rate != artifacts.SAMPLE_RATE:
        return f"{cut.sampling_rate} Hz"
    end = 0.0
    for item in (supervision.alignment or {}).get(artifacts.PHONE_TIER) or ():
        if not item.symbol or item.duration <= 0 or item.start < end - 1e-6:
            return f"phone {item.symbol!r} at {item.start} s for {item.duration} s, after one that ends at {end} s"
        end = item.end
    return None if end <= cut.duration + _TOLERANCE_IN_S else f"phones end at {end} s, the audio at {cut.duration} s"


def check_roles(config: CorpusConfig) -> None:
    """Raises ConfigError for a role without parts; without asr_train, for units or pre-training, only spin_train needs some."""
    for role in ("spin_train", "valid", "test") if config.asr_train else ("spin_train",):
        if not getattr(config, role):
            expected, remedy = "names of parts, such as [train-clean-5]", f"--set corpus.{role}=[PART]"
            raise ConfigError(f"corpus.{role}", found="no part", expected=expected, remedy=remedy)


def check_speakers(speakers: Mapping[str, Collection[str]], config: CorpusConfig) -> None:
    """Raises DataError where training, valid and test share speakers (part -> its speakers), unless they are allowed to."""
    roles = {"train": (*config.spin_train, *config.asr_train), "valid": config.valid, "test": config.test}
    for first, second in itertools.combinations(roles, 2):
        pairs = itertools.product(dict.fromkeys(roles[first]), dict.fromkeys(roles[second]))
        shared = [(who, one, other) for one, other in pairs for who in sorted(set(speakers[one]) & set(speakers[other]))]
        if shared and not config.allow_shared_speakers:
            shown = "; ".join(f"speaker {who} in {one} and {other}" for who, one, other in shared[:5])
            raise DataError(
                f"speakers of {first} and {second}",
                found=f"{len({who for who, _, _ in shared})} in both: {shown}",
                expected="no speaker in common",
                cause=f"parts that overlap, in corpus.spin_train, asr_train, {second}",
                remedy="choose other parts, or --set corpus.allow_shared_speakers=true if that is what you want",
            )
