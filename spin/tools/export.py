"""python -m spin export: models in the formats of other programs."""

from __future__ import annotations

import argparse
import sys

from spin.models.importers import load_encoder
from spin.models.model_files import MODEL_KEYS
from spin.objectives.model import load_model
from spin.runtime.devices import resolve_device
from spin.tools.export_folder import export_transformers
from spin.tools.export_program import SUFFIX, UnitProgram, export_program

TRANSFORMERS, PROGRAM = "transformers", "torch-export"


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command."""
    parser = argparse.ArgumentParser(prog="python -m spin export", description=__doc__.split(": ", 1)[1], allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", help="a Spin or R-Spin model, by path or published name")
    source.add_argument("--encoder", help="an encoder alone, by path or name; only to a transformers folder")
    parser.add_argument("--base", help="for an official .ckpt of an unusual shape: the checkpoint that its encoder started from")
    formats = f"a transformers folder (default), or the unit extractor as a {SUFFIX} file"
    parser.add_argument("--format", default=TRANSFORMERS, choices=(TRANSFORMERS, PROGRAM), help=formats)
    parser.add_argument("--output", required=True, metavar="PATH", help=f"a folder for transformers, a {SUFFIX} file otherwise")
    device = "device that the unit extractor will run on (default: cpu)"
    parser.add_argument("--device", default="cpu", choices=("auto", "cpu", "cuda"), help=device)
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
    if arguments.encoder:
        export_transformers(arguments.output, load_encoder(arguments.encoder))
    else:
        _export_model(arguments)
    print(f"{arguments.output}: {arguments.format}")


def _export_model(arguments: argparse.Namespace) -> None:
    model = load_model(arguments.model, arguments.base)
    if arguments.format == TRANSFORMERS:
        state = {key: value for key, value in model.objective.state_dict().items() if key in MODEL_KEYS}
        export_transformers(arguments.output, model.encoder, state, model.layer)
    else:
        program = UnitProgram(model.encoder, model.head, model.codebook, model.layer)
        export_program(arguments.output, program.to(resolve_device(arguments.device)))
