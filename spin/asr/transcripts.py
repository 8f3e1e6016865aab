"""The files of one decoding: recognised text, alignments an utterance, errors a word. Formats after Kaldi's and icefall's."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import kaldialign

from spin import artifacts
from spin.asr.scoring import ErrorCounts, count_characters, count_words, total
from spin.errors import DataError
from spin.runtime.files import read_json, read_jsonl, write_json, write_jsonl, write_text

NOTHING = "***"  # stands where the other text has a word and this one has none


@dataclass(frozen=True)
class Hypothesis:
    """What was said and what was recognised in one utterance; normalised texts."""

    utterance_id: str
    speaker: str
    reference: str
    text: str


def write_decoding(
    place: tuple[Path, str, int, str, str], hypotheses: list[Hypothesis], facts: dict, symbols: str = "words"
) -> dict:
    """Writes all files of a decoding; the summary comes last and marks it as whole.

    Args:
        place: experiment folder, system, seed, part, method.
        hypotheses: of all utterances of the part.
        facts: what else the summary should hold (LM scale, empty lattices).
        symbols: "words", or "phones" where the texts are phones: then "wer" is a phone error rate, and "cer" is the same.

    Returns:
        The summary.
    """
    folder = artifacts.decode_folder(*place)
    hypotheses = sorted(hypotheses, key=lambda hypothesis: hypothesis.utterance_id)
    words = [count_words(hypothesis.reference, hypothesis.text) for hypothesis in hypotheses]
    characters = [count_characters(item.reference, item.text) for item in hypotheses] if symbols == "words" else words
    lines = (f"{item.utterance_id}\t{item.reference}\t{item.text}\n" for item in hypotheses)
    write_text(artifacts.hypotheses(*place), "".join(lines))
    write_text(artifacts.word_alignments(folder), "".join(_aligned_lines(item) for item in hypotheses))
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


def read_summary(folder: Path) -> dict | None:
    """The summary of a whole decoding; None when there is none yet."""
    path = artifacts.decode_summary(folder)
    return read_json(path) if path.exists() else None


def read_counts(folder: Path) -> dict[str, tuple[ErrorCounts, ErrorCounts]]:
    """Utterance id -> (word counts, character counts).

    Raises:
        DataError: the decoding is missing.
    """
    if read_summary(folder) is None:
        raise DataError(str(folder), found="no decoding", expected="its files", remedy="run stage 5")
    records = read_jsonl(artifacts.utterance_counts(folder))
    return {record["id"]: (ErrorCounts(**record["words"]), ErrorCounts(**record["characters"])) for record in records}


def read_speakers(folder: Path) -> dict[str, str]:
    """Utterance id -> speaker, of a decoding that read_counts can read."""
    return {record["id"]: record["speaker"] for record in read_jsonl(artifacts.utterance_counts(folder))}


def align_words(reference: str, hypothesis: str) -> list[tuple[str, str]]:
    """Pairs of words of the best alignment; NOTHING stands for a missing one."""
    return kaldialign.align(reference.split(), hypothesis.split(), NOTHING)


def _aligned_lines(item: Hypothesis) -> str:
    pairs = align_words(item.reference, item.text)
    operations = [_operation(pair) for pair in pairs]
    widths = [max(len(first), len(second)) for first, second in pairs]
    rows = (
        ("ref", (first for first, _ in pairs)),
        ("hyp", (second for _, second in pairs)),
        ("op ", operations),
    )
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
    yield from ("", "WORDS: word correct errors in_reference in_hypothesis")
    yield from _word_lines(pairs)


def _word_lines(pairs: collections.Counter) -> list[str]:
    statistics: dict[str, list[int]] = collections.defaultdict(lambda: [0, 0, 0, 0])
    for (first, second), number in pairs.items():
        if first == second:
            for column in (0, 2, 3):
                statistics[first][column] += number
            continue
        if first != NOTHING:
            statistics[first][1] += number
            statistics[first][2] += number
        if second != NOTHING:
            statistics[second][1] += number
            statistics[second][3] += number
    ordered = sorted(statistics.items(), key=lambda entry: (-entry[1][1], entry[0]))
    return [" ".join([word, *(str(number) for number in numbers)]) for word, numbers in ordered]
