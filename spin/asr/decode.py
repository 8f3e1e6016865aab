"""All decodings of one recogniser: scales tuned on the valid parts, then every test part by every method."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from spin import artifacts, products
from spin.asr.batches import Batch, collate
from spin.asr.decode_batches import Survey, decode_in_pieces, decoding_batches, speaker_of, survey
from spin.asr.decoders import DECODERS, Recognised, Tools
from spin.asr.graphs import GRAPH, HLG, graph_product
from spin.asr.inputs import UNITS, UnitInventory, open_reader
from spin.asr.jobs import Recogniser, fixed_threads
from spin.asr.lang import Lang, load_lang
from spin.asr.model import CtcModel, restore_model
from spin.asr.scoring import ErrorCounts, Hypothesis, count_words, write_decoding
from spin.asr.tuning import Scales, decoding_product, mean_scale, read_scales, tuning_product
from spin.config import DecodingConfig
from spin.errors import DataError
from spin.runtime.checkpoints import read_checkpoint
from spin.runtime.devices import resolve_device
from spin.runtime.files import write_json
from spin.runtime.logs import get_logger
from spin.runtime.product import Product


def decode_recogniser(recogniser: Recogniser) -> None:
    """Builds every decoding of a recogniser that is missing or stale."""
    with fixed_threads():
        decoding = Decoding(recogniser)
        for method in recogniser.context.config.decoding.methods:
            scales = read_scales(recogniser, method) or decoding.tune(method)
            for part in products.test_parts(recogniser.context.config):
                product = decoding_product(recogniser, part, method, scales)
                if product.is_stale():
                    decoding.build(product, part, method, scales)


def is_finished(recogniser: Recogniser) -> bool:
    """Whether every decoding of a recogniser is up to date.

    Raises:
        DataError: the recogniser, or an input, is missing or stale.
    """
    context = recogniser.context
    recogniser.product.require()
    for part in products.test_parts(context.config):
        products.recogniser_input(context, recogniser.system, recogniser.source, part).require()
    return all(product is not None and product.stale_reason(forced=True) is None for product in decodings_of(recogniser))


def decodings_of(recogniser: Recogniser) -> Iterator[Product | None]:
    """The products of a recogniser's decodings; None for a method whose scales are not tuned."""
    config = recogniser.context.config
    for method in config.decoding.methods:
        scales = read_scales(recogniser, method)
        for part in products.test_parts(config):
            yield None if scales is None else decoding_product(recogniser, part, method, scales)


