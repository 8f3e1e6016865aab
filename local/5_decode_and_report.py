#!/usr/bin/env python3
"""Stage 5: decoding without and with a language model, error rates with paired tests, and the report.

1. Graphs: the n-gram LM, the decoding graph of lexicon and LM, and a larger LM where a method rescores with one.
2. Decodings: every recogniser on every test part, clean and noisy, by every method of decoding.methods. The LM scale with the
   lowest word error rate on the valid parts is used on the test parts.
3. Scores: error rates over all seeds, and the gain of every system over the baseline.
4. Report: report.json, report.html, report.md. Without recognisers (corpus.asr_train is empty), pages of unit metrics alone.

Each step builds products (spin/products.py) and skips those that are up to date. Runs in the environment that has k2.
"""

import sys

from spin import products
from spin.runtime.product import Context
from spin.runtime.stage import run_stage
from spin.systems import systems_of


def decode_and_report(context: Context) -> None:
    """Builds graphs, decodings, scores and the report."""
    from spin.report.write_report import write_report

    if not context.config.corpus.asr_train:
        context.log.info("no recogniser is trained (corpus.asr_train is empty): the report compares units")
        write_report(context, None)
        return
    from spin.asr.decode import build_decodings
    from spin.asr.graphs import build_graphs
    from spin.asr.scores import build_scores

    systems = systems_of(context.config, context.exp)
    for system in systems:
        products.metrics(context, system).require()  # the report needs them; say so before hours of decoding
    build_graphs(context)
    decodings = build_decodings(context, systems)
    scores = build_scores(context, systems, decodings)
    write_report(context, scores)


if __name__ == "__main__":
    run_stage(5, sys.argv[1:], decode_and_report, __doc__)
