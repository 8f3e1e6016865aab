"""The comparisons of the triphone ABX: triphones from alignments, groups, cells, and sampling that every system shares.

Legend: an item is one triphone in one utterance. A group is the items of one (context, speaker, phone). A cell is (A, B, X),
three groups of one context: A and B of two phones by one speaker, X of A's phone by the same speaker (within) or not (across).
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from spin import artifacts
from spin.runtime.seeding import generator, integer

GRID_NOISE = 1e-6  # frames; item boundaries on the middle of a frame count as inside, whatever the rounding
FRAME_RATE = 1 / artifacts.FRAME_SHIFT_IN_S


class Triphone(NamedTuple):
    """One item, a phone between its neighbours: `frames` frames of an utterance, starting with frame `first`."""

    utterance: str
    speaker: str
    first: int
    frames: int
    before: str
    phone: str
    after: str


class Design(NamedTuple):
    """Comparisons. Groups are numbered in order of (context, speaker, phone)."""

    items: list[Triphone]  # in the order of groups
    bounds: np.ndarray  # (G, 2) int64, first and one past the last item of each group
    within: np.ndarray  # (C, 3) int64 groups A, B, X with X = A
    across: np.ndarray  # (C', 3) int64 groups A, B, X
    labels: np.ndarray  # (G, 2) int64, number of the group's phone and of its speaker
    pairs: np.ndarray  # (P, 2) int64 groups g <= h whose distances the cells compare, ascending
    places: np.ndarray  # (2, C + C') int64 numbers of the pairs of X with A, and of X with B


def triphones(utterance: str, speaker: str, alignment: Iterable, frames: int) -> Iterator[Triphone]:
    """The triphones of `frames` frames, from first start to third end; none with silence, a gap, or without a frame."""
    phones = sorted(alignment, key=lambda item: item.start)
    for before, phone, after in zip(phones, phones[1:], phones[2:]):
        gap = max(phone.start - before.start - before.duration, after.start - phone.start - phone.duration)
        if artifacts.SILENCE in (before.symbol, phone.symbol, after.symbol) or gap > 0.5 * artifacts.FRAME_SHIFT_IN_S:
            continue
        first, count = frames_inside(before.start, after.start + after.duration, frames)
        if count > 0:
            yield Triphone(utterance, speaker, first, count, before.symbol, phone.symbol, after.symbol)


def frames_inside(start: float, end: float, frames: int) -> tuple[int, int]:
    """(first, number) of those of `frames` frames whose middle lies between `start` and `end` seconds, as in fastabx."""
    first = max(0, math.ceil(start * FRAME_RATE - 0.5 - GRID_NOISE))
    last = min(frames - 1, math.floor(end * FRAME_RATE - 0.5 + GRID_NOISE))
    return first, last - first + 1


def sample_utterances(speaker_of: dict[str, str], count: int, seed: int) -> list[str]:
    """At most `count` utterances, taken from all speakers in turn, each speaker's own in a random order fixed by the seed."""
    by_speaker = defaultdict(list)
    for utterance in sorted(speaker_of, key=lambda name: (integer(seed, "abx utterance", name), name)):
        by_speaker[speaker_of[utterance]].append(utterance)
    rounds = [(rank, speaker, name) for speaker, names in by_speaker.items() for rank, name in enumerate(names)]
    return sorted(name for _, _, name in sorted(rounds)[:count])


def design(
    items: Sequence[Triphone], max_items: int = 10, max_x_speakers: int = 5, max_distances: int = 2_000_000, seed: int = 0
) -> Design:
    """Groups items and lays out the cells, as the ZeroSpeech challenges sample them; the order of the items does not matter.

    A group has at most max_items items (10 in ZeroSpeech), drawn at random: fewer, down to 2, while more than max_distances
    alignments would be needed; if that is not enough, contexts are left out at random. Across speakers, each (A, B) has at most
    max_x_speakers speakers X (5 in ZeroSpeech).
    """
    groups = defaultdict(list)
    for item in items:
        groups[(item.before, item.after, item.speaker, item.phone)].append(item)
    contexts = defaultdict(lambda: defaultdict(list))  # context -> speaker -> phones
    for before, after, speaker, phone in sorted(groups):
        contexts[(before, after)][speaker].append(phone)
    contrasting = [context for context, speakers in contexts.items() if any(len(phones) > 1 for phones in speakers.values())]
    kept = _shuffled(contrasting, seed, "abx contexts")
    while True:
        keys, within, across = _lay_out(kept, contexts, groups, max_x_speakers, seed)
        sizes = np.array([len(groups[key]) for key in keys], dtype=np.int64)
        pairs, places = _group_pairs(np.concatenate([within, across]), len(keys))
        caps = range(max_items, 1, -1)
        cap = next((cap for cap in caps if np.minimum(sizes, cap)[pairs].prod(1).sum() <= max_distances), None)
        if cap or len(kept) <= 1:
            return _finish(keys, groups, cap or 2, seed, within, across, pairs, places)
        kept = kept[: max(1, int(len(kept) * 0.8))]


def _shuffled(values: list, seed: int, name: str, *more: str) -> list:
    order = generator(seed, name, *more).permutation(len(values))
    return [values[index] for index in order]


def _lay_out(
    kept: list, contexts: dict, groups: dict, max_x_speakers: int, seed: int
) -> tuple[list[tuple], np.ndarray, np.ndarray]:
    """The groups in use, and the cells within and across speakers."""
    index: dict[tuple, int] = {}
    within, across = [], []

    def number(key: tuple) -> int:
        return index.setdefault(key, len(index))

    for context in sorted(kept):
        speakers = contexts[context]
        for speaker, phones in speakers.items():
            if len(phones) < 2:
                continue
            for phone in phones:
                a = number((*context, speaker, phone))
                others = [number((*context, speaker, other)) for other in phones if other != phone]
                if len(groups[(*context, speaker, phone)]) > 1:
                    within.extend((a, b, a) for b in others)
                candidates = [other for other in speakers if other != speaker and phone in speakers[other]]
                for other in _shuffled(candidates, seed, "abx x", *context, speaker, phone)[:max_x_speakers]:
                    x = number((*context, other, phone))
                    across.extend((a, b, x) for b in others)
    return list(index), *(np.array(cells, dtype=np.int64).reshape(-1, 3) for cells in (within, across))


def _group_pairs(cells: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Design.pairs and Design.places of (C, 3) cells."""
    both = np.concatenate([cells[:, [2, 0]], cells[:, [2, 1]]])
    codes, places = np.unique(both.min(1) * count + both.max(1), return_inverse=True)
    return np.stack([codes // count, codes % count], axis=1), places.reshape(2, -1)


def _finish(keys: list[tuple], groups: dict, cap: int, seed: int, within, across, pairs, places) -> Design:
    items, bounds = [], []
    for key in keys:
        members = sorted(groups[key], key=lambda item: (item.utterance, item.first))
        members = members if len(members) <= cap else _shuffled(members, seed, "abx items", *key)[:cap]
        bounds.append((len(items), len(items) + len(members)))
        items.extend(members)
    phones = {phone: number for number, phone in enumerate(sorted({key[3] for key in keys}))}
    speakers = {speaker: number for number, speaker in enumerate(sorted({key[2] for key in keys}))}
    labels = np.array([(phones[key[3]], speakers[key[2]]) for key in keys], dtype=np.int64).reshape(-1, 2)
    return Design(items, np.array(bounds, np.int64).reshape(-1, 2), within, across, labels, pairs, places)
