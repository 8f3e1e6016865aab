"""Reference and hypotheses word under word, and the choice of utterances to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

SAME, WRONG, MISSING, ADDED = "same", "wrong", "missing", "added"
GAP = "*"  # kaldialign's mark of an absent word; no normalised text contains it
EACH = 2  # utterances of each kind at most


class Column(NamedTuple):
    """One column of the alignment: the reference's word ('' where only a system has one) and each system's (word, verdict)."""

    reference: str
    words: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Example:
    """One utterance on the page.

    Attributes:
        utterance_id: id of the utterance.
        reason: why it is shown.
        systems: titles of the systems, in the order of Column.words.
        errors: word errors of each system.
        columns: the alignment.
    """

    utterance_id: str
    reason: str
    systems: tuple[str, ...]
    errors: tuple[int, ...]
    columns: tuple[Column, ...]


def align(reference: list[str], hypotheses: list[list[str]]) -> tuple[Column, ...]:
    """Aligns every hypothesis with the reference by fewest errors; words added at one place by several systems share columns."""
    slots = [_slots(reference, hypothesis) for hypothesis in hypotheses]
    columns = []
    for index, expected in enumerate([*reference, ""]):
        added = [system[index][0] for system in slots]
        for place in range(max(map(len, added), default=0)):
            columns.append(Column("", tuple((words[place], ADDED) if place < len(words) else ("", SAME) for words in added)))
        if index < len(reference):
            columns.append(Column(expected, tuple(_judge(expected, system[index][1]) for system in slots)))
    return tuple(columns)


def _slots(reference: list[str], hypothesis: list[str]) -> list[tuple[list[str], str]]:
    """For each reference position (and the end): the words added before it, and the word at it ('' if missing)."""
    from kaldialign import align as align_pair

    slots, added = [], []
    for expected, word in align_pair(reference, hypothesis, GAP):
        if expected == GAP:
            added.append(word)
        else:
            slots.append((added, "" if word == GAP else word))
            added = []
    return [*slots, (added, "")]


def _judge(expected: str, word: str) -> tuple[str, str]:
    if not word:
        return "", MISSING
    return word, SAME if word == expected else WRONG


def word_errors(columns: tuple[Column, ...], system: int) -> int:
    """Errors of one system in an alignment."""
    return sum(column.words[system][1] != SAME for column in columns)


def choose_examples(texts: dict[str, tuple[list[str], list[list[str]]]], titles: tuple[str, ...], subject: int) -> list[Example]:
    """Picks utterances for a page: where the subject helps most, where it changes nothing, and where it hurts most.

    Args:
        texts: utterance -> (reference words, hypothesis words of each system, baseline first).
        titles: titles of the systems.
        subject: place of the system that is compared with the baseline.
    """
    aligned = {name: align(reference, hypotheses) for name, (reference, hypotheses) in texts.items() if reference}
    errors = {name: tuple(word_errors(columns, index) for index in range(len(titles))) for name, columns in aligned.items()}
    gains = {name: counts[0] - counts[subject] for name, counts in errors.items()}
    mean = sum(counts[subject] for counts in errors.values()) / max(1, len(errors))
    helped = sorted((-gain, name) for name, gain in gains.items() if gain > 0)
    equal = sorted((abs(errors[name][subject] - mean), name) for name, gain in gains.items() if gain == 0)
    hurt = sorted((gain, name) for name, gain in gains.items() if gain < 0)
    kinds = {
        f"{titles[subject]} helps most": helped,
        f"As many errors with {titles[subject]} as without": equal,
        f"{titles[subject]} hurts most": hurt,
    }
    chosen = [(reason, name) for reason, ranked in kinds.items() for _, name in ranked[:EACH]]
    return [Example(name, reason, titles, errors[name], aligned[name]) for reason, name in chosen]
