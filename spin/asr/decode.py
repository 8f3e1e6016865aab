"""All decodings of the recognisers: LM scales tuned on the valid parts, then every test part by every method."""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lhotse.cut import Cut

from spin import artifacts, products
from spin.asr.batches import Batch, BatchSampler, collate, frames_of, text_of
from spin.asr.decoders import DECODERS, Results, decode_in_pieces
from spin.asr.graph_search import GraphSearch
from spin.asr.graphs import GRAPH, HLG, graph_kinds
from spin.asr.inputs import INVENTORY_FILE, THREADS, UNITS, InputReader, Recogniser, UnitInventory
from spin.asr.lang import load_lang
from spin.asr.model import CtcModel, restore_model
from spin.asr.scoring import ErrorCounts, Hypothesis, count_words, write_decoding
from spin.asr.tokens import UNKNOWN_ID
from spin.config import DecodingConfig
from spin.errors import DataError
from spin.runtime.checkpoints import read_checkpoint
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import read_json, write_json
from spin.runtime.logs import get_logger
from spin.runtime.product import Context, Product
from spin.runtime.workers import run_jobs
from spin.systems import System

PER_GPU = 1  # decodings at a time on one GPU: lattices may fill it
SEARCH_SETTINGS = ("search_beam", "output_beam", "max_active_states")  # of decoding, read by every search of a graph
Tune = Callable[[Product, str, float], None]  # builds the product of a tuning, given the method and the LM scale of the search


class Scales(NamedTuple):
    """LM scales of the search and of the result; both 0 without an LM."""

    search: float
    final: float


def build_decodings(context: Context, systems: Sequence[System]) -> list[Product]:
    """Decodes the test parts with every recogniser and method, skips finished decodings, and returns the products of all."""
    asr = context.config.asr
    recognisers = [
        Recogniser(context, system, input_kind, seed) for seed in asr.seeds for input_kind in asr.inputs for system in systems
    ]
    due = [recogniser for recogniser in recognisers if not is_finished(recogniser)]
    context.log.info("%d of %d recognisers have decodings to do", len(due), len(recognisers))
    for _ in run_jobs(context.config, decode_recogniser, due, PER_GPU):
        pass
    shared_search.cache_clear()
    return [product for recogniser in recognisers for *_, product in decodings_of(recogniser)]


def is_finished(recogniser: Recogniser) -> bool:
    """Whether every decoding of a recogniser is up to date; raises DataError when it or an input is missing or stale."""
    context = recogniser.context
    recogniser.product.require()
    for part in products.test_parts(context.config):
        products.recogniser_input(context, recogniser.system, recogniser.input_kind, part).require()
    return all(product is not None and product.stale_reason(forced=True) is None for *_, product in decodings_of(recogniser))


def decode_recogniser(recogniser: Recogniser) -> None:
    """Builds every decoding of a recogniser that is missing or stale."""
    prepare_cpu(THREADS)
    decoding = Decoding(recogniser)
    for part, method, scales, product in decodings_of(recogniser, decoding.tune):
        if product.needs_build():
            decoding.build(product, part, method, scales)


def decodings_of(recogniser: Recogniser, tune: Tune | None = None) -> Iterator[tuple[str, str, Scales | None, Product | None]]:
    """(part, method, LM scales, product) of each decoding; without `tune`, scales and product are None where tuning is due."""
    config = recogniser.context.config
    for method in config.decoding.methods:
        scales = find_scales(recogniser, method, tune)
        for part in products.test_parts(config):
            product = None
            if scales is not None:
                values = {"search_lm_scale": scales.search, "lm_scale": scales.final}
                product = products.decoding(*recogniser.identity, part, method, *_read_by(recogniser, method, values))
            yield part, method, scales, product


