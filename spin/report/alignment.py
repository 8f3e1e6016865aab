"""Reference and hypotheses word under word, and the choice of utterances to show."""

from typing import NamedTuple

SAME, WRONG, MISSING, ADDED = "same", "wrong", "missing", "added"
GAP = "*"  # kaldialign's mark of an absent word; no normalised text contains it
EACH = 2  # utterances of each kind at most


class Column(NamedTuple):
    """One column of the alignment: the reference's word ('' where only a system has one) and each system's (word, verdict)."""

    reference: str
    words: tuple[tuple[str, str], ...]


class Example(NamedTuple):
    """One utterance on the page."""

    utterance_id: str
    reason: str  # why it is shown
    systems: tuple[str, ...]  # titles, in the order of Column.words
    errors: tuple[int, ...]  # word errors of each system
    columns: tuple[Column, ...]


def align(reference: list[str], hypotheses: list[list[str]]) -> tuple[Column, ...]:
    """Aligns hypotheses with the reference by fewest errors; words added at one place by several systems share columns."""
    slots = [_slots(reference, hypothesis) for hypothesis in hypotheses]
    columns = []
    for index, expected in enumerate([*reference, ""]):
        added = [system[index][0] for system in slots]
        for place in range(max(map(len, added), default=0)):
            columns.append(Column("", tuple((words[place], ADDED) if place < len(words) else ("", SAME) for words in added)))
        if index < len(reference):
            columns.append(Column(expected, tuple(system[index][1] for system in slots)))
    return tuple(columns)


def _slots(reference: list[str], hypothesis: list[str]) -> list[tuple[list[str], tuple[str, str]]]:
    """For each word of the reference, and the end: the words added before it, and the word at it with its verdict."""
    from kaldialign import align as align_pair

    slots, added = [], []
    for expected, word in align_pair(reference, hypothesis, GAP):
        if expected == GAP:
            added.append(word)
        else:
            slots.append((added, ("", MISSING) if word == GAP else (word, SAME if word == expected else WRONG)))
            added = []
    return [*slots, (added, ("", SAME))]


def word_errors(columns: tuple[Column, ...], system: int) -> int:
    """Errors of one system in an alignment."""
    return sum(column.words[system][1] != SAME for column in columns)


def choose_examples(texts: dict[str, tuple[list[str], list[list[str]]]], titles: tuple[str, ...], subject: int) -> list[Example]:
    """Picks utterances for a page: where the subject helps most, where it changes nothing, and where it hurts most.

    Args:
        texts: utterance -> (reference words, hypothesis words of each system, baseline first).
        subject: place in `titles` of the system that is compared with the baseline.
    """
    aligned = {name: align(reference, hypotheses) for name, (reference, hypotheses) in texts.items() if reference}
    errors = {name: tuple(word_errors(columns, index) for index in range(len(titles))) for name, columns in aligned.items()}
    gains = {name: counts[0] - counts[subject] for name, counts in errors.items()}
    mean = sum(counts[subject] for counts in errors.values()) / max(1, len(errors))
    near_mean = {name: abs(errors[name][subject] - mean) for name in gains}
    kinds = {
        f"{titles[subject]} helps most": sorted((-gain, name) for name, gain in gains.items() if gain > 0),
        f"As many errors with {titles[subject]} as without": sorted((near_mean[name], name) for name in gains if not gains[name]),
        f"{titles[subject]} hurts most": sorted((gain, name) for name, gain in gains.items() if gain < 0),
    }
    chosen = [(reason, name) for reason, ranked in kinds.items() for _, name in ranked[:EACH]]
    return [Example(name, reason, titles, errors[name], aligned[name]) for reason, name in chosen]
