"""Checks a lang folder, as Kaldi's validate_lang.pl does: python -m spin.asr.validate_lang LANG_FOLDER.

Prints what is wrong, a line each, and ends with status 1; or says that all is well.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import k2

from spin.asr.graphs import DISAMBIG_FST_FILE, LEXICON_FST_FILE, load_lexicon_fst
from spin.asr.lang import DISAMBIG_FILE, Lang, load_lang
from spin.asr.lang_files import lexicon_lines, read_lines
from spin.errors import SpinError

WORDS_TRIED = 50  # round trips through L, spread over the lexicon


def problems(folder: Path) -> list[str]:
    """Everything that is wrong with a lang folder; empty when it is sound.

    Checked: the tables (numbers without gaps, every symbol once, special symbols in their places); the lexicon (words and tokens
    of the tables, every word there); lexicon_disambig.txt (the lexicon with #1 and up, no pronunciation at the beginning of
    another); L.pt and L_disambig.pt (labels of the tables, the loop of #0, and words that come back from their tokens); the
    tokeniser (texts that come back from their tokens).
    """
    try:
        lang = load_lang(folder)
        fsts = {name: load_lexicon_fst(folder / name) for name in (LEXICON_FST_FILE, DISAMBIG_FST_FILE)}
        lines = read_lines(folder / DISAMBIG_FILE)
    except SpinError as error:
        return [f"{error.subject}: found {error.found}, expected {error.expected}"]
    spoken = {word for word, _ in lang.lexicon}
    found = [f"words.txt: {word} has no line in lexicon.txt" for word in lang.words if word not in spoken]
    found += _disambiguation(lang, lines)
    found += _labels(lang, fsts)
    return found or _round_trips(lang, fsts[LEXICON_FST_FILE])


def _disambiguation(lang: Lang, lines: list[str]) -> list[str]:
    entries, _ = lang.disambiguated
    found = []
    if "".join(f"{line}\n" for line in lines) != lexicon_lines(entries, lang.token_table):
        found.append(f"{DISAMBIG_FILE}: not the lexicon with its disambiguation symbols")
    ordered = sorted(ids for _, ids in entries)
    for first, second in zip(ordered, ordered[1:]):  # a beginning sorts right before what it begins
        if second[: len(first)] == first:
            spelled = " ".join(lang.token_table[number] for number in first)
            found.append(f"{DISAMBIG_FILE}: '{spelled}' is a pronunciation and the beginning of another")
    return found


def _labels(lang: Lang, fsts: dict[str, k2.Fsa]) -> list[str]:
    found = []
    tokens, words = len(lang.token_table), len(lang.word_table)
    for name, fst in fsts.items():
        highest = tokens if name == DISAMBIG_FST_FILE else lang.vocabulary_size
        if int(fst.labels.max()) >= highest or int(fst.aux_labels.max()) >= words:
            found.append(f"{name}: labels beyond the tables")
        loops = [
            arc[2] for arc, word in zip(fst.arcs.values().tolist(), fst.aux_labels.tolist())
            if arc[0] == arc[1] and word == words - 3 and arc[2] == lang.vocabulary_size
        ]  # fmt: skip
        if bool(loops) != (name == DISAMBIG_FST_FILE):
            found.append(f"{name}: {'a' if loops else 'no'} loop that lets #0 through")
    return found


def _round_trips(lang: Lang, lexicon: k2.Fsa) -> list[str]:
    found = []
    sorted_lexicon = k2.arc_sort(lexicon)
    for word, ids in lang.lexicon[:: max(1, len(lang.lexicon) // WORDS_TRIED)]:
        said = k2.connect(k2.compose(k2.linear_fst([list(ids)], [list(ids)]), sorted_lexicon))
        words = {lang.word_table[number] for number in said.aux_labels.tolist() if number > 0} if said.num_arcs else set()
        if word not in words:
            found.append(f"{LEXICON_FST_FILE}: the tokens of {word} do not lead to it")
        if lang.kind != "phone" and lang.decode(lang.encode(word)) != word:
            found.append(f"tokens: {word} does not come back from its tokens")
        if lang.kind == "phone" and tuple(lang.encode(word)) not in {spelled for name, spelled in lang.lexicon if name == word}:
            found.append(f"tokens: {word} is encoded as no pronunciation of the lexicon")
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m spin.asr.validate_lang", description=__doc__.split(":")[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    found = problems(folder)
    print("\n".join(found) if found else f"{folder}: all is well")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
