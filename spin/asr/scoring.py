"""Error rates by kaldialign, and the files of one decoding, in the formats of Kaldi and icefall."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import kaldialign

from spin import artifacts
from spin.runtime.files import read_jsonl, write_json, write_jsonl, write_text

NOTHING = "***"  # where the other text has a word and this one has none
SECTIONS = {
    "S": ("SUBSTITUTIONS: count reference -> hypothesis", "{0} -> {1}"),
    "D": ("DELETIONS: count reference", "{0}"),
    "I": ("INSERTIONS: count hypothesis", "{1}"),
}  # of the list of word errors: operation -> title and form of a line


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


def count_words(reference: str, hypothesis: str) -> ErrorCounts:
    """Word edits of two texts.

    >>> count_words("THE CAT SAT", "THE BAT SAT DOWN")
    ErrorCounts(reference=3, insertions=1, deletions=0, substitutions=1)
    """
    return _count_edits(reference.split(), hypothesis.split())


def count_characters(reference: str, hypothesis: str) -> ErrorCounts:
    """Character edits of two texts; the single spaces between words count as characters."""
    return _count_edits(list(" ".join(reference.split())), list(" ".join(hypothesis.split())))


def _count_edits(reference: Sequence[str], hypothesis: Sequence[str]) -> ErrorCounts:
    counts = kaldialign.edit_distance(reference, hypothesis)
    return ErrorCounts(len(reference), counts["ins"], counts["del"], counts["sub"])


def total(counts: Iterable[ErrorCounts]) -> ErrorCounts:
    """Sum over utterances."""
    return sum(counts, ErrorCounts())


@dataclass(frozen=True)
class Hypothesis:
    """Reference and recognised text of one utterance, normalised."""

    utterance_id: str
    speaker: str
    reference: str
    text: str

    @property
    def alignment(self) -> list[tuple[str, str, str]]:
        """(reference word, recognised word, operation C, S, I or D) of the best alignment; NOTHING for a missing word."""
        pairs = kaldialign.align(self.reference.split(), self.text.split(), NOTHING)
        return [(first, second, _operation(first, second)) for first, second in pairs]


def _operation(first: str, second: str) -> str:
    if first == second:
        return "C"
    return "I" if first == NOTHING else "D" if second == NOTHING else "S"


def write_decoding(folder: Path, hypotheses: list[Hypothesis], facts: dict, symbols: str = "words") -> dict:
    """Writes all files of a decoding, and returns its summary, to which `facts` are added.

    `symbols` is "words", or "phones" where the texts are phones: then "wer" and "cer" are the phone error rate.
    """
    hypotheses = sorted(hypotheses, key=lambda hypothesis: hypothesis.utterance_id)
    words = [count_words(item.reference, item.text) for item in hypotheses]
    characters = [count_characters(item.reference, item.text) for item in hypotheses] if symbols == "words" else words
    lines = (f"{item.utterance_id}\t{item.reference}\t{item.text}\n" for item in hypotheses)
    write_text(artifacts.hypotheses(folder), "".join(lines))
    write_text(artifacts.word_alignments(folder), "".join(map(_format_alignment, hypotheses)))
    write_text(artifacts.word_errors(folder), _format_errors(hypotheses, total(words)))
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


def _format_alignment(item: Hypothesis) -> str:
    references, texts, operations = zip(*item.alignment) if item.alignment else ((), (), ())
    widths = [max(map(len, pair)) for pair in zip(references, texts)]
    lines = [f"{name} " + " ".join(map(str.ljust, words, widths))
             for name, words in (("ref", references), ("hyp", texts), ("op ", operations))]  # fmt: skip
    lines.append("#csid " + " ".join(str(operations.count(operation)) for operation in "CSID"))
    return "".join(f"{item.utterance_id} {line}".rstrip() + "\n" for line in lines)


def _format_errors(hypotheses: Iterable[Hypothesis], counts: ErrorCounts) -> str:
    pairs = collections.Counter(pair for item in hypotheses for pair in item.alignment)
    most_first = sorted(pairs.items(), key=lambda entry: (-entry[1], entry[0]))
    edits = f"{counts.insertions} ins, {counts.deletions} del, {counts.substitutions} sub"
    lines = [f"%WER {counts.rate:.2f} [{counts.errors} / {counts.reference}, {edits}]"]
    for operation, (title, form) in SECTIONS.items():
        lines += ["", title, *(f"{number} {form.format(*pair)}" for pair, number in most_first if pair[2] == operation)]
    return "\n".join(lines) + "\n"


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
