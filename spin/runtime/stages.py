"""How every stage starts and ends: options, configuration, lock, the done mark, the reason for doing it again, the summary line.

A stage is skipped while its done mark fits (spin/runtime/upkeep.py), else done again, and the log says why. Nothing here imports
torch, so that skipping takes a fraction of a second.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import logging
import os
import secrets
import signal
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from spin import artifacts
from spin.config import Config
from spin.errors import ConfigError, DataError
from spin.runtime.aside import Aside
from spin.runtime.failures import explain_threads, explained
from spin.runtime.files import sweep, write_json, write_text
from spin.runtime.locks import folder_lock, reading_lock
from spin.runtime.logs import get_logger, keep_log
from spin.runtime.options import canonical_command, configure, parse_arguments
from spin.runtime.provenance import commit
from spin.runtime.settings import dump_config
from spin.runtime.signals import Stopped, stop_in_time, stopped_by
from spin.runtime.upkeep import check_before, difference, kept_products, made_from, mark_folder, read_mark, why_again

TRAINING_STAGE = 2  # the one that may run on many ranks


@dataclass(frozen=True)
class Context:
    """What a stage's work is given."""

    config: Config
    exp: Path
    corpus: Path
    tensorboard: Path
    force: bool
    log: logging.Logger
    command: str  # makes the whole report again; the same whatever the folder, the number of jobs and the stages asked for
    aside: Aside | None = None  # what an earlier run of the stage made

    def begin(self) -> None:
        """To be called by a stage's work when it has looked at its input and makes its first product of worth.

        Until then what an earlier run made is only set aside: should the work fail, it is put back.
        """
        if self.aside is not None:
            self.aside.begin()


def run_stage(stage: int, argv: list[str], work: str, description: str) -> None:
    """Runs, resumes or skips a stage; ends the process with status 1 and a message on a SpinError.

    Args:
        stage: its number.
        argv: the command line without the program's name.
        work: 'module:function', imported only when there is something to do; it is given a Context.
        description: for --help.
    """
    arguments = parse_arguments(argv, description)
    log = get_logger(f"stage{stage}")
    stop_in_time()
    explain_threads(log)
    try:
        config, exp, corpus = configure(arguments)
        command = canonical_command(arguments)
        if stage == TRAINING_STAGE and torchrun_rank() > 0:  # rank 0 alone keeps the books
            context = Context(config, exp, corpus, artifacts.tensorboard(exp, stage), arguments.force, log, command)
            if arguments.force or why_again(stage, config, exp, corpus) is not None:
                _load(work)(context)
            return
        _run_alone(stage, Context(config, exp, corpus, artifacts.tensorboard(exp, stage), arguments.force, log, command), work)
    except Stopped as stopped:
        _stop(stage, log, stopped.number)
    except Exception as error:  # noqa: BLE001 - told from a defect there, and never hidden
        if stopped_by() is not None:
            _stop(stage, log, stopped_by())
        _fail(stage, log, error)


def _stop(stage: int, log: logging.Logger, number: int) -> NoReturn:
    """Ends the process as one that was ended by a signal."""
    name = signal.Signals(number).name
    log.error("stage %d (%s) stopped by %s; the same command goes on from here", stage, artifacts.STAGES[stage], name)
    raise Stopped(number) from None


def _fail(stage: int, log: logging.Logger, error: Exception) -> NoReturn:
    """Ends the process with status 1: with an error that has a remedy, or else with the traceback of a defect."""
    name, known = artifacts.STAGES[stage], explained(error)
    if known is not None:
        log.error("stage %d (%s) failed\n%s", stage, name, known)
    else:
        what = f"{type(error).__name__}: {error}"
        log.error("stage %d (%s) failed by a defect; what is done is kept\n  found: %s", stage, name, what, exc_info=error)
    sys.exit(1)


def _run_alone(stage: int, context: Context, work: str) -> None:
    folder = mark_folder(stage, context.exp, context.corpus)
    check_before(stage, context.config, context.exp, context.corpus)
    if _reason(stage, context, folder) is None:
        return
    with contextlib.ExitStack() as locks:
        locks.enter_context(folder_lock(folder))
        # The configuration, the logs and the curves of stages 0 and 1 lie in the experiment's folder too.
        locks.enter_context(folder_lock(context.exp) if folder == context.corpus else reading_lock(context.corpus))
        check_before(stage, context.config, context.exp, context.corpus)  # again: nobody can change it from here on
        aside = Aside(folder, stage, context.tensorboard)
        _refuse_foreign(context, aside)
        aside.sweep()
        if aside.holds and not _started_so(stage, context, folder):
            context.log.info("an earlier run of this stage failed before it began: what was there is put back")
            aside.give_back()
        reason = _reason(stage, context, folder)
        if reason is not None:
            _do(stage, replace(context, aside=aside), work, reason)


