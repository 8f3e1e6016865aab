"""python -m spin abx: the ABX error of features or units on a ZeroSpeech .item file.

python -m spin abx --features DIR --item dev-clean.item                           # DIR/<file>.npy, .npz or .pt, 50 per second
python -m spin abx --features DIR --item phoneme-dev-clean.item --context any     # phones in any context
python -m spin abx --features units.jsonl --item dev-clean.item --json            # units as one-hot vectors
python -m spin abx --features exp/mini/features/spin/test/cuts.jsonl.gz --item test.item
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator

from spin.corpus.abx_item import Item, read_items
from spin.errors import DataError
from spin.tools.abx_features import open_source
from spin.units.abx import AbxResult, abx
from spin.units.abx_design import GRID_NOISE, Design, Triphone, design

DEFAULT_RATE = 50.0  # frames per second of HuBERT and its like
_LATEST_IN_S = 0.1  # an item may begin this much after the last frame: encoders give none for the last samples of a file


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m spin abx",
        description=__doc__.split(": ", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--features", required=True, help="a folder of arrays, a units.jsonl, or a manifest of stage 3")
    parser.add_argument("--item", required=True, help="a ZeroSpeech .item file: of triphones, or of phonemes")
    parser.add_argument("--speaker", default="both", choices=("within", "across", "both"), help="speakers of A, B and X")
    parser.add_argument(
        "--context", default="within", choices=("within", "any"), help="A, B and X between the same phones or not"
    )
    parser.add_argument("--one-hot", action="store_true", help="units: equal or not, instead of the angle")
    parser.add_argument("--frame-rate", type=_number(float, 0), default=DEFAULT_RATE, metavar="HZ", help="frames per second (50)")
    parser.add_argument("--libri-light", action="store_true", help="items end a frame earlier, as in the code of ZeroSpeech 2021")
    parser.add_argument("--key", help="name of the array, where .npz or .pt files hold several")
    count = _number(int, 0)
    parser.add_argument(
        "--max-group", type=_number(int, 1), default=10, metavar="N", help="items per phone, speaker and context (10)"
    )
    parser.add_argument("--max-x-speakers", type=count, default=5, metavar="N", help="speakers X per A and B, across (5)")
    parser.add_argument("--max-distances", type=count, default=sys.maxsize, metavar="N", help="most alignments (no limit)")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the sampling (0)")
    parser.add_argument("--nj", type=count, default=1, help="threads (1); the result does not depend on it")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Prints the errors.

    Raises:
        SpinError: a file that is missing, damaged or does not fit.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    source, one_hot = open_source(arguments.features, arguments.one_hot, arguments.key)
    items = list(read_items(arguments.item))
    triphones = list(on_frames(items, source.frames, arguments.frame_rate, arguments.context, arguments.libri_light))
    plan = lay_out(triphones, arguments)
    measured = abx(plan, source, arguments.nj)
    result = {
        "features": str(arguments.features),
        "item": str(arguments.item),
        "one_hot": one_hot,
        "context": arguments.context,
        "frame_rate": arguments.frame_rate,
        "libri_light": arguments.libri_light,
        **_errors(measured),
        "items": len(items),
        "items_without_frame": len(items) - len(triphones),
        "items_compared": len(plan.items),
        "items_per_group": plan.items_per_group,
        "max_x_speakers": arguments.max_x_speakers,
        "seed": arguments.seed,
    }
    print(json.dumps(result, indent=2) if arguments.json else _text(result))


def on_frames(
    items: Iterable[Item], frames_of: Callable[[str], int], rate: float, context: str, libri_light: bool = False
) -> Iterator[Triphone]:
    """Items as frames: those whose middle, (i + 1/2) / rate, lies in the item. Items without a frame are left out.

    Args:
        items: items of the item file.
        frames_of: file -> T of its features; called once per file.
        rate: frames per second.
        context: within (the neighbours are kept) or any (they are dropped: all items of a phone and speaker are one group).
        libri_light: without the last of these frames, as in libri-light's eval_ABX, from which published figures come.

    Raises:
        DataError: an item begins where the features have long ended.
    """
    lengths: dict[str, int] = {}
    for item in items:
        frames = lengths[item.file] if item.file in lengths else lengths.setdefault(item.file, frames_of(item.file))
        if item.onset > frames / rate + _LATEST_IN_S:
            raise DataError(
                f"item of {item.file} at {item.onset:g} s",
                found=f"features that end at {frames / rate:.2f} s ({frames} frames, {rate:g} per second)",
                expected="features of the whole file",
                cause="another frame rate, or features of other audio",
                remedy="set --frame-rate",
            )
        first = max(0, math.ceil(item.onset * rate - 0.5 - GRID_NOISE))
        last = min(frames - 1, math.floor(item.offset * rate - 0.5 + GRID_NOISE) - libri_light)
        if last >= first:
            neighbours = (item.before, item.after) if context == "within" else ("", "")
            yield Triphone(item.file, item.speaker, first, last - first + 1, neighbours[0], item.phone, neighbours[1])


def lay_out(items: list[Triphone], arguments: argparse.Namespace) -> Design:
    """The comparisons that the options ask for.

    Raises:
        DataError: there are none.
    """
    limits = (arguments.max_group, arguments.max_x_speakers, arguments.max_distances)
    plan = design(items, *limits, seed=arguments.seed)
    unused = {"within": ("across",), "across": ("within",), "both": ()}[arguments.speaker]
    plan = dataclasses.replace(plan, **{name: getattr(plan, name)[:0] for name in unused})
    if not len(plan.within) + len(plan.across):
        raise DataError(
            f"item file {arguments.item}",
            found=f"{len(items)} items, but nothing to compare",
            expected="two phones of one speaker in one context, and another item of one of them",
            cause="too few items, or one speaker for --speaker across",
            remedy="use --context any or --speaker both",
        )
    return plan


def _errors(measured: AbxResult) -> dict:
    """Percentages, None where nothing was compared."""
    values = dataclasses.asdict(measured)
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()}


def _text(result: dict) -> str:
    names = {"within": "within speakers", "across": "across speakers"}
    shown = [(name, result[key], result[f"{key}_cells"]) for key, name in names.items() if result[key] is not None]
    lines = [f"ABX error {name}: {error:.2f} % ({cells} cells)" for name, error, cells in shown]
    kept = f"{result['items_compared']} of {result['items']} items compared, at most {result['items_per_group']} per group"
    return "\n".join([*lines, f"{kept}; {result['items_without_frame']} without a frame"])


def _number(kind: type, above: float) -> Callable:
    def parse(text: str):
        value = kind(text)
        if not (above < value and math.isfinite(value)):
            raise argparse.ArgumentTypeError(f"found {text}, expected a number above {above}")
        return value

    parse.__name__ = kind.__name__  # argparse names it in its own errors
    return parse
