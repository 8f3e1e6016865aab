"""Phone alignments of a part: by pocketsphinx, or from a TSV of the Spin authors' form.

pocketsphinx's wheel brings an English acoustic model and the CMU dictionary. It passes twice over an utterance: words (with
silences and pronunciation variants, a finite-state search), then phones within the words. An utterance that cannot be aligned
stays in the corpus without an alignment. It is used for training and recognition, but not for unit metrics.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.config import Config, CorpusConfig
from spin.corpus.alignment import TSV_FORM, TsvIndex, items_from_labels, plain_phone
from spin.corpus.pronunciation import Dictionary, default_dictionary
from spin.corpus.registry import ID, OFFICIAL_PARTS, REASON, needs_alignment
from spin.errors import ConfigError, DataError, rerun
from spin.runtime.download import cache_folder, fetch
from spin.runtime.files import append_jsonl, read_jsonl, write_jsonl
from spin.runtime.logs import progress
from spin.runtime.seeding import integer
from spin.runtime.workers import map_jobs

PHONES, WORDS, ITEMS = "phones", "words", "utterances"
OFFICIAL_URL = "https://huggingface.co/datasets/vectominist/spin_data/resolve/main/{part}.tsv"
FRAME_IN_S = 0.01  # of pocketsphinx's model
_TOLERANCE_IN_S = 0.5  # labels that end earlier or later than this belong to other audio
_PER_LINE = 8  # utterances in one record of finished work, about 4 s of work
_BY_POCKETSPHINX = "--set corpus.alignment=pocketsphinx"


def method(config: Config) -> str:
    """The method that corpus.alignment means for a corpus without exact alignments."""
    return "pocketsphinx" if config.corpus.alignment == "auto" else config.corpus.alignment


def align_part(config: Config, part: str, cuts: Callable[[], Iterator[dict]], path: Path) -> None:
    """Writes the alignments of a part, in the order of its cuts; utterances that an interrupted run has finished are kept.

    Args:
        cuts: returns the cuts as plain values, from the first one at each call.
        path: .jsonl file of alignments.

    Raises:
        ConfigError, DataError: as tsv_index.
    """
    if method(config) != "pocketsphinx":
        index = tsv_index(config.corpus, part)
        write_jsonl(path, ({ITEMS: [_from_tsv(cut, index)]} for cut in cuts()))
        return
    limit = config.corpus.alignment_max_utterances
    chosen = _choose(cuts(), part, limit) if limit else None
    needed = (cut for cut in cuts() if (chosen is None or cut["id"] in chosen) and _text(cut) and not _has_phones(cut))
    utterances = ((cut["id"], cut["recording"]["sources"][0]["source"], _text(cut)) for cut in needed)
    jobs = list(iter(lambda: list(itertools.islice(utterances, _PER_LINE)), []))
    done = sum(1 for _ in read_jsonl(path))
    results = map_jobs(_align_job, jobs[done:], config.runtime.nj)
    for aligned in progress(results, f"align {part}", len(jobs), done):
        append_jsonl(path, {ITEMS: aligned})


def join(cuts: Iterable[dict], path: Path, unaligned: list[dict]) -> Iterator[dict]:
    """Yields the cuts with their alignments. Both sides are in the same order, so neither is held in memory.

    Args:
        path: file that align_part wrote.
        unaligned: receives {ID, REASON} of each cut that gets no alignment.

    Raises:
        DataError: an alignment of an utterance that is not among the cuts.
    """
    results = (item for record in read_jsonl(path) for item in record[ITEMS])
    result = next(results, None)
    for cut in cuts:
        if result is not None and result[ID] == cut["id"]:
            if REASON in result:
                unaligned.append(result)
            else:
                tiers = ((artifacts.PHONE_TIER, PHONES), (artifacts.WORD_TIER, WORDS))
                cut["supervisions"][0]["alignment"] = {tier: result[key] for tier, key in tiers if key in result}
            result = next(results, None)
        elif not _has_phones(cut):
            reason = "not among corpus.alignment_max_utterances" if _text(cut) else "no transcript"
            unaligned.append({ID: cut["id"], REASON: reason})
        yield cut
    if result is not None:
        expected = "only utterances that were read"
        raise DataError(str(path), found=f"an alignment of {result[ID]}", expected=expected, remedy=rerun(0))


def tsv_index(config: CorpusConfig, part: str) -> TsvIndex:
    """The TSV of a part: the published one, or corpus.alignment_tsv (one file for all parts, or a folder with <part>.tsv).

    Raises:
        ConfigError, DataError: corpus.alignment_tsv is not set, is missing or cannot be read, or the download failed.
    """
    if config.alignment == "official":  # the Spin authors' alignments, downloaded once
        return TsvIndex(fetch(OFFICIAL_URL.format(part=part), cache_folder() / "spin_data" / f"{part}.tsv"))
    if not config.alignment_tsv:
        remedy = f"--set corpus.alignment_tsv=FILE, or {_BY_POCKETSPHINX}"
        raise ConfigError("corpus.alignment_tsv", found="not set", expected=f"a TSV: {TSV_FORM}", remedy=remedy)
    path = Path(config.alignment_tsv)
    return TsvIndex(path / f"{part}.tsv" if path.is_dir() else path)


def open_alignments(config: Config, parts: Iterable[str]) -> dict[str, TsvIndex]:
    """The TSV of each part that is aligned by one, read early, so that a bad file ends the stage before the work.

    Raises:
        ConfigError, DataError: as tsv_index; or no part has official alignments.
    """
    if method(config) not in ("tsv", "official"):
        return {}
    indexes = {part: tsv_index(config.corpus, part) for part in parts if needs_alignment(config, part)}
    if not indexes:
        raise ConfigError(
            "corpus.alignment",
            found=f"{config.corpus.alignment}, for none of the parts",
            expected=f"one of {', '.join(OFFICIAL_PARTS)} among the valid and test parts",
            remedy=_BY_POCKETSPHINX,
        )
    return indexes


def check_overlap(indexes: dict[str, TsvIndex], part_of: dict[str, str]) -> None:
    """Raises DataError where TSVs (of parts, from open_alignments) have no utterance (id -> part) of the corpus."""
    if indexes and not any(part in indexes and identity in indexes[part] for identity, part in part_of.items()):
        known = next((identity for identity, part in part_of.items() if part in indexes), "103-1240-0000")
        raise DataError(
            f"alignment file {', '.join(dict.fromkeys(str(index.path) for index in indexes.values()))}",
            found=f"ids such as {next((identity for index in indexes.values() for identity in index), '(no line at all)')}",
            expected=f"ids of the parts {', '.join(indexes)}, such as {known}",
            cause="alignments of other parts, or ids of another form",
            remedy=f"--set corpus.alignment_tsv=FILE with the alignments of these parts, or {_BY_POCKETSPHINX}",
        )


def _align_job(utterances: list[tuple[str, str, str]]) -> list[dict]:
    results = []
    for identity, audio, text in utterances:
        try:
            phones, words = process_aligner().align(soundfile.read(audio, dtype="int16")[0], text)
            results.append({ID: identity, PHONES: [list(item) for item in phones], WORDS: [list(item) for item in words]})
        except Unalignable as error:
            results.append({ID: identity, REASON: str(error)})
    return results


def _from_tsv(cut: dict, index: TsvIndex) -> dict:
    identity, duration, name = cut["id"], cut["duration"], index.path.name
    if identity not in index:
        return {ID: identity, REASON: f"not in {name}"}
    labels = index.labels(identity)
    labelled = len(labels) * artifacts.PHONE_SHIFT_IN_S
    if abs(labelled - duration) > _TOLERANCE_IN_S:
        return {ID: identity, REASON: f"{name} has another length: {labelled:.2f} s for {duration:.2f} s"}
    items = [item for item in items_from_labels(labels) if item.start < duration]
    items[-1] = items[-1]._replace(duration=round(min(items[-1].end, duration) - items[-1].start, 6))
    return {ID: identity, PHONES: [list(item) for item in items]}


def _text(cut: dict) -> str:
    return cut["supervisions"][0]["text"]


def _has_phones(cut: dict) -> bool:
    return bool((cut["supervisions"][0].get("alignment") or {}).get(artifacts.PHONE_TIER))


def _choose(cuts: Iterable[dict], part: str, limit: int) -> set[str]:
    """At most `limit` ids, drawn from their names, so that they are spread over speakers and do not depend on --nj."""
    identities = (cut["id"] for cut in cuts)
    return set(sorted(identities, key=lambda identity: integer("alignment", part, identity))[:limit])


class Unalignable(Exception):
    """An utterance that cannot be aligned, with the reason; not an error of the corpus."""


class ForcedAligner:
    """One decoder, good for any number of utterances; the result for one does not depend on those before it.

    `dictionary` has the words that the decoder's own lacks; default: by rules, then by letters.
    """

    def __init__(self, dictionary: Dictionary | None = None):
        import pocketsphinx  # imported here: alignments from a TSV do without it

        # bestpath adds a last word of one frame, in which no phone fits (cmusphinx/pocketsphinx issue 339).
        self._decoder = pocketsphinx.Decoder(loglevel="FATAL", lm=None, bestpath=False, samprate=artifacts.SAMPLE_RATE)
        self._dictionary = dictionary or default_dictionary()
        self._added: set[str] = set()

    def align(self, samples: np.ndarray, text: str) -> tuple[list[AlignmentItem], list[AlignmentItem]]:
        """(phones, words) of an utterance, in seconds from its start.

        Args:
            samples: (S,) int16 at 16 kHz.
            text: normalised (spin.corpus.text).

        Returns:
            phones: ARPAbet without stress and SIL, one item after the other from 0 without a gap, to within 30 ms of the end.
            words: the words of `text` without the silences.

        Raises:
            Unalignable: a word without pronunciation, or a text that the acoustic model cannot fit to the audio.
        """
        self._learn(text.split())
        audio = samples.astype("<i2", copy=False).tobytes()
        try:
            self._decoder.set_align_text(text.lower())
            self._decode(audio)
            self._decoder.set_alignment()
            self._decode(audio)
            entries = [(word.name, word.start, word.duration, list(word)) for word in self._decoder.get_alignment()]
        except RuntimeError as error:
            raise Unalignable(f"pocketsphinx finds no alignment: {error}"[:120]) from error
        return _collect(entries, text)

    def _decode(self, audio: bytes) -> None:
        # The noise estimate of the front end survives from utterance to utterance; a new front end resets it.
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        try:
            self._decoder.process_raw(audio, full_utt=True)
        finally:
            self._decoder.end_utt()

    def _learn(self, words: list[str]) -> None:
        """Adds derived and guessed pronunciations to the decoder's dictionary."""
        new = {word: self._dictionary.pronunciations(word) for word in words if word not in self._dictionary}
        missing = sorted(word for word in new if not new[word])
        if missing:
            raise Unalignable(f"no pronunciation: {' '.join(missing)}"[:120])
        for word in [word for word in new if word not in self._added]:
            self._decoder.add_word(word.lower(), " ".join(new[word][0]), update=False)
            self._added.add(word)


@functools.lru_cache(maxsize=1)
def process_aligner() -> ForcedAligner:
    """The aligner of this process: its dictionary and model take half a second to load."""
    return ForcedAligner()


def _collect(entries: list, text: str) -> tuple[list[AlignmentItem], list[AlignmentItem]]:
    phones, words = [], []
    for name, start, duration, parts in entries:
        silent = name.startswith(("<", "["))
        if not silent:
            words.append(_item(re.sub(r"\(\d+\)$", "", name).upper(), start, duration))
        for part in parts:
            item = _item(artifacts.SILENCE if silent else plain_phone(part.name), part.start, part.duration)
            if phones and item.symbol == phones[-1].symbol == artifacts.SILENCE:  # sentence start, pause and noise are one
                item = AlignmentItem(item.symbol, phones[-1].start, round(item.end - phones.pop().start, 6))
            phones.append(item)
    if " ".join(word.symbol for word in words) != text:
        raise Unalignable("pocketsphinx aligned other words than the text")
    return phones, words


def _item(symbol: str, start: int, duration: int) -> AlignmentItem:
    return AlignmentItem(symbol, round(start * FRAME_IN_S, 6), round(duration * FRAME_IN_S, 6))