def find_scales(recogniser: Recogniser, method: str, tune: Tune | None = None) -> Scales | None:
    """The tuned LM scales of a method. Where its tuning, or that of its first pass, is due, `tune` does it; without `tune`: None.

    While the scale of a search is tuned, the search prunes by the mean of all scales.
    """
    decoder, scales = DECODERS[method], sorted(recogniser.context.config.decoding.lm_scales)
    if not decoder.graphs:
        return Scales(0.0, 0.0)
    first = find_scales(recogniser, decoder.first_pass, tune) if decoder.first_pass else None
    if decoder.first_pass and first is None:
        return None
    final = scales[0]
    if len(scales) > 1:
        search = first.final if first else sum(scales) / len(scales)
        read = _read_by(recogniser, method, {"search_lm_scale": search, "decoding.lm_scales": scales})
        product = products.tuning(*recogniser.identity, method, *read)
        if product.stale_reason(forced=True) is not None:
            if tune is None:
                return None
            tune(product, method, search)
        final = best_scale(read_json(product.path)["wer"])
    return Scales(first.final if first else final, final)


def best_scale(rates: dict[str, float]) -> float:
    """The scale with the lowest rate, the smallest of equals.

    >>> best_scale({"1.0": 14.2, "0.5": 14.2, "2.0": 15.0})
    0.5
    """
    return min((float(scale) for scale in rates), key=lambda scale: (rates[str(scale)], scale))


def _read_by(recogniser: Recogniser, method: str, values: dict) -> tuple[dict, list[Product]]:
    """The configuration values that a method reads, and the graphs that it searches."""
    context, kinds = recogniser.context, DECODERS[method].graphs
    settings = {f"decoding.{name}": getattr(context.config.decoding, name) for name in SEARCH_SETTINGS} if kinds else {}
    return {**settings, **values}, [products.graph(context, kind) for kind in kinds]