class Decoding:
    """One recogniser with its graphs; model and graphs are loaded when first needed."""

    def __init__(self, recogniser: Recogniser):
        self.recogniser, context = recogniser, recogniser.context
        self.config, self.log = context.config.decoding, get_logger("asr.decoding")
        self.device = resolve_device(context.config.runtime.device)
        kinds = sorted({kind for method in self.config.methods for kind in DECODERS[method].graphs}, reverse=True)
        graphs = tuple((kind, graph_product(context, kind).path / GRAPH) for kind in kinds)
        lang = dict(graphs)[HLG].parent if graphs else artifacts.lang_folder(context.exp)
        self.tools = shared_tools(lang, graphs, self.config, self.device)
        self.lang = self.tools.lang
        inventory = UnitInventory.load(recogniser.product.path) if recogniser.source == UNITS else None
        self.reader = open_reader(context.config, recogniser.system, recogniser.source, inventory)

    @functools.cached_property
    def model(self) -> CtcModel:
        """The best checkpoint."""
        path = artifacts.asr_model_in(self.recogniser.product.path)
        _, state = read_checkpoint(path)
        config = self.recogniser.context.config.asr
        return restore_model(config, state["model"], self.lang.vocabulary_size, str(path)).to(self.device)

    def build(self, product: Product, part: str, method: str, scales: Scales) -> None:
        """Decodes one part by one method and writes its files.

        Raises:
            DataError: the part has no utterance with a transcript.
        """
        with product.building() as folder:
            begun, result = time.monotonic(), PartResult(self.lang, method)
            for batch, speakers, log_probs in self.outputs([part]):
                work = functools.partial(self.decode, method, scales)
                result.add(batch, speakers, decode_in_pieces(work, batch.ids, log_probs, batch.lengths))
            surveyed = self.surveyed((part,))
            for name, speaker, reference in surveyed.without_frames:
                result.add_text(name, speaker, reference, "")
            if not result.hypotheses:
                remedy = "--set corpus.test=[<parts with transcripts>]"
                raise DataError(f"part {part}", found="no utterance", expected="at least one", remedy=remedy)
            summary = result.write(folder, scales, surveyed)
        rate = "PER" if result.in_phones else "WER"
        factor = (time.monotonic() - begun) / max(result.seconds, 1e-9)
        self.log.info(
            "%s, %s, %s: %s %.2f %%, CER %.2f %%, %d empty lattice(s), real-time factor %.3f",
            self.recogniser.name, part, method, rate, summary["wer"], summary["cer"], result.empty, factor,
        )  # fmt: skip

    def decode(self, method: str, scales: Scales, log_probs: torch.Tensor, lengths: torch.Tensor) -> Recognised:
        """One batch by one method."""
        return DECODERS[method].function(self.tools, log_probs, lengths, scales.search, (scales.final,))[scales.final]

    def tune(self, method: str) -> Scales:
        """Measures the WER on the valid parts for each LM scale, and returns the best scales."""
        first_pass = DECODERS[method].first_pass
        first = (read_scales(self.recogniser, first_pass) or self.tune(first_pass)) if first_pass else None
        search = first.final if first else mean_scale(self.config)
        product = tuning_product(self.recogniser, method, search)
        if product.is_stale():
            with product.building() as path:
                rates = self.rates_by_scale(method, search, sorted(self.config.lm_scales))
                write_json(path, {"wer": rates})
            shown = ", ".join(f"{float(scale):g}: {rate:.2f} %" for scale, rate in rates.items())
            self.log.info("%s, %s: valid WER by LM scale %s", self.recogniser.name, method, shown)
        return read_scales(self.recogniser, method)

    def rates_by_scale(self, method: str, search: float, scales: list[float]) -> dict[str, float]:
        """LM scale -> WER on the valid parts, with one search for all scales."""
        counts = {scale: ErrorCounts() for scale in scales}

        def work(log_probs: torch.Tensor, lengths: torch.Tensor) -> dict[float, Recognised]:
            return DECODERS[method].function(self.tools, log_probs, lengths, search, scales)

        for batch, _, log_probs in self.outputs(self.recogniser.context.config.corpus.valid):
            pieces = decode_in_pieces(work, batch.ids, log_probs, batch.lengths)
            for scale in scales:
                texts = itertools.chain.from_iterable(piece[scale].texts for piece in pieces)
                for reference, text in zip(batch.texts, texts):
                    counts[scale] += count_words(reference, text or "")
        return {str(scale): counts[scale].rate for scale in scales}

    @torch.no_grad()
    def outputs(self, parts: Iterable[str]) -> Iterator[tuple[Batch, dict[str, str], torch.Tensor]]:
        """Batches of the parts with speakers by id and log-probabilities (B, T, V), in a fixed order."""
        surveyed, seconds = self.surveyed(tuple(parts)), self.config.batch_seconds
        for cuts in decoding_batches(self.recogniser.cuts(parts), self.reader.field, surveyed, seconds):
            batch = collate(cuts, self.reader.read)
            yield batch, {cut.id: speaker_of(cut) for cut in cuts}, self.model(batch.inputs.to(self.device), batch.lengths)

    @functools.cache  # noqa: B019 - a Decoding lives as long as its process works on it
    def surveyed(self, parts: tuple[str, ...]) -> Survey:
        """The utterances of some parts by the way they are decoded; what is left out is logged once."""
        result = survey(self.recogniser.cuts(parts), self.reader.field, self.config.batch_seconds)
        result.log(f"{self.recogniser.name}, {', '.join(parts)}", self.config.batch_seconds)
        return result


class PartResult:
    """The texts of a part, and what a summary says of their decoding."""

    def __init__(self, lang: Lang, method: str):
        self.lang, self.decoder = lang, DECODERS[method]
        self.in_phones = lang.kind == "phone" and not self.decoder.graphs
        self.hypotheses: list[Hypothesis] = []
        self.seconds, self.empty, self.not_rescored, self.unpronounced = 0.0, 0, 0, 0

    def add(self, batch: Batch, speakers: dict[str, str], pieces: list[Recognised]) -> None:
        """Adds a batch, decoded in one piece or several."""
        texts = [text for piece in pieces for text in piece.texts]
        self.seconds += batch.seconds
        self.empty += sum(text is None for text in texts)
        self.not_rescored += sum(piece.not_rescored for piece in pieces)
        for name, reference, text in zip(batch.ids, batch.texts, texts):
            self.add_text(name, speakers[name], reference, text or "")

    def add_text(self, name: str, speaker: str, reference: str, text: str) -> None:
        """Adds one utterance."""
        self.unpronounced += self.lang.count_unpronounced(reference)
        compared = self.lang.reference(reference) if self.in_phones else reference
        self.hypotheses.append(Hypothesis(name, speaker, compared, text))

    def write(self, folder: Path, scales: Scales, surveyed: Survey) -> dict:
        """Writes the files of the decoding, and returns the summary."""
        facts: dict = {}
        if self.decoder.first_pass:
            facts["search_lm_scale"] = scales.search
        if self.decoder.graphs:
            facts["lm_scale"] = scales.final
        facts |= {**surveyed.facts, "empty_lattices": self.empty}
        if self.decoder.first_pass:
            facts["not_rescored"] = self.not_rescored
        if self.in_phones:
            facts["words_without_pronunciation"] = self.unpronounced
        return write_decoding(folder, self.hypotheses, facts, "phones" if self.in_phones else "words")


@functools.lru_cache(maxsize=1)
def shared_tools(lang: Path, graphs: tuple[tuple[str, Path], ...], config: DecodingConfig, device: torch.device) -> Tools:
    """The tools that this process used last, if they are the same. Only one user at a time: a search sets the graph's scores."""
    return Tools(load_lang(lang), dict(graphs), config, device)
