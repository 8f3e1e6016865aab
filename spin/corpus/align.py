"""Phone alignments of a part: by pocketsphinx, or from a TSV.

pocketsphinx's wheel brings an English acoustic model and the CMU dictionary. It passes twice over an utterance: words (with
silences and pronunciation variants, a finite-state search), then phones within the words. An utterance that cannot be aligned
stays in the corpus without an alignment. It is used for training and recognition, but not for unit metrics.
"""

import functools
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from lhotse.supervision import AlignmentItem

from spin import artifacts
from spin.config import Config
from spin.corpus.alignment import TsvIndex, items_from_labels, plain_phone
from spin.corpus.pronunciation import Dictionary, default_dictionary
from spin.runtime.files import append_jsonl, read_jsonl
from spin.runtime.logs import progress
from spin.runtime.seeding import integer
from spin.runtime.workers import map_jobs

RESULTS = "results"  # key of a line of finished work
FRAME_IN_S = 0.01  # of pocketsphinx's model
_TOLERANCE_IN_S = 0.5  # labels that end earlier or later than this belong to other audio
_PER_LINE = 8  # utterances in a line of finished work, about 4 s of work


def align_part(
    config: Config, part: str, index: TsvIndex | None, read: Callable[[], Iterator[dict]], path: Path
) -> Iterator[tuple[dict, str | None]]:
    """Yields the cuts of a part with their alignments, and the reason why one gets none.

    `read` returns the cuts as plain values, from the first one at each call. Without a TSV (`index`), pocketsphinx aligns those
    that bring no phones, and writes its alignments to `path`; those of an interrupted run are kept.
    """
    if index is None:
        _align(config, part, read, path)
        results = (result for line in read_jsonl(path) for result in line[RESULTS])
    else:
        results = (_from_tsv(cut, index) for cut in read())
    for cut, result in zip(read(), results, strict=True):
        if isinstance(result, dict):
            cut["supervisions"][0]["alignment"] = result
        yield cut, result if isinstance(result, str) else None


def _align(config: Config, part: str, read: Callable[[], Iterator[dict]], path: Path) -> None:
    """Writes one result per cut: its tiers, the reason why it has none, or None for a cut that brings its phones."""
    ids = sorted((cut["id"] for cut in read()), key=lambda identity: integer("alignment", part, identity))
    chosen = set(ids[: config.corpus.alignment_max_utterances or None])  # of all speakers, whatever --nj is
    tasks = (_task(cut, chosen) for cut in read())
    jobs = list(iter(lambda: list(itertools.islice(tasks, _PER_LINE)), []))
    done = sum(1 for _ in read_jsonl(path))
    for results in progress(map_jobs(_align_job, jobs[done:], config.runtime.nj), f"align {part}", len(jobs), done):
        append_jsonl(path, {RESULTS: results})


def _task(cut: dict, chosen: set[str]) -> tuple[str, str] | str | None:
    """(audio, text) to align; or the result of a cut that is not aligned."""
    supervision = cut["supervisions"][0]
    if (supervision.get("alignment") or {}).get(artifacts.PHONE_TIER):
        return None
    if not supervision["text"]:
        return "no transcript"
    if cut["id"] not in chosen:
        return "not among corpus.alignment_max_utterances"
    return cut["recording"]["sources"][0]["source"], supervision["text"]


def _align_job(tasks: list) -> list[dict | str | None]:
    return [_align_utterance(*task) if isinstance(task, tuple) else task for task in tasks]


def _align_utterance(audio: str, text: str) -> dict | str:
    try:
        phones, words = process_aligner().align(soundfile.read(audio, dtype="int16")[0], text)
    except Unalignable as error:
        return str(error)
    return {artifacts.PHONE_TIER: [list(item) for item in phones], artifacts.WORD_TIER: [list(item) for item in words]}


def _from_tsv(cut: dict, index: TsvIndex) -> dict | str:
    identity, duration, name = cut["id"], cut["duration"], index.path.name
    if identity not in index:
        return f"not in {name}"
    labels = index.labels(identity)
    labelled = len(labels) * artifacts.PHONE_SHIFT_IN_S
    if abs(labelled - duration) > _TOLERANCE_IN_S:
        return f"{name} has another length: {labelled:.2f} s for {duration:.2f} s"
    items = [item for item in items_from_labels(labels) if item.start < duration]
    items[-1] = items[-1]._replace(duration=round(min(items[-1].end, duration) - items[-1].start, 6))
    return {artifacts.PHONE_TIER: [list(item) for item in items]}


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
        """(phones, words) of an utterance of (S,) int16 samples at 16 kHz with normalised text, in seconds from its start.

        Phones are ARPAbet without stress and SIL, one after the other from 0 without a gap, to within 30 ms of the end. Words are
        those of `text`, without the silences.

        Raises Unalignable for a word without pronunciation, or a text that the acoustic model cannot fit to the audio.
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