class Decoding:
    """One recogniser with its graphs; model and graphs are loaded when first needed."""

    def __init__(self, recogniser: Recogniser):
        self.recogniser, context = recogniser, recogniser.context
        self.config, self.log = context.config.decoding, get_logger("asr.decoding")
        self.device = resolve_device(context.config.runtime.device)
        graphs = tuple((kind, products.graph(context, kind).path / GRAPH) for kind in graph_kinds(self.config))
        lang = dict(graphs)[HLG].parent if graphs else artifacts.lang_folder(context.exp)
        self.search = shared_search(lang, graphs, self.config, self.device)
        units = recogniser.input_kind == UNITS
        self.reader = InputReader(UnitInventory(**read_json(recogniser.product.path / INVENTORY_FILE)) if units else None)

    @functools.cached_property
    def model(self) -> CtcModel:
        """The best checkpoint."""
        path = artifacts.asr_model_in(self.recogniser.product.path)
        _, state = read_checkpoint(path)
        config = self.recogniser.context.config.asr
        return restore_model(config, state["model"], self.search.lang.vocabulary_size, str(path)).to(self.device)

    def tune(self, product: Product, method: str, search_scale: float) -> None:
        """Measures the WER of each LM scale on the valid parts."""
        scales, parts = sorted(self.config.lm_scales), self.recogniser.context.config.corpus.valid
        if product.needs_build():
            with product.building() as path:
                self.left_out(parts)  # logs it
                counts = dict.fromkeys(scales, ErrorCounts())
                for batch, results in self.recognise(method, parts, search_scale, scales):
                    for scale in scales:
                        for reference, text in zip(batch.texts, results[scale].texts):
                            counts[scale] += count_words(reference, text or "")
                write_json(path, {"wer": {str(scale): counts[scale].rate for scale in scales}})
            shown = ", ".join(f"{scale:g}: {counts[scale].rate:.2f} %" for scale in scales)
            self.log.info("%s, %s: valid WER by LM scale %s", self.recogniser.name, method, shown)

    def build(self, product: Product, part: str, method: str, scales: Scales) -> None:
        """Decodes one part by one method and writes its files; raises DataError where no utterance has a transcript."""
        with product.building() as folder:
            without_frames, facts = self.left_out((part,))
            texts: list[tuple[Cut, str | None]] = [(cut, "") for cut in without_frames]
            not_rescored = 0
            for batch, results in self.recognise(method, (part,), scales.search, [scales.final]):
                texts += zip(batch.cuts, results[scales.final].texts)
                not_rescored += results[scales.final].not_rescored
            if not texts:
                remedy = "--set corpus.test=[<parts with transcripts>]"
                raise DataError(f"part {part}", found="no utterance", expected="at least one", remedy=remedy)
            summary = self.write(folder, method, scales, facts, texts, not_rescored)
        self.log.info(
            "%s, %s, %s: %s %.2f %%, CER %.2f %%, %d empty lattice(s)",
            self.recogniser.name, part, method, "PER" if "per" in summary else "WER", summary["wer"], summary["cer"],
            summary["empty_lattices"],
        )  # fmt: skip

    def write(self, folder: Path, method: str, scales: Scales, facts: dict, texts: list, not_rescored: int) -> dict:
        """Writes the files of a decoding, and returns the summary; `texts` are pairs of cut and text."""
        decoder, lang = DECODERS[method], self.search.lang
        in_phones = lang.tokens.kind == "phone" and not decoder.graphs
        facts = {
            **({"search_lm_scale": scales.search} if decoder.first_pass else {}),
            **({"lm_scale": scales.final} if decoder.graphs else {}),
            **facts,
            "empty_lattices": sum(text is None for _, text in texts),
            **({"not_rescored": not_rescored} if decoder.first_pass else {}),
        }
        if in_phones:
            facts["words_without_pronunciation"] = sum(lang.tokens.encode(text_of(cut)).count(UNKNOWN_ID) for cut, _ in texts)
        hypotheses = []
        for cut, text in texts:
            reference = lang.reference(text_of(cut)) if in_phones else text_of(cut)
            hypotheses.append(Hypothesis(cut.id, cut.supervisions[0].speaker or "", reference, text or ""))
        return write_decoding(folder, hypotheses, facts, "phones" if in_phones else "words")

    def recognise(
        self, method: str, parts: Iterable[str], search_scale: float, scales: Sequence[float]
    ) -> Iterator[tuple[Batch, Results]]:
        """The batches of some parts with their results."""
        work = functools.partial(DECODERS[method].function, self.search, search_scale=search_scale, scales=scales)
        for batch, log_probs in self.outputs(parts):
            yield batch, decode_in_pieces(work, batch.ids, log_probs, batch.lengths)

    @torch.no_grad()
    def outputs(self, parts: Iterable[str]) -> Iterator[tuple[Batch, torch.Tensor]]:
        """Batches of the parts with log-probabilities (B, T, V), in a fixed order."""
        usable = self.recogniser.cuts(parts).filter(self.is_decodable)
        for cuts in BatchSampler(usable, self.config.batch_seconds).batches():
            batch = collate(cuts, self.reader.read)
            yield batch, self.model(batch.inputs.to(self.device), batch.lengths)

    def is_decodable(self, cut: Cut) -> bool:
        return bool(text_of(cut)) and frames_of(cut, self.reader.field) > 0

    @functools.cache  # noqa: B019 - a Decoding lives as long as its process works on it
    def left_out(self, parts: tuple[str, ...]) -> tuple[list[Cut], dict[str, int]]:
        """Utterances with a transcript but no frame, all of whose words are deleted; counts of what is not decoded. Logs them."""
        without_text, without_frames = 0, []
        for cut in self.recogniser.cuts(parts):
            if not text_of(cut):
                without_text += 1
            elif not self.is_decodable(cut):
                without_frames.append(cut)
        counts = {"without_text": without_text, "without_frames": len(without_frames)}
        if any(counts.values()):
            message = "%s, %s: %d utterance(s) without a transcript are left out, %d without a frame count as deletions"
            self.log.warning(message, self.recogniser.name, ", ".join(parts), *counts.values())
        return without_frames, {name: count for name, count in counts.items() if count}


@functools.lru_cache(maxsize=1)
def shared_search(lang: Path, graphs: tuple[tuple[str, Path], ...], config: DecodingConfig, device: torch.device) -> GraphSearch:
    """The graphs that this process searched last, if they are the same. One user at a time: a search sets the graph's scores."""
    return GraphSearch(load_lang(lang), dict(graphs), config, device)
