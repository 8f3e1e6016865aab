#!/usr/bin/env python3
"""Stage 0: manifests of the corpus (generated, or LibriSpeech), phone alignments, lexicon and text for the language model."""

from __future__ import annotations

import sys

from spin.runtime.stages import run_stage

if __name__ == "__main__":
    run_stage(0, sys.argv[1:], "spin.corpus.prepare:prepare_data", __doc__)
