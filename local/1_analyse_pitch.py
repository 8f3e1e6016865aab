#!/usr/bin/env python3
"""Stage 1: pitch contour, pulses and each speaker's pitch range, analysed once for the speaker perturbation."""

from __future__ import annotations

import sys

from spin.runtime.stages import run_stage

if __name__ == "__main__":
    run_stage(1, sys.argv[1:], "spin.perturbation.stage:analyse_pitch", __doc__)
