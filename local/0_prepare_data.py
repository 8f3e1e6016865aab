#!/usr/bin/env python3
"""Stage 0: checked manifests of every part with phone alignments, noisy copies of test parts, LM text and lexicon."""

import sys

from spin import products
from spin.runtime.product import Context
from spin.runtime.stage import run_stage


def prepare_data(context: Context) -> None:
    """Builds manifests, LM text and lexicon, as far as they are missing or stale."""
    from spin.corpus import parts, prepare  # imported inside: a stop during the import ends quietly, as any other

    config = context.config
    noisy = products.noisy_parts(config)
    clean = [part for part in products.all_parts(config) if part not in noisy]
    corpus = prepare.open_checked(context, clean)
    changed, speakers = parts.prepare_parts(context, corpus, clean)
    for part, (original, kind, snr) in noisy.items():
        prepare.add_noise(context, part, original, kind, snr)
    if config.corpus.asr_train:
        prepare.prepare_words(context, corpus)
    if changed or not any(context.tensorboard.glob("events*")):  # none: an interrupted run made the manifests and no more
        prepare.show_parts(context, speakers)


if __name__ == "__main__":
    run_stage(0, sys.argv[1:], prepare_data, __doc__)
