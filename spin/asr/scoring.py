"""Error rates by kaldialign, and the files of one decoding, in the formats of Kaldi and icefall."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import kaldialign

from spin import artifacts
from spin.runtime.files import read_json, read_jsonl, write_json, write_jsonl, write_text

NOTHING = "***"  # where the other text has a word and this one has none


@dataclass(frozen=True)
class ErrorCounts:
    """Symbols of the reference, and edits of the best alignment, of one utterance or summed over many."""

    reference: int = 0
    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0

    @property
    def errors(self) -> int:
        """All edits."""
        return self.insertions + self.deletions + self.substitutions

    @property
    def rate(self) -> float:
        """Errors per 100 reference symbols; can exceed 100. An empty reference gives 0 without errors, otherwise 100."""
        if self.reference == 0:
            return 100.0 if self.errors else 0.0
        return 100.0 * self.errors / self.reference

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(*(first + second for first, second in zip(vars(self).values(), vars(other).values())))


def count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    """Edits of the best alignment of two sequences, each edit costing 1."""
    counts = kaldialign.edit_distance(reference, hypothesis)
    return ErrorCounts(len(reference), counts["ins"], counts["del"], counts["sub"])


def count_words(reference: str, hypothesis: str) -> ErrorCounts:
    """Word edits of two texts.

    >>> count_words("THE CAT SAT", "THE BAT SAT DOWN")
    ErrorCounts(reference=3, insertions=1, deletions=0, substitutions=1)
    """
    return count_edits(reference.split(), hypothesis.split())


def count_characters(reference: str, hypothesis: str) -> ErrorCounts:
    """Character edits of two texts; the single spaces between words count as characters."""
    return count_edits(list(" ".join(reference.split())), list(" ".join(hypothesis.split())))


def total(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Sum over utterances."""
    return sum(counts, ErrorCounts())


@dataclass(frozen=True)
class Hypothesis:
    """Reference and recognised text of one utterance, normalized."""

    utterance_id: str
    speaker: str
    reference: str
    text: str


def write_decoding(folder: Path, hypotheses: list[Hypothesis], facts: dict, symbols: str = "words") -> dict:
    """Writes all files of a decoding, and returns its summary.

    Args:
        facts: further entries of the summary (LM scale, empty lattices).
        symbols: "words", or "phones" where the texts are phones: then "wer" and "cer" are the phone error rate.
    """
    hypotheses = sorted(hypotheses, key=lambda hypothesis: hypothesis.utterance_id)
    words = [count_words(item.reference, item.text) for item in hypotheses]
    characters = [count_characters(item.reference, item.text) for item in hypotheses] if symbols == "words" else words
    lines = (f"{item.utterance_id}\t{item.reference}\t{item.text}\n" for item in hypotheses)
    write_text(artifacts.hypotheses(folder), "".join(lines))
    write_text(artifacts.word_alignments(folder), "".join(_format_alignment(item) for item in hypotheses))
    write_text(artifacts.word_errors(folder), "\n".join(_error_lines(hypotheses, total(words))) + "\n")
    records = (
        {"id": item.utterance_id, "speaker": item.speaker, "words": asdict(word), "characters": asdict(character)}
        for item, word, character in zip(hypotheses, words, characters)
    )
    write_jsonl(artifacts.utterance_counts(folder), records)
    summary = {
        "utterances": len(hypotheses),
        "wer": total(words).rate,
        "cer": total(characters).rate,
        "words": asdict(total(words)),
        "characters": asdict(total(characters)),
        **({} if symbols == "words" else {"symbols": symbols, "per": total(words).rate}),
        **facts,
    }
    write_json(artifacts.decode_summary(folder), summary)
    return summary


def read_summary(folder: Path) -> dict:
    """The summary of a decoding; DataError when it is missing."""
    return read_json(artifacts.decode_summary(folder))


@dataclass(frozen=True)
class Counts:
    """Edits of one utterance."""

    speaker: str
    words: ErrorCounts
    characters: ErrorCounts


def read_counts(folder: Path) -> dict[str, Counts]:
    """Utterance id -> its edits, of one decoding."""
    return {
        record["id"]: Counts(record["speaker"], ErrorCounts(**record["words"]), ErrorCounts(**record["characters"]))
        for record in read_jsonl(artifacts.utterance_counts(folder))
    }


def _align(item: Hypothesis) -> list[tuple[str, str]]:
    """Pairs of words of the best alignment, with NOTHING in place of a missing one."""
    return kaldialign.align(item.reference.split(), item.text.split(), NOTHING)


def _operation(pair: tuple[str, str]) -> str:
    first, second = pair
    if first == second:
        return "C"
    return "I" if first == NOTHING else "D" if second == NOTHING else "S"


def _format_alignment(item: Hypothesis) -> str:
    pairs = _align(item)
    operations = [_operation(pair) for pair in pairs]
    widths = [max(len(first), len(second)) for first, second in pairs]
    rows = (("ref", [first for first, _ in pairs]), ("hyp", [second for _, second in pairs]), ("op ", operations))
    lines = [
        f"{item.utterance_id} {name} " + " ".join(word.ljust(width) for word, width in zip(words, widths)) for name, words in rows
    ]
    counted = collections.Counter(operations)
    lines.append(f"{item.utterance_id} #csid " + " ".join(str(counted[operation]) for operation in "CSID"))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _error_lines(hypotheses: Iterable[Hypothesis], counts: ErrorCounts) -> Iterator[str]:
    pairs = collections.Counter(pair for item in hypotheses for pair in _align(item))
    kinds: dict[str, list] = {kind: [] for kind in "CSID"}
    for pair, number in sorted(pairs.items(), key=lambda entry: (-entry[1], entry[0])):
        kinds[_operation(pair)].append((pair, number))
    yield (
        f"%WER {counts.rate:.2f} [{counts.errors} / {counts.reference}, {counts.insertions} ins,"
        f" {counts.deletions} del, {counts.substitutions} sub]"
    )
    yield from ("", "SUBSTITUTIONS: count reference -> hypothesis")
    yield from (f"{number} {first} -> {second}" for (first, second), number in kinds["S"])
    yield from ("", "DELETIONS: count reference")
    yield from (f"{number} {first}" for (first, _), number in kinds["D"])
    yield from ("", "INSERTIONS: count hypothesis")
    yield from (f"{number} {second}" for (_, second), number in kinds["I"])
