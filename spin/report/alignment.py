"""Reference and hypotheses word under word, and the choice of utterances to show."""

from __future__ import annotations

from dataclasses import dataclass

SAME, WRONG, MISSING, ADDED = "same", "wrong", "missing", "added"
GAP = "*"  # kaldialign's mark of an absent word; no normalised text contains it


@dataclass(frozen=True)
class Column:
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
    from kaldialign import align as align_pair

    slots = [_slots(align_pair(reference, hypothesis, GAP), len(reference)) for hypothesis in hypotheses]
    columns = []
    for index in range(len(reference) + 1):
        added = [system[index][0] for system in slots]
        for place in range(max(map(len, added), default=0)):
            columns.append(Column("", tuple((words[place], ADDED) if place < len(words) else ("", SAME) for words in added)))
        if index < len(reference):
            columns.append(Column(reference[index], tuple(_judge(reference[index], system[index][1]) for system in slots)))
    return tuple(columns)


def _slots(pairs: list[tuple[str, str]], length: int) -> list[tuple[list[str], str]]:
    """For each reference position (and the end): the words added before it, and the word at it ('' if missing)."""
    slots: list[tuple[list[str], str]] = [([], "") for _ in range(length + 1)]
    index = 0
    for expected, word in pairs:
        if expected == GAP:
            slots[index][0].append(word)
        else:
            slots[index] = (slots[index][0], "" if word == GAP else word)
            index += 1
    return slots


def _judge(expected: str, word: str) -> tuple[str, str]:
    if not word:
        return "", MISSING
    return word, SAME if word == expected else WRONG


def word_errors(columns: tuple[Column, ...], system: int) -> int:
    """Errors of one system in an alignment."""
    return sum(column.words[system][1] != SAME for column in columns)


def choose_examples(
    texts: dict[str, tuple[list[str], list[list[str]]]], titles: tuple[str, ...], subject: int, each: int = 2
) -> list[Example]:
    """Picks utterances for a page: where the subject helps most, where it changes nothing, and where it hurts most.

    Args:
        texts: utterance -> (reference words, hypothesis words of each system, baseline first).
        titles: titles of the systems.
        subject: place of the system that is compared with the baseline.
        each: utterances of each kind at most; fewer where there are none of a kind.
    """
    aligned = {name: align(reference, hypotheses) for name, (reference, hypotheses) in texts.items() if reference}
    errors = {name: tuple(word_errors(columns, index) for index in range(len(titles))) for name, columns in aligned.items()}
    gains = {name: counts[0] - counts[subject] for name, counts in errors.items()}
    typical = sum(counts[subject] for counts in errors.values()) / max(1, len(errors))

    def pick(kept, rank) -> list[str]:
        return sorted((name for name in gains if kept(gains[name])), key=lambda name: (rank(name), name))[:each]

    reasons = {
        f"{titles[subject]} helps most": pick(lambda gain: gain > 0, lambda name: -gains[name]),
        f"As many errors with {titles[subject]} as without": pick(
            lambda gain: gain == 0, lambda name: abs(errors[name][subject] - typical)
        ),
        f"{titles[subject]} hurts most": pick(lambda gain: gain < 0, lambda name: gains[name]),
    }
    return [Example(name, reason, titles, errors[name], aligned[name]) for reason, names in reasons.items() for name in names]
