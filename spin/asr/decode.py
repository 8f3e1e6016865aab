"""All decodings of one recogniser: LM scales tuned on the valid parts, then every test part by every method."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from lhotse.cut import Cut

from spin import artifacts, products
from spin.asr.batches import Batch, BatchSampler, collate, text_of
from spin.asr.decode_batches import Survey, decode_in_pieces, is_decodable, survey
from spin.asr.decoders import DECODERS, DecodingResult, SearchResources
from spin.asr.graphs import GRAPH, HLG, graph_product
from spin.asr.inputs import UNITS, InputReader, UnitInventory
from spin.asr.jobs import THREADS, Recogniser
from spin.asr.lang import load_lang
from spin.asr.model import CtcModel, restore_model
from spin.asr.scoring import ErrorCounts, Hypothesis, count_words, write_decoding
from spin.config import DecodingConfig
from spin.errors import DataError
from spin.runtime.checkpoints import read_checkpoint
from spin.runtime.devices import prepare_cpu, resolve_device
from spin.runtime.files import read_json, write_json
from spin.runtime.logs import get_logger
from spin.runtime.product import Product

SEARCH_SETTINGS = ("search_beam", "output_beam", "max_active_states")  # of decoding, read by every search of a graph


class Scales(NamedTuple):
    """LM scales of the search and of the result; both 0 without an LM."""

    search: float
    final: float


def read_scales(recogniser: Recogniser, method: str) -> Scales | None:
    """The tuned scales of a method; None when its tuning, or that of its first pass, is missing or stale."""
    decoder, scales = DECODERS[method], recogniser.context.config.decoding.lm_scales
    if not decoder.graphs:
        return Scales(0.0, 0.0)
    first = read_scales(recogniser, decoder.first_pass) if decoder.first_pass else None
    if decoder.first_pass and first is None:
        return None
    if len(scales) == 1:
        final = scales[0]
    else:
        product = tuning_product(recogniser, method, first.final if first else mean_scale(scales))
        if product.stale_reason(forced=True) is not None:
            return None
        final = best_scale(read_json(product.path)["wer"])
    return Scales(first.final if first else final, final)


def mean_scale(scales: Sequence[float]) -> float:
    """The LM scale by which the search prunes while its own scale is tuned."""
    return sum(sorted(scales)) / len(scales)


def best_scale(rates: dict[str, float]) -> float:
    """The scale with the lowest rate, the smallest of equals.

    >>> best_scale({"1.0": 14.2, "0.5": 14.2, "2.0": 15.0})
    0.5
    """
    return min((float(scale) for scale in rates), key=lambda scale: (rates[str(scale)], scale))


def tuning_product(recogniser: Recogniser, method: str, search_scale: float) -> Product:
    """The product of the tuning of a method."""
    scales = sorted(recogniser.context.config.decoding.lm_scales)
    values = {"search_lm_scale": search_scale, "decoding.lm_scales": scales}
    return products.tuning(*recogniser.identity, method, *_read_by(recogniser, method, values))


def decoding_product(recogniser: Recogniser, part: str, method: str, scales: Scales) -> Product:
    """The product of one decoding."""
    values = {"search_lm_scale": scales.search, "lm_scale": scales.final}
    return products.decoding(*recogniser.identity, part, method, *_read_by(recogniser, method, values))


def _read_by(recogniser: Recogniser, method: str, values: dict) -> tuple[dict, list[Product]]:
    """The configuration values that a method reads, and the graphs that it searches."""
    context, kinds = recogniser.context, DECODERS[method].graphs
    settings = {f"decoding.{name}": getattr(context.config.decoding, name) for name in SEARCH_SETTINGS} if kinds else {}
    return {**settings, **values}, [graph_product(context, kind) for kind in kinds]


def decodings_of(recogniser: Recogniser) -> Iterator[Product | None]:
    """The products of a recogniser's decodings; None for a method whose scales are not tuned."""
    config = recogniser.context.config
    for method in config.decoding.methods:
        scales = read_scales(recogniser, method)
        for part in products.test_parts(config):
            yield None if scales is None else decoding_product(recogniser, part, method, scales)


