"""python -m spin export: a model in the formats of others."""

from __future__ import annotations

import argparse
import sys

from spin.models.export import export_transformers
from spin.models.export_program import KINDS, export_program
from spin.models.importers import load_encoder
from spin.models.spin_model import load_model
from spin.runtime.devices import resolve_device

TRANSFORMERS = "transformers"


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m spin export", description=__doc__.split(": ", 1)[1], allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="a Spin model: our .safetensors, an official .ckpt, or an exported folder")
    source.add_argument("--encoder", help="an encoder alone, by name or path; only to a transformers folder")
    parser.add_argument("--base", help="for an official .ckpt: the checkpoint that it started from, where it is no public shape")
    kinds = "; ".join(f"{kind}: the unit extractor as a {suffix} file" for kind, suffix in KINDS.items())
    parser.add_argument(
        "--format", default=TRANSFORMERS, choices=(TRANSFORMERS, *KINDS), help=f"a transformers folder (the default); {kinds}"
    )
    parser.add_argument("--output", required=True, metavar="PATH", help="a folder for transformers, else a file")
    parser.add_argument(
        "--device", default="cpu", choices=("auto", "cpu", "cuda"), help="that the unit extractor will run on (default: cpu)"
    )
    arguments = parser.parse_args(argv)
    if arguments.encoder and arguments.format != TRANSFORMERS:
        parser.error(f"--format {arguments.format} needs --model: an encoder alone has no units")
    return arguments


def main(argv: list[str] | None = None) -> None:
    """Reads one model and writes it.

    Raises:
        SpinError: names the file and what is wrong with it.
    """
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    model = load_encoder(arguments.encoder) if arguments.encoder else load_model(arguments.model, arguments.base)
    if arguments.format == TRANSFORMERS:
        export_transformers(arguments.output, model)
    else:
        export_program(arguments.output, model.to(resolve_device(arguments.device)), arguments.format)
    print(f"{arguments.output}: {arguments.format}")
