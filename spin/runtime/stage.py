"""Start and end of a stage: options, configuration, locks, log, exit status. Imports no torch: a finished stage ends at once."""

import argparse
import contextlib
import errno
import os
import re
import secrets
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from spin import artifacts
from spin.config import Config
from spin.config_io import dump_config, load_config
from spin.errors import ConfigError, SpinError, is_out_of_memory
from spin.runtime.files import sweep, write_text
from spin.runtime.logs import get_logger, keep_log
from spin.runtime.process import exit_on_signals, folder_lock, rank
from spin.runtime.product import CONFIG_HEADER, FIRST_EXPERIMENT_STAGE, Context, claim_folder

SYSTEM_ERRORS = {
    errno.ENOSPC: "free disk space, then rerun the same command",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), then rerun the same command",
    errno.EDQUOT: "raise the disk quota, then rerun the same command",
    errno.EACCES: "check the permissions, or choose another --exp-dir or corpus.data_dir",
    errno.ENOTDIR: "choose a folder that is not a file: another --exp-dir or corpus.data_dir",
    errno.EROFS: "choose another --exp-dir or corpus.data_dir on a writable disk",
    errno.EMFILE: "raise the limit of open files (ulimit -n 4096), then rerun the same command",
}


def parse_arguments(argv: list[str], description: str) -> argparse.Namespace:
    """The options that run.sh and all stage scripts share."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False, formatter_class=layout)
    add = parser.add_argument
    add("--conf", required=True, help="YAML file, see egs/librispeech/conf")
    add("--corpus-dir", help="folder that holds LibriSpeech's parts (train-clean-100/ and the like)")
    add("--exp-dir", help="folder for results (default: exp/<name in the configuration>)")
    add("--nj", type=int, help="number of processes (default: the available cores)")
    add("--gpus", type=int, help="number of GPUs per machine (default: 1)")
    add("--device", choices=("auto", "cpu", "cuda"), help="where to compute (default: auto)")
    add("--set", action="append", default=[], dest="overrides", metavar="SECTION.KEY=VALUE", help="override one key; repeatable")
    add("--force", action="store_true", help="rebuild what the stage owns, even if it is up to date")
    return parser.parse_args(argv)


def configure(arguments: argparse.Namespace) -> tuple[Config, Path, Path]:
    """(configuration, experiment folder, corpus folder) from parsed options, which override the file."""
    overrides = list(arguments.overrides)
    if arguments.corpus_dir is not None:
        # A path may hold characters that mean something in YAML; a single-quoted scalar takes them as they are.
        overrides.append("corpus.corpus_dir='{}'".format(arguments.corpus_dir.replace("'", "''")))
    for key in ("nj", "gpus", "device"):
        if (value := getattr(arguments, key)) is not None:
            overrides.append(f"runtime.{key}={value}")
    config = load_config(arguments.conf, overrides)
    exp = Path(arguments.exp_dir).expanduser() if arguments.exp_dir else Path("exp") / config.name
    corpus = artifacts.corpus_folder(config.corpus.data_dir, config.corpus.name)
    if config.corpus.corpus_dir and corpus.resolve() == Path(config.corpus.corpus_dir).resolve():
        raise ConfigError(
            "corpus.data_dir and corpus.name",
            found=f"{corpus}, the folder of the recordings",
            expected="another folder for the manifests",
            remedy="--set corpus.name=<another name>",
        )
    return config, exp, corpus


def canonical_command(arguments: argparse.Namespace) -> str:
    """The command that rebuilds the whole report, without what changes no result (folders, jobs, devices)."""
    words = ["./run.sh", "--conf", arguments.conf]
    words += ["--corpus-dir", arguments.corpus_dir] if arguments.corpus_dir else []
    for override in arguments.overrides:
        words += [] if override.startswith(("corpus.data_dir=", "runtime.")) else ["--set", override]
    return " ".join(shlex.quote(word) for word in [*words, "--stage", "0", "--stop-stage", str(max(artifacts.STAGES))])


def run_stage(stage: int, argv: list[str], work: Callable[[Context], None], description: str) -> None:
    """Runs a stage, whose `work` builds the products that are missing or stale.

    Ends the process with status 1: with a remedy on an expected error, with a traceback on a bug.
    """
    arguments, config = parse_arguments(argv, description), None
    log = get_logger(f"stage{stage}")
    exit_on_signals()
    threading.excepthook = lambda failure: log.warning("a background thread failed: %s", failure.exc_value)
    name = f"stage {stage} ({artifacts.STAGES[stage]})"
    try:
        config, exp, corpus = configure(arguments)
        force_file = (corpus if stage < FIRST_EXPERIMENT_STAGE else exp) / f".force_stage{stage}"
        force = _force(arguments.force, force_file)
        context = Context(config, exp, corpus, stage, log, canonical_command(arguments), force)
        if rank() > 0:  # rank 0 keeps the records
            work(context)
            return
        _run(context, work, name, force_file)
    except SystemExit as stop:
        if stop.code in (128 + signal.SIGTERM, 128 + signal.SIGINT):
            # A new --force would rebuild the stages before this one again; a requeued Slurm job keeps its number, and need not.
            hint = " without --force" if arguments.force and "SLURM_JOB_ID" not in os.environ else ""
            log.error("%s stopped by %s; rerun the same command%s to resume", name, signal.Signals(stop.code - 128).name, hint)
        raise
    except Exception as error:  # noqa: BLE001 - a bug is reported as one
        known, found = explain(error, stage, config), f"{type(error).__name__}: {error}"
        if known is not None:
            log.error("%s failed\n%s", name, known)
        else:
            log.error("%s crashed: this is a bug; finished work is kept\n  found: %s", name, found, exc_info=error)
        sys.exit(1)


def _run(context: Context, work: Callable[[Context], None], name: str, force_file: Path) -> None:
    owned = (context.exp, context.corpus) if context.stage < FIRST_EXPERIMENT_STAGE else (context.exp,)
    with contextlib.ExitStack() as locks:
        for folder in owned:
            claim_folder(folder)
            locks.enter_context(folder_lock(folder))
            sweep(folder)
        if context.corpus not in owned:
            locks.enter_context(folder_lock(context.corpus, shared=True))
        keep_log(artifacts.log_folder(context.exp), f"stage{context.stage}")
        begun = time.monotonic()
        work(context)
        write_text(artifacts.config_file(context.exp), CONFIG_HEADER + dump_config(context.config))
        force_file.unlink(missing_ok=True)
        context.log.info("%s done in %.1f s; TensorBoard: %s", name, time.monotonic() - begun, context.tensorboard)


def _force(asked: bool, path: Path) -> str | None:
    """The identity of the rebuild that --force asked for, kept in a file until the stage ends, so that it can resume.

    A requeued Slurm job keeps its number, so what it rebuilt before is not rebuilt again.
    """
    if path.exists():
        return path.read_text(encoding="utf-8").strip() or None
    if not asked:
        return None
    job = os.environ.get("SLURM_JOB_ID")
    identity = f"slurm-{job}" if job else secrets.token_hex(8)
    if rank() == 0:
        claim_folder(path.parent)
        write_text(path, identity + "\n")
    return identity


def explain(error: BaseException, stage: int, config: Config | None) -> SpinError | None:
    """An error that a user can act on, with its remedy; None for a bug. `config` is None where it could not be read."""
    if isinstance(error, SpinError):
        return error
    config, text = config or Config(), " ".join(str(error).split())[:300]
    system = re.search(r"\(os error (\d+)\)", text)  # safetensors reports the system's errors as text
    number = int(system[1]) if system else getattr(error, "errno", None)
    if number in SYSTEM_ERRORS:
        return SpinError(getattr(error, "filename", None) or "a file", found=os.strerror(number), remedy=SYSTEM_ERRORS[number])
    if "CUDA out of memory" in text:
        cause = "batches that are too large for this GPU, or another process on it (nvidia-smi shows it)"
        return SpinError("GPU memory", found=text, cause=cause, remedy=_smaller_batches(stage, config))
    if is_out_of_memory(error):
        remedy = f"rerun the same command with --nj {max(1, config.runtime.nj // 2)}"
        return SpinError("memory of this machine", found=text or "out of memory", remedy=remedy)
    if "DataLoader worker" in text or "Bus error" in text or "unable to open shared memory object" in text:
        cause = "a full /dev/shm (64 MB in Docker by default), or a killed worker"
        remedy = "start the container with --shm-size=8g or --ipc=host, or rerun with --set spin.workers=0"
        return SpinError("data loader", found=text, cause=cause, remedy=remedy)
    return None


def _smaller_batches(stage: int, config: Config) -> str:
    """The setting that halves the batches of a stage on the GPU."""
    if stage == 2:
        half = f"--set pretrain.batch_seconds={config.pretrain.batch_seconds / 2:g}"
        return f"--set spin.accumulation={2 * config.spin.accumulation} (training resumes); in pre-training {half}"
    section = {3: "units", 4: "asr", 5: "decoding"}.get(stage)
    return f"--set {section}.batch_seconds={getattr(config, section).batch_seconds / 2:g}" if section else "--device cpu"
