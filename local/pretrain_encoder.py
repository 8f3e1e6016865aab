#!/usr/bin/env python3
"""Pre-trains the tiny encoder by masked prediction of k-means units, on the parts that `pretrain` in the configuration names.

Needs stage 0 of the same configuration: ./run.sh --conf conf/pretrain_mini.yaml --stage 0 --stop-stage 0, then
python local/pretrain_encoder.py --conf conf/pretrain_mini.yaml. Goes on where an earlier run was cut off; --force begins anew.
"""

from __future__ import annotations

import sys

from spin import artifacts
from spin.runtime.failures import explain_threads, explained
from spin.runtime.locks import folder_lock, reading_lock
from spin.runtime.logs import get_logger, keep_log
from spin.runtime.options import canonical_command, configure, parse_arguments
from spin.runtime.signals import Stopped, stop_in_time, stopped_by
from spin.runtime.stages import Context


def main() -> None:
    arguments = parse_arguments(sys.argv[1:], __doc__)
    log = get_logger("pretrain")
    stop_in_time()
    explain_threads(log)
    try:
        config, exp, corpus = configure(arguments)
        context = Context(config, exp, corpus, exp / "tensorboard", arguments.force, log, canonical_command(arguments))
        from spin.training.pretrain_stage import pretrain  # torch only when the options are right

        with folder_lock(exp), reading_lock(corpus):
            keep_log(artifacts.log_folder(exp), "pretrain")
            pretrain(context)
    except Stopped:
        log.error("pre-training stopped; the same command goes on from here")
        raise
    except Exception as error:  # noqa: BLE001 - a defect is told from what has a remedy, and never hidden
        known = explained(error)
        if known is not None:
            log.error("pre-training failed\n%s", known)
        elif stopped_by() is None:
            log.error("pre-training failed by a defect; what is done is kept", exc_info=error)
        sys.exit(1 if stopped_by() is None else 128 + stopped_by())


if __name__ == "__main__":
    main()