def _reason(stage: int, context: Context, folder: Path) -> str | None:
    """Why the stage is to be done; None, and a line in the log, where it is done."""
    reason = "--force" if context.force else why_again(stage, context.config, context.exp, context.corpus)
    if reason is None:
        mark = read_mark(artifacts.done_mark(folder, stage))
        values = (stage, artifacts.STAGES[stage], mark.get("finished"), mark.get("seconds", 0.0))
        context.log.info("stage %d (%s) is done (%s, %.1f s): skipped; --force does it again", *values)
    return reason


def _do(stage: int, context: Context, work: str, reason: str) -> None:
    """The work with its books, under the locks; where it fails before it begins, what was there before stays."""
    begun, name, folder = time.monotonic(), f"stage {stage} ({artifacts.STAGES[stage]})", context.aside.folder
    settings = artifacts.config_file(context.exp)
    before = settings.read_bytes() if settings.exists() else None
    keep_log(artifacts.log_folder(context.exp), f"stage{stage}")
    write_text(settings, dump_config(context.config))
    context.log.info("%s starts: %s", name, reason)
    _prepare(stage, context, folder)
    try:
        _load(work)(context)
    except Exception:
        if context.aside.holds and stopped_by() is None:
            context.aside.give_back()
            if before is not None:
                write_text(settings, before.decode("utf-8", "surrogateescape"))
            context.log.warning("%s failed before it began: what was there before is put back", name)
        raise
    context.begin()  # a stage that has made nothing anew
    seconds = round(time.monotonic() - begun, 1)
    _finish(stage, context, folder, seconds)
    context.log.info("%s done in %.1f s; TensorBoard log: %s", name, seconds, context.tensorboard)


def torchrun_rank() -> int:
    """This process's rank among those that torchrun started; 0 without it, whatever else has left a RANK in the environment."""
    rank = os.environ.get("RANK", "")
    return int(rank) if "TORCHELASTIC_RUN_ID" in os.environ and rank.isdigit() else 0


def _refuse_foreign(context: Context, aside: Aside) -> None:
    """A first start must not take the files of somebody else for its own.

    Raises:
        ConfigError: the corpus folder is that of the recordings.
        DataError: there are files of these names, and no sign that a run of this project made them.
    """
    settings = context.config.corpus
    if settings.corpus_dir and context.corpus.resolve() == Path(settings.corpus_dir).resolve():
        raise ConfigError(
            "corpus.data_dir and corpus.name",
            found=f"{context.corpus}, which is the folder of the recordings",
            expected="another folder for what the recipe makes of them",
            remedy="--set corpus.name=<another>, or another corpus.data_dir",
        )
    found = []
    if not artifacts.done_mark(aside.folder, aside.stage).parent.exists() and not aside.holds:
        found += aside.products()
    if not artifacts.log_folder(context.exp).exists() and artifacts.config_file(context.exp).exists():
        found.append(artifacts.config_file(context.exp))
    if found:
        raise DataError(
            f"folder {found[0].parent}",
            found=f"{found[0].name}" + (f" and {len(found) - 1} more" if len(found) > 1 else "") + ", not made by this recipe",
            expected="an empty folder, or one that it made",
            cause="a folder given that belongs to something else, or one that lost its .done",
            remedy="another --exp-dir, corpus.data_dir or corpus.name; or move the files away",
        )


def _started_so(stage: int, context: Context, folder: Path) -> bool:
    """Whether a run of this very work has started here and was cut off."""
    started = artifacts.started_mark(folder, stage)
    if not started.exists():
        return False
    return difference(read_mark(started)["made_from"], made_from(stage, context.config, context.exp, context.corpus)) is None


def _load(work: str):
    module, function = work.split(":")
    return getattr(importlib.import_module(module), function)


def _prepare(stage: int, context: Context, folder: Path) -> None:
    """Sets aside what another run left, or keeps what a killed run of the same work left."""
    sweep(folder)
    if not context.force and _started_so(stage, context, folder):
        context.log.info("an earlier run of this stage was cut off: going on from what it left")
        return
    if context.aside.holds:  # --force on a run that had not begun
        context.aside.give_back()
    if context.aside.marks() or context.aside.products():
        context.aside.take()
    now = made_from(stage, context.config, context.exp, context.corpus)
    write_json(artifacts.started_mark(folder, stage), {"stage": stage, "made_from": now})


def _finish(stage: int, context: Context, folder: Path, seconds: float) -> None:
    started = artifacts.started_mark(folder, stage)  # what was true at the start: a file may have changed meanwhile
    write_json(
        artifacts.done_mark(folder, stage),
        {
            "stage": stage,
            "run": secrets.token_hex(8),
            "made_from": read_mark(started)["made_from"],
            "products": kept_products(stage, folder),
            "seconds": seconds,
            "finished": datetime.datetime.now().isoformat(timespec="seconds"),
            "commit": commit(),
            "tensorboard": str(context.tensorboard),
            "device": _device(context.config),
        },
    )
    started.unlink(missing_ok=True)


def _device(config: Config) -> str:
    """What the stage computed on; a stage that did not load torch used the CPU."""
    if "torch" not in sys.modules:
        return "cpu"
    from spin.runtime.devices import device_name, resolve_device

    return device_name(resolve_device(config.runtime.device))
