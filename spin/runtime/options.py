"""The command line of a stage, and the command that a report names."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from spin import artifacts
from spin.config import Config
from spin.runtime.settings import load_config


def parse_arguments(argv: list[str], description: str) -> argparse.Namespace:
    """The options that all stage scripts share."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--conf", required=True, help="YAML file, see egs/librispeech/conf")
    parser.add_argument("--exp-dir", help="default: exp/<name of the configuration>")
    parser.add_argument("--corpus-dir", help="the folder that holds LibriSpeech's parts")
    parser.add_argument("--nj", type=int, help="number of processes")
    parser.add_argument("--gpus", type=int, help="number of GPUs")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", dest="overrides")
    parser.add_argument("--force", action="store_true", help="do the stage again although it is done")
    return parser.parse_args(argv)


def configure(arguments: argparse.Namespace) -> tuple[Config, Path, Path]:
    """(configuration, experiment folder, corpus folder) from parsed options; the options win over the file."""
    overrides = list(arguments.overrides)
    options = (("corpus.corpus_dir", "corpus_dir"), ("runtime.nj", "nj"), ("runtime.gpus", "gpus"), ("runtime.device", "device"))
    for key, option in options:
        value = getattr(arguments, option)
        if value is not None:
            overrides.append(f"{key}={_quoted(value)}")
    config = load_config(arguments.conf, overrides)
    exp = Path(arguments.exp_dir).expanduser() if arguments.exp_dir else Path("exp") / config.name
    return config, exp, artifacts.corpus_folder(config.corpus.data_dir, config.corpus.name)


def _quoted(value) -> str:
    # A path may hold characters that mean something in YAML; a single-quoted scalar takes them as they are.
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)


def canonical_command(arguments: argparse.Namespace) -> str:
    """The command that makes the whole report; what changes no result (folders of products, jobs, devices) is left out."""
    words = ["./run.sh", "--conf", arguments.conf]
    if arguments.corpus_dir:
        words += ["--corpus-dir", arguments.corpus_dir]
    hidden = ("corpus.data_dir=", "runtime.")
    for override in arguments.overrides:
        words += [] if override.startswith(hidden) else ["--set", override]
    return " ".join(shlex.quote(word) for word in [*words, "--stage", "0", "--stop-stage", str(artifacts.LAST_STAGE)])
