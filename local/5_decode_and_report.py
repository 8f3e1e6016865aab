#!/usr/bin/env python3
"""Stage 5: decoding without and with a language model, scoring, and the report."""

from __future__ import annotations

import sys

from spin.runtime.stages import run_stage

if __name__ == "__main__":
    run_stage(5, sys.argv[1:], "spin.report.stage:decode_and_report", __doc__)
