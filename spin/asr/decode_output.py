"""The files of one decoding: recognised text, alignments, errors of each word. Formats follow Kaldi and icefall."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import kaldialign

from spin import artifacts
from spin.asr.scoring import ErrorCounts, count_characters, count_words, total
from spin.runtime.files import read_json, read_jsonl, write_json, write_jsonl, write_text

NOTHING = "***"  # where the other text has a word and this one has none


@dataclass(frozen=True)
class Hypothesis:
    """Reference and recognised text of one utterance, normalized."""

    utterance_id: str
    speaker: str
    reference: str
    text: str


def write_decoding(folder: Path, hypotheses: list[Hypothesis], facts: dict, symbols: str = "words") -> dict:
    """Writes all files of a decoding.

    Args:
        folder: folder of the decoding.
        hypotheses: hypotheses of all utterances of the part.
        facts: further entries of the summary (LM scale, empty lattices).
        symbols: "words", or "phones" where the texts are phones: then "wer" and "cer" are the phone error rate.

    Returns:
        The summary.
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


def align_words(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Pairs of words of the best alignment, with NOTHING in place of a missing one."""
    return kaldialign.align(reference.split(), hypothesis.split(), NOTHING)


def _format_alignment(item: Hypothesis) -> str:
    pairs = align_words(item.reference, item.text)
    operations = [_operation(pair) for pair in pairs]
    widths = [max(len(first), len(second)) for first, second in pairs]
    rows = (("ref", [first for first, _ in pairs]), ("hyp", [second for _, second in pairs]), ("op ", operations))
    lines = [
        f"{item.utterance_id} {name} " + " ".join(word.ljust(width) for word, width in zip(words, widths)).rstrip()
        for name, words in rows
    ]
    counted = collections.Counter(operations)
    lines.append(f"{item.utterance_id} #csid " + " ".join(str(counted[operation]) for operation in "CSID"))
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _operation(pair: tuple[str, str]) -> str:
    first, second = pair
    if first == second:
        return "C"
    return "I" if first == NOTHING else "D" if second == NOTHING else "S"


def _error_lines(hypotheses: Iterable[Hypothesis], counts: ErrorCounts) -> Iterator[str]:
    pairs = collections.Counter(pair for item in hypotheses for pair in align_words(item.reference, item.text))
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
