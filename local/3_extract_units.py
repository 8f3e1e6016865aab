#!/usr/bin/env python3
"""Stage 3: units and features of every part before (k-means) and after Spin, and the quality of the units."""

from __future__ import annotations

import sys

from spin.runtime.stages import run_stage

if __name__ == "__main__":
    run_stage(3, sys.argv[1:], "spin.units.stage:extract_units", __doc__)
