#!/usr/bin/env python3
"""Stage 2: Spin fine-tuning of the encoder on pairs of original and speaker-perturbed speech, drawn on the fly."""

from __future__ import annotations

import sys

from spin.runtime.stages import run_stage

if __name__ == "__main__":
    run_stage(2, sys.argv[1:], "spin.training.spin_stage:train_spin", __doc__)
