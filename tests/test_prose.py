"""The project's English: no phrase that reads as translated, and short sentences in the READMEs."""

import re
import statistics
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
BANNED = re.compile(
    r"gone on with|\bgo(?:es)? on (?:with|from)|\bto be had\b|for want of|\bmend(?:s|ed|ing)?\b|\banew\b|\bafresh\b|"
    r"\bmeanwhile\b|all the same\b|\bbut for\b|\bdeaf\b|put back|set aside|\bborders?\b|is no number|are no numbers|"
    r"of no byte|passed over|in any case\b|\bbesides?\b",
    re.IGNORECASE,
)
READMES = ("README.md", "egs/librispeech/README.md", "spin/README.md", "spin/objectives/README.md", "spin/perturbation/README.md")
LONGEST, USUAL = 40, 20  # words in a sentence
LISTING = subprocess.run(["git", "ls-files", "*.py", "*.sh", "*.md"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
TRACKED = [name for name in LISTING.stdout.splitlines() if (REPOSITORY / name).is_file()]


def sentences(text: str) -> list[str]:
    """Prose sentences of a Markdown file, without code, tables and headings."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    blocks = [block for block in text.split("\n\n") if not block.strip("\n").startswith(("|", "#", "    ", "<", "!"))]
    prose = " ".join(re.sub(r"`[^`]*`|\]\([^)]*\)", "x", block).replace("\n", " ") for block in blocks)
    return [sentence for sentence in re.split(r"(?<=[.!?:])\s+|\s[-*]\s", prose) if len(sentence.split()) > 2]


@pytest.mark.parametrize("name", TRACKED)
def test_no_phrase_reads_as_translated(name):
    if name in ("tests/test_prose.py", "spin/corpus/grammar.py"):  # the grammar's vocabulary is data
        return
    for number, line in enumerate((REPOSITORY / name).read_text(encoding="utf-8").splitlines(), 1):
        found = BANNED.search(line)
        assert not found, f"line {number}: {found[0]}"


@pytest.mark.parametrize("name", READMES)
def test_the_readmes_are_short_and_so_are_their_sentences(name):
    text = (REPOSITORY / name).read_text(encoding="utf-8")
    assert name != "README.md" or len(text.splitlines()) <= 150
    lengths = {sentence: len(sentence.split()) for sentence in sentences(text)}
    assert lengths, name
    longest = max(lengths, key=lengths.get)
    assert lengths[longest] <= LONGEST, longest
    assert statistics.median(lengths.values()) <= USUAL
