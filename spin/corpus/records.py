"""Stage 0's work in progress on a LibriSpeech part: what was read, and what was aligned, so that a kill loses little."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import soundfile

from spin import artifacts
from spin.config import CorpusConfig
from spin.corpus.alignment import TsvIndex, items_from_labels
from spin.corpus.librispeech import Limits, chapters, read_chapter
from spin.corpus.listing import listing, read_listing, what_changed
from spin.errors import ConfigError, DataError
from spin.runtime.files import append_jsonl, read_jsonl, write_json, write_jsonl
from spin.runtime.manifests import index_path
from spin.runtime.seeding import integer
from spin.runtime.workers import map_parts

ID, CUT, REASON = "id", "cut", "reason"
_PHONES, _WORDS, _ITEMS = "phones", "words", "utterances"
_WINDOW = 400  # items given to the workers at once: results of a whole part would fill the memory
_TSV_TOLERANCE_IN_S = 0.5  # labels that end earlier or later than this are of other audio
_ALIGNED_TOGETHER = 8  # utterances in one record of work done, about 4 s of work


def read_file(corpus: Path, part: str) -> Path:
    return artifacts.alignment_folder(corpus) / f"read_{part}.jsonl.gz"


def read_part(root: Path, part: str, config: CorpusConfig, corpus: Path, nj: int, log: logging.Logger) -> None:
    """Reads every utterance of a part into read_file: {id, cut} and {id, reason} records in the order of ids.

    A file that is there is whole, and is kept if the part is still what it was when it was read; if not, or if nothing says what
    it was, all that a cut-off run made of the part is removed first, and the log says why.

    Raises:
        DataError: a folder that cannot be read.
    """
    _forget_if_changed(root / part, corpus, log)
    path = read_file(corpus, part)
    if not path.exists():
        limits = Limits(config.min_duration_in_s, config.max_duration_in_s)
        items = [(str(chapter), limits) for chapter in chapters(root / part)]
        write_jsonl(path, itertools.chain.from_iterable(_map_windows(_read_chapter, items, nj)))


def _forget_if_changed(folder: Path, corpus: Path, log: logging.Logger) -> None:
    """Removes what was made of another state of a part, and notes its state now.

    The note comes last, so that a kill on the way leaves the old one, and the next run removes the rest. It comes before the
    reading, so that what is changed while it is read is a change to the next run.
    """
    part = folder.name
    note = artifacts.alignment_folder(corpus) / f"listing_{part}.json"
    now = listing(folder)
    why = what_changed(read_listing(note), now)
    if why is None:
        return
    manifest = artifacts.cuts(corpus, part)
    products = manifest, index_path(manifest), artifacts.unaligned(corpus, part)
    old = [path for path in (*products, _aligned_file(corpus, part), read_file(corpus, part)) if path.exists()]
    if old:
        log.warning("part %s: what a cut-off run made of it cannot be used (%s): it is read and aligned anew", part, why)
    for path in old:
        path.unlink()
    write_json(note, now)


def align_part(part: str, config: CorpusConfig, corpus: Path, nj: int) -> None:
    """Aligns the cuts of read_part's file; utterances that a killed run has finished are not done again.

    Raises:
        ConfigError, DataError: corpus.alignment_tsv is not set, is not there or cannot be read.
    """
    if config.alignment == "none":
        return
    path = _aligned_file(corpus, part)
    if config.alignment == "tsv":
        write_jsonl(path, _from_tsv(corpus, part, tsv_index(config, part)))
        return
    chosen = _chosen(corpus, part, config.alignment_max_utterances)
    wanted = (cut for cut in _cuts(corpus, part) if chosen is None or cut["id"] in chosen)
    utterances = ((cut["id"], cut["recording"]["sources"][0]["source"], cut["supervisions"][0]["text"]) for cut in wanted)
    items = list(_batches(utterances, _ALIGNED_TOGETHER))
    done = sum(1 for _ in read_jsonl(path))
    for results in _map_windows(_align, items[done:], nj):
        append_jsonl(path, {_ITEMS: results})


def aligned_cuts(part: str, config: CorpusConfig, corpus: Path, missing: Callable[[str, str], None]) -> Iterator[dict]:
    """The cuts of a part, as dicts, with their alignments; missing(id, reason) is called for each that has none though it should.

    Both files are in the order of ids, so that they are joined without holding either.

    Raises:
        DataError: a result of an utterance that was not read.
    """
    results = (item for record in read_jsonl(_aligned_file(corpus, part)) for item in record[_ITEMS])
    result = next(results, None)
    for cut in _cuts(corpus, part):
        if result is not None and result[ID] == cut["id"]:
            if REASON in result:
                missing(cut["id"], result[REASON])
            else:
                tiers = ((artifacts.PHONE_TIER, _PHONES), (artifacts.WORD_TIER, _WORDS))
                cut["supervisions"][0]["alignment"] = {tier: result[key] for tier, key in tiers if key in result}
            result = next(results, None)
        elif config.alignment != "none":
            missing(cut["id"], "not among corpus.alignment_max_utterances")
        yield cut
    if result is not None:
        raise DataError(f"part {part}", found=f"an alignment of {result[ID]}", expected="only read utterances", remedy="--force")


def tsv_index(config: CorpusConfig, part: str) -> TsvIndex:
    """corpus.alignment_tsv: one file for all parts, or a folder with <part>.tsv, as the Spin authors publish them."""
    if not config.alignment_tsv:
        raise ConfigError(
            "corpus.alignment_tsv",
            found="not set",
            expected="a TSV: utterance, tab, comma-separated phones every 10 ms",
            remedy="--set corpus.alignment_tsv=FILE, or --set corpus.alignment=pocketsphinx",
        )
    path = Path(config.alignment_tsv)
    return TsvIndex(path / f"{part}.tsv" if path.is_dir() else path)


def _read_chapter(item: tuple[str, Limits]) -> list[dict]:
    chapter, limits = item
    return [
        {ID: identity, REASON: result} if isinstance(result, str) else {ID: identity, CUT: result.to_dict()}
        for identity, result in read_chapter(Path(chapter), limits)
    ]


def _align(chunk: list[tuple[str, str, str]]) -> list[dict]:
    from spin.corpus.forced import Unalignable, process_aligner

    results = []
    for identity, audio, text in chunk:
        try:
            phones, words = process_aligner().align(soundfile.read(audio, dtype="int16")[0], text)
            results.append({ID: identity, _PHONES: [list(item) for item in phones], _WORDS: [list(item) for item in words]})
        except Unalignable as error:
            results.append({ID: identity, REASON: str(error)})
    return results


def _from_tsv(corpus: Path, part: str, index: TsvIndex) -> Iterator[dict]:
    for cut in _cuts(corpus, part):
        if cut["id"] not in index:
            yield {_ITEMS: [{ID: cut["id"], REASON: f"not in {index.path.name}"}]}
            continue
        labels, duration = index.labels(cut["id"]), cut["duration"]
        labelled = len(labels) * artifacts.PHONE_SHIFT_IN_S
        if abs(labelled - duration) > _TSV_TOLERANCE_IN_S:
            yield {
                _ITEMS: [{ID: cut["id"], REASON: f"{index.path.name} has another length: {labelled:.2f} s for {duration:.2f} s"}]
            }
            continue
        items = [item for item in items_from_labels(labels) if item.start < duration]
        items[-1] = items[-1]._replace(duration=round(min(items[-1].end, duration) - items[-1].start, 6))
        yield {_ITEMS: [{ID: cut["id"], _PHONES: [list(item) for item in items]}]}


def _chosen(corpus: Path, part: str, limit: int) -> set[str] | None:
    """At most `limit` ids, drawn from their names, so that they are spread over speakers and do not depend on --nj; None: all."""
    if limit == 0:
        return None
    return set(
        sorted((cut["id"] for cut in _cuts(corpus, part)), key=lambda identity: integer("alignment", part, identity))[:limit]
    )


def _cuts(corpus: Path, part: str) -> Iterator[dict]:
    return (record[CUT] for record in read_jsonl(read_file(corpus, part)) if CUT in record)


def _aligned_file(corpus: Path, part: str) -> Path:
    return artifacts.alignment_folder(corpus) / f"aligned_{part}.jsonl"


def _map_windows(function: Callable, items: list, nj: int) -> Iterator:
    for window in _batches(items, _WINDOW):
        yield from map_parts(function, window, nj)


def _batches(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
