#!/usr/bin/env python3
"""Pre-trains the tiny encoder by masked prediction of k-means units, on the parts that `pretrain` in the configuration names.

Needs stage 0 of the same configuration: ./run.sh --conf conf/pretrain_mini.yaml --stage 0 --stop-stage 0, then
python local/pretrain_encoder.py --conf conf/pretrain_mini.yaml. Goes on where an earlier run was cut off.
"""

from __future__ import annotations

import sys

from spin.errors import SpinError
from spin.runtime.locks import folder_lock
from spin.runtime.logs import get_logger
from spin.runtime.stages import Context, canonical_command, configure, parse_arguments


def main() -> None:
    arguments = parse_arguments(sys.argv[1:], __doc__)
    log = get_logger("pretrain")
    try:
        config, exp, corpus = configure(arguments)
        context = Context(config, exp, corpus, exp / "tensorboard", arguments.force, log, canonical_command(arguments))
        from spin.training.pretrain_stage import pretrain  # torch only when the options are right

        with folder_lock(exp):
            pretrain(context)
    except SpinError as error:
        log.error("pre-training failed\n%s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        log.error("pre-training interrupted; the same command goes on from here")
        sys.exit(130)


if __name__ == "__main__":
    main()
