"""Reference and both hypotheses side by side, word by word, and which utterances to show."""

from __future__ import annotations

from dataclasses import dataclass

SAME, WRONG, MISSING, ADDED = "same", "wrong", "missing", "added"
GAP = "*"  # kaldialign's mark of an absent word; no normalised text holds it


@dataclass(frozen=True)
class Column:
    """One column of the alignment: the reference's word ('' where only a system has one) and each system's (word, verdict)."""

    reference: str
    words: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Example:
    """One utterance.

    Args:
        utterance_id: its name.
        why: why it is shown.
        systems: the systems, in the order of Column.words.
        errors: word errors of each system.
        columns: the alignment.
    """

    utterance_id: str
    why: str
    systems: tuple[str, ...]
    errors: tuple[int, ...]
    columns: tuple[Column, ...]


def align(reference: list[str], hypotheses: list[list[str]]) -> tuple[Column, ...]:
    """Aligns every hypothesis with the reference by fewest errors; words added at one place by several systems share columns."""
    from kaldialign import align as pairs_of

    slots = [_slots(pairs_of(reference, hypothesis, GAP), len(reference)) for hypothesis in hypotheses]
    columns = []
    for index in range(len(reference) + 1):
        added = [system[index][0] for system in slots]
        for place in range(max(map(len, added), default=0)):
            columns.append(Column("", tuple((words[place], ADDED) if place < len(words) else ("", SAME) for words in added)))
        if index < len(reference):
            columns.append(Column(reference[index], tuple(_judged(reference[index], system[index][1]) for system in slots)))
    return tuple(columns)


def _slots(pairs: list[tuple[str, str]], length: int) -> list[tuple[list[str], str]]:
    """For each reference position (and the end): words added before it, and the word that stands at it ('' if missing)."""
    slots: list[tuple[list[str], str]] = [([], "") for _ in range(length + 1)]
    index = 0
    for expected, found in pairs:
        if expected == GAP:
            slots[index][0].append(found)
        else:
            slots[index] = (slots[index][0], "" if found == GAP else found)
            index += 1
    return slots


def _judged(expected: str, found: str) -> tuple[str, str]:
    if not found:
        return "", MISSING
    return found, SAME if found == expected else WRONG


def word_errors(columns: tuple[Column, ...], system: int) -> int:
    """Errors of one system in an alignment."""
    return sum(column.words[system][1] != SAME for column in columns)


def choose(texts: dict[str, tuple[list[str], list[list[str]]]], systems: tuple[str, ...], each: int = 2) -> list[Example]:
    """Picks utterances for a page: where Spin helps most, where it changes nothing, and where it hurts most.

    Args:
        texts: utterance -> (reference words, hypothesis words of each system); baseline first, Spin second.
        systems: names of the systems.
        each: utterances of each kind at most; fewer where there are none of a kind.
    """
    aligned = {name: align(reference, hypotheses) for name, (reference, hypotheses) in texts.items() if reference}
    errors = {name: tuple(word_errors(columns, index) for index in range(len(systems))) for name, columns in aligned.items()}
    gains = {name: counts[0] - counts[1] for name, counts in errors.items()}
    helped = sorted((name for name in gains if gains[name] > 0), key=lambda name: (-gains[name], name))[:each]
    hurt = sorted((name for name in gains if gains[name] < 0), key=lambda name: (gains[name], name))[:each]
    typical = sum(counts[1] for counts in errors.values()) / max(1, len(errors))
    even = sorted((name for name in gains if gains[name] == 0), key=lambda name: (abs(errors[name][1] - typical), name))[:each]
    reasons = (("Spin helps most", helped), ("As many errors with as without", even), ("Spin hurts most", hurt))
    return [Example(name, why, systems, errors[name], aligned[name]) for why, names in reasons for name in names]
