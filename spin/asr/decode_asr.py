"""The decodings of stage 5: graphs, then every recogniser on every test part by every method, then the scores."""

import itertools
from collections.abc import Sequence

from spin import artifacts, products
from spin.asr.decode import decode_recogniser, decodings_of, is_finished, shared_resources
from spin.asr.decoders import DECODERS
from spin.asr.graphs import HLG, G, prepare_graph
from spin.asr.jobs import Recogniser
from spin.asr.scores import compute_scores
from spin.runtime.files import read_json, write_json
from spin.runtime.logs import summary_writer
from spin.runtime.product import Context, Product
from spin.runtime.workers import run_jobs
from spin.systems import System

TEXTS_SHOWN = 5
LINES_PER_TEXT = 4  # of alignments.txt
PER_GPU = 1  # decodings at a time on one GPU: lattices may fill it


def build_graphs(context: Context) -> None:
    """Builds what the methods search: HLG, and G of the larger LM for rescoring.

    Raises:
        DataError: no LM text, or an ARPA file that cannot be read.
    """
    kinds = {kind for method in context.config.decoding.methods for kind in DECODERS[method].graphs}
    for kind in (HLG, G):
        if kind in kinds:
            prepare_graph(context, kind)


def build_decodings(context: Context, systems: Sequence[System]) -> list[Product]:
    """Decodes the test parts with every recogniser and method, skips finished decodings, and returns the products of all.

    Raises:
        DataError: a recogniser, features or units are missing or stale.
    """
    asr = context.config.asr
    recognisers = [
        Recogniser(context, system, input_kind, seed) for seed in asr.seeds for input_kind in asr.inputs for system in systems
    ]
    due = [recogniser for recogniser in recognisers if not is_finished(recogniser)]
    context.log.info("%d of %d recognisers have decodings to do", len(due), len(recognisers))
    for _ in run_jobs(context.config, decode_recogniser, due, PER_GPU):
        pass
    shared_resources.cache_clear()
    return [product for recogniser in recognisers for product in decodings_of(recogniser)]


def build_scores(context: Context, systems: Sequence[System], decodings: Sequence[Product]) -> Product:
    """Scores all decodings, and shows them in TensorBoard."""
    product = products.scores(context, decodings)
    if product.needs_build():
        with product.building() as path:
            write_json(path, compute_scores(context.exp, context.config, [system.name for system in systems]))
        for system in systems:
            show_decodings(context, system.name)
    return product


def show_decodings(context: Context, system: str) -> None:
    """TensorBoard: WER and CER of every decoding of a system (the step is the seed), and some aligned texts."""
    asr, decoding = context.config.asr, context.config.decoding
    writer = summary_writer(context.tensorboard / system)
    every = itertools.product(asr.inputs, asr.seeds, products.test_parts(context.config), decoding.methods)
    for input_kind, seed, part, method in every:
        folder = artifacts.decoding_folder(context.exp, system, input_kind, seed, part, method)
        summary, name = read_json(artifacts.decode_summary(folder)), f"{input_kind}/{part}/{method}"
        for rate in ("wer", "cer"):
            writer.add_scalar(f"{rate}/{name}", summary[rate], seed)
        lines = artifacts.word_alignments(folder).read_text(encoding="utf-8").split("\n")
        shown = "\n".join(lines[: LINES_PER_TEXT * TEXTS_SHOWN])
        writer.add_text(name, f"```\n{shown}\n```", seed)
    writer.close()