def is_finished(recogniser: Recogniser) -> bool:
    """Whether every decoding of a recogniser is up to date.

    Raises:
        DataError: the recogniser, or an input, is missing or stale.
    """
    context = recogniser.context
    recogniser.product.require()
    for part in products.test_parts(context.config):
        products.recogniser_input(context, recogniser.system, recogniser.input_kind, part).require()
    return all(product is not None and product.stale_reason(forced=True) is None for product in decodings_of(recogniser))


def decode_recogniser(recogniser: Recogniser) -> None:
    """Builds every decoding of a recogniser that is missing or stale."""
    prepare_cpu(THREADS)
    decoding = Decoding(recogniser)
    for method in recogniser.context.config.decoding.methods:
        scales = decoding.tune(method)
        for part in products.test_parts(recogniser.context.config):
            product = decoding_product(recogniser, part, method, scales)
            if product.needs_build():
                decoding.build(product, part, method, scales)


class Decoding:
    """One recogniser with its graphs; model and graphs are loaded when first needed."""

    def __init__(self, recogniser: Recogniser):
        self.recogniser, context = recogniser, recogniser.context
        self.config, self.log = context.config.decoding, get_logger("asr.decoding")
        self.device = resolve_device(context.config.runtime.device)
        kinds = sorted({kind for method in self.config.methods for kind in DECODERS[method].graphs}, reverse=True)
        graphs = tuple((kind, graph_product(context, kind).path / GRAPH) for kind in kinds)
        lang = dict(graphs)[HLG].parent if graphs else artifacts.lang_folder(context.exp)
        self.resources = shared_resources(lang, graphs, self.config, self.device)
        inventory = UnitInventory.load(recogniser.product.path) if recogniser.input_kind == UNITS else None
        self.reader = InputReader(inventory)

    @functools.cached_property
    def model(self) -> CtcModel:
        """The best checkpoint."""
        path = artifacts.asr_model_in(self.recogniser.product.path)
        _, state = read_checkpoint(path)
        config = self.recogniser.context.config.asr
        return restore_model(config, state["model"], self.resources.lang.vocabulary_size, str(path)).to(self.device)

    def tune(self, method: str) -> Scales:
        """The LM scales with the lowest WER on the valid parts, measured unless that is done."""
        known = read_scales(self.recogniser, method)
        if known is not None:
            return known
        first_pass, scales = DECODERS[method].first_pass, sorted(self.config.lm_scales)
        search = self.tune(first_pass).final if first_pass else mean_scale(scales)
        product = tuning_product(self.recogniser, method, search)
        if product.needs_build():
            with product.building() as path:
                counts = dict.fromkeys(scales, ErrorCounts())
                for batch, recognised in self.recognise(method, self.recogniser.context.config.corpus.valid, search, scales):
                    for scale in scales:
                        for reference, text in zip(batch.texts, recognised[scale].texts):
                            counts[scale] += count_words(reference, text or "")
                write_json(path, {"wer": {str(scale): counts[scale].rate for scale in scales}})
            shown = ", ".join(f"{scale:g}: {counts[scale].rate:.2f} %" for scale in scales)
            self.log.info("%s, %s: valid WER by LM scale %s", self.recogniser.name, method, shown)
        return read_scales(self.recogniser, method)

    def build(self, product: Product, part: str, method: str, scales: Scales) -> None:
        """Decodes one part by one method and writes its files.

        Raises:
            DataError: the part has no utterance with a transcript.
        """
        results = []
        with product.building() as folder:
            surveyed = self.surveyed((part,))
            texts: list[tuple[Cut, str | None]] = [(cut, "") for cut in surveyed.without_frames]
            for batch, recognised in self.recognise(method, [part], scales.search, [scales.final]):
                texts += zip(batch.cuts, recognised[scales.final].texts)
                results.append(recognised[scales.final])
            if not texts:
                remedy = "--set corpus.test=[<parts with transcripts>]"
                raise DataError(f"part {part}", found="no utterance", expected="at least one", remedy=remedy)
            summary = self.write(folder, method, scales, surveyed.facts, texts, sum(one.not_rescored for one in results))
        self.log.info(
            "%s, %s, %s: %s %.2f %%, CER %.2f %%, %d empty lattice(s)",
            self.recogniser.name, part, method, "PER" if "per" in summary else "WER", summary["wer"], summary["cer"],
            summary["empty_lattices"],
        )  # fmt: skip

    def write(self, folder: Path, method: str, scales: Scales, facts: dict, texts: list, not_rescored: int) -> dict:
        """Writes the files of a decoding, and returns the summary; `texts` are pairs of cut and text."""
        decoder, lang = DECODERS[method], self.resources.lang
        in_phones = lang.kind == "phone" and not decoder.graphs
        references = [lang.reference(text_of(cut)) if in_phones else text_of(cut) for cut, _ in texts]
        facts = {
            **({"search_lm_scale": scales.search} if decoder.first_pass else {}),
            **({"lm_scale": scales.final} if decoder.graphs else {}),
            **facts,
            "empty_lattices": sum(text is None for _, text in texts),
            **({"not_rescored": not_rescored} if decoder.first_pass else {}),
        }
        if in_phones:
            facts["words_without_pronunciation"] = sum(lang.count_unpronounced(text_of(cut)) for cut, _ in texts)
        hypotheses = [
            Hypothesis(cut.id, cut.supervisions[0].speaker or "", reference, text or "")
            for (cut, text), reference in zip(texts, references)
        ]
        return write_decoding(folder, hypotheses, facts, "phones" if in_phones else "words")

    def recognise(
        self, method: str, parts: Iterable[str], search_scale: float, scales: Sequence[float]
    ) -> Iterator[tuple[Batch, dict[float, DecodingResult]]]:
        """The batches of some parts with their results by LM scale."""

        def work(log_probs: torch.Tensor, lengths: torch.Tensor) -> dict[float, DecodingResult]:
            return DECODERS[method].function(self.resources, log_probs, lengths, search_scale, scales)

        for batch, log_probs in self.outputs(parts):
            pieces = decode_in_pieces(work, batch.ids, log_probs, batch.lengths)
            yield batch, {scale: sum((piece[scale] for piece in pieces), DecodingResult([])) for scale in scales}

    @torch.no_grad()
    def outputs(self, parts: Iterable[str]) -> Iterator[tuple[Batch, torch.Tensor]]:
        """Batches of the parts with log-probabilities (B, T, V), in a fixed order."""
        usable = self.recogniser.cuts(parts).filter(functools.partial(is_decodable, self.reader.field))
        for cuts in BatchSampler(usable, self.config.batch_seconds).batches():
            batch = collate(cuts, self.reader.read)
            yield batch, self.model(batch.inputs.to(self.device), batch.lengths)

    @functools.cache  # noqa: B019 - a Decoding lives as long as its process works on it
    def surveyed(self, parts: tuple[str, ...]) -> Survey:
        """The utterances of some parts by the way they are decoded; what is left out is logged once."""
        found = survey(self.recogniser.cuts(parts), self.reader.field)
        if found.facts:
            message = "%s, %s: %d utterance(s) without a transcript are left out, %d without a frame count as deletions"
            self.log.warning(message, self.recogniser.name, ", ".join(parts), found.without_text, len(found.without_frames))
        return found


@functools.lru_cache(maxsize=1)
def shared_resources(
    lang: Path, graphs: tuple[tuple[str, Path], ...], config: DecodingConfig, device: torch.device
) -> SearchResources:
    """The resources that this process used last, if they are the same. One user at a time: a search sets the graph's scores."""
    return SearchResources(load_lang(lang), dict(graphs), config, device)
