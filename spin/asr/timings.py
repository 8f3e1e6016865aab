"""When each word was said: words.ctm. And lattices in Kaldi's text form.

A CTC model says a token where it is surest of it, mostly in its first frames; a word here begins with the first frame of its
first token and ends with the last frame of its last. So words are shorter than in a forced alignment, and their order is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import k2

from spin.asr.lang import BACK_OFF, Lang
from spin.asr.tokens import BLANK_ID, BOUNDARY

Span = tuple[str, int, int]  # word, first frame, frame after the last
TokenSpan = tuple[int, int, int]


def token_spans(labels: Iterable[int]) -> list[TokenSpan]:
    """(token, first frame, frame after the last) of the runs of one label; blanks are left out."""
    spans: list[TokenSpan] = []
    before = BLANK_ID
    for frame, label in enumerate(labels):
        if label != BLANK_ID:
            if label == before:
                spans[-1] = (label, spans[-1][1], frame + 1)
            else:
                spans.append((label, frame, frame + 1))
        before = label
    return spans


def word_spans(
    spans: Sequence[TokenSpan], words: Sequence[str], pronunciations: Mapping[str, Sequence[tuple[int, ...]]]
) -> list[Span] | None:
    """Shares the tokens out to the words, by any pronunciations that fit; None where none do.

    The decoding graph says a word somewhere on its way, often not with its first token; its spelling tells where it lies.
    """
    tokens = tuple(token for token, _, _ in spans)
    ways: dict[int, tuple[int, ...]] = {0: ()}  # next token -> where each word so far ended; of several ways the first
    for word in words:
        longer: dict[int, tuple[int, ...]] = {}
        for place, ends in ways.items():
            for spelled in pronunciations.get(word, ()):
                stop = place + len(spelled)
                if spelled and tokens[place:stop] == tuple(spelled):
                    longer.setdefault(stop, (*ends, stop))
        ways = longer
    ends = ways.get(len(tokens))
    if ends is None:
        return None
    starts = (0, *ends[:-1])
    return [(word, spans[first][1], spans[last - 1][2]) for word, first, last in zip(words, starts, ends)]


def spelled_spans(spans: Sequence[TokenSpan], lang: Lang) -> list[Span]:
    """Words (of a phone model: phones) of CTC's best path: a token with the boundary symbol begins one."""
    words: list[Span] = []
    pieces = lang.tokeniser.pieces
    for token, start, stop in spans:
        piece = pieces[token]
        if lang.kind == "phone" or piece.startswith(BOUNDARY) or not words:
            words.append((piece.removeprefix(BOUNDARY), start, stop))
        else:
            word, first, _ = words[-1]
            words[-1] = (word + piece, first, stop)
    return [span for span in words if span[0]]


def frame_labels(paths: k2.Fsa) -> list[list[int]]:
    """The CTC label of each frame along linear FSAs; arcs whose `frames` is 0 took none."""
    labels, splits = paths.labels.tolist(), _arc_bounds(paths)
    taken = paths.frames.tolist() if hasattr(paths, "frames") else [label >= 0 for label in labels]
    return [
        [labels[arc] for arc in range(first, last) if taken[arc] and labels[arc] >= 0] for first, last in zip(splits, splits[1:])
    ]


def ctm_lines(name: str, spans: Iterable[Span], frame_shift: float) -> str:
    """Lines of NIST's CTM: utterance, channel, begin, duration (seconds), word."""
    return "".join(
        f"{name} 1 {start * frame_shift:.2f} {(stop - start) * frame_shift:.2f} {word}\n" for word, start, stop in spans
    )


def lattice_blocks(names: Sequence[str], lattices: k2.Fsa, lang: Lang) -> Iterator[str]:
    """Each lattice as a block of Kaldi's text archive.

    A block is the name, lines of `from to token word graph_cost,acoustic_cost`, the final state, and an empty line; of an empty
    lattice the name and the empty line. Tokens are numbered one higher than in tokens.txt, as in k2's decoders for Kaldi's
    graphs: label 0 is epsilon in Kaldi, and blank, token 0, takes a frame. Words have their numbers in words.txt; #0, which the
    whole-lattice method has on the way, is written as epsilon.

    Args:
        names: of the utterances, one for each lattice.
        lattices: FsaVec from tokens to words with `acoustic` and `lm_scores`. The final state takes over the costs of no arc:
            those of arcs into it stand on the arcs, with label 0. Where it has `frames`, an arc with 0 takes none: label 0.
        lang: word table.
    """
    if isinstance(lattices.aux_labels, k2.RaggedTensor):
        lattices = k2.expand_ragged_attributes(lattices, ragged_attribute_names=["aux_labels"])
    arcs, words = lattices.arcs.values().tolist(), lattices.aux_labels.tolist()
    acoustic, lm_scores = lattices.acoustic.tolist(), lattices.lm_scores.tolist()
    bounds, back_off = _arc_bounds(lattices), lang.word_table.index(BACK_OFF)
    taken = lattices.frames.tolist() if hasattr(lattices, "frames") else [1] * len(arcs)
    for name, first, last in zip(names, bounds, bounds[1:]):
        lines = [name]
        for number in range(first, last):
            start, stop, label, _ = arcs[number]
            costs = f"{-lm_scores[number]:.6g},{-acoustic[number]:.6g}"
            token = label + 1 if label >= 0 and taken[number] else 0
            word = words[number] if 0 < words[number] != back_off else 0
            lines.append(f"{start} {stop} {token} {word} {costs}")
        lines += [f"{stop} 0,0"] if last > first else []
        yield "\n".join(lines) + "\n\n"


def _arc_bounds(fsas: k2.Fsa) -> list[int]:
    """Arcs of FSA n are those from bounds[n] to bounds[n + 1]."""
    shape = fsas.arcs.shape()
    return shape.row_splits(2)[shape.row_splits(1).long()].tolist()
