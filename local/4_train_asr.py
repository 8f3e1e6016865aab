#!/usr/bin/env python3
"""Stage 4: k2 CTC recognisers on frozen features or units, the same recipe for every system.

1. Lang: tokens, words and lexicon, from the transcripts of asr_train and the LM text.
2. Recognisers: one per system, input (asr.inputs) and seed (asr.seeds), over --nj processes or all GPUs. Each keeps the
   checkpoint with the lowest character error rate on the valid parts.

Each step builds products (spin/products.py) and skips those that are up to date. Runs in the environment that has k2.
"""

import sys

from spin.runtime.product import Context
from spin.runtime.stage import run_stage
from spin.systems import systems_of


def train_asr(context: Context) -> None:
    """Builds the lang folder and the recognisers."""
    if not context.config.corpus.asr_train:
        context.log.info("no recogniser is trained (corpus.asr_train is empty): skipped")
        return
    from spin.asr.lang import prepare_lang
    from spin.asr.training import train_recognisers

    systems = systems_of(context.config, context.exp)
    lang = prepare_lang(context)
    train_recognisers(context, lang, systems)


if __name__ == "__main__":
    run_stage(4, sys.argv[1:], train_asr, __doc__)
