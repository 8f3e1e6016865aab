"""python -m spin convert-alignments: phone alignments from one format into another.

python -m spin convert-alignments --input LibriSpeech-alignments/dev-clean --output dev-clean.tsv    # Praat's, of the MFA
python -m spin convert-alignments --input data/mini/cuts_test.jsonl.gz --output test.item            # ABX items of a part
python -m spin convert-alignments --input dev-clean.tsv --output dev-clean/                          # to look at in Praat
"""

from __future__ import annotations

import argparse
import sys

from spin.corpus.alignment_files import PHONES, READABLE, WRITABLE, Writing, format_of, read_aligned, write_aligned
from spin.corpus.item import KINDS
from spin.corpus.textgrid import ENCODINGS
from spin.errors import DataError


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m spin convert-alignments",
        description=__doc__.split(": ", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--input", required=True, help="a .tsv, .ctm or .TextGrid file, a manifest of stage 0, a folder of TextGrids"
    )
    parser.add_argument("--from", dest="read", choices=READABLE, help="the format of --input, where its name does not tell it")
    parser.add_argument("--tier", default=PHONES, help=f"of the phones in a TextGrid ({PHONES})")
    parser.add_argument("--keep-stress", action="store_true", help="phones as they are written (AH0); else AH, and sil as SIL")
    add_output(parser)
    return parser.parse_args(argv)


def add_output(parser: argparse.ArgumentParser) -> None:
    """Options of writing, which other commands share."""
    parser.add_argument("--output", required=True, help="a .tsv, .ctm or .item file, or a folder, for TextGrids")
    parser.add_argument("--to", dest="write", choices=WRITABLE, help="the format of --output, where its name does not tell it")
    parser.add_argument(
        "--items", default=KINDS[0], choices=KINDS, help="of an .item file: with the neighbours, or the phone alone"
    )
    parser.add_argument("--speaker-end", default="-", metavar="TEXT", help="speaker: the utterance's name up to this text ('-')")
    parser.add_argument("--short", action="store_true", help="TextGrids in the short format")
    parser.add_argument("--encoding", default=ENCODINGS[0], choices=ENCODINGS, help="of TextGrids")


def writing(arguments: argparse.Namespace) -> tuple[str, Writing]:
    """The format to write and how, from the options of add_output."""
    how = Writing(lambda identity: identity.split(arguments.speaker_end)[0], arguments.items, arguments.short, arguments.encoding)
    return arguments.write or format_of(arguments.output), how


def main(argv: list[str] | None = None) -> None:
    """Converts; prints how many utterances.

    Raises:
        SpinError: names the file or utterance and what is wrong with it.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    if not arguments.speaker_end:
        raise DataError("--speaker-end", found="nothing", expected="a text such as '-'")
    kind, how = writing(arguments)
    utterances = read_aligned(
        arguments.input, arguments.read or format_of(arguments.input), arguments.tier, arguments.keep_stress
    )
    count = write_aligned(arguments.output, kind, utterances, how)
    print(f"{arguments.output}: {count} utterance(s)")
