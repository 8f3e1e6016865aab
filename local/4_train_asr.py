#!/usr/bin/env python3
"""Stage 4: a k2 CTC recogniser on the frozen features of each encoder; same recipe, same seeds."""

from __future__ import annotations

import sys

from spin.runtime.stages import run_stage

if __name__ == "__main__":
    run_stage(4, sys.argv[1:], "spin.asr.training_stage:train_asr", __doc__)
