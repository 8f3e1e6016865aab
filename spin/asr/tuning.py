"""LM scales: the best on the valid parts is used on the test parts."""

from __future__ import annotations

from dataclasses import dataclass

from spin import products
from spin.asr.decoders import DECODERS, SETTINGS
from spin.asr.graphs import graph_product
from spin.runtime.context import Context
from spin.runtime.files import read_json
from spin.runtime.product import Product
from spin.systems import System


@dataclass(frozen=True)
class Recogniser:
    """One trained recogniser, for a decoding in a process of its own; `source` is features or units."""

    context: Context
    system: System
    source: str
    seed: int

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.system.name}, {self.source}, seed {self.seed}"

    @property
    def product(self) -> Product:
        """The product of stage 4."""
        return products.recogniser(self.context, self.system, self.source, self.seed)


@dataclass(frozen=True)
class Scales:
    """LM scales of the search and of the result; both 0 without an LM."""

    search: float
    final: float


def graphs_of(context: Context, method: str) -> list[Product]:
    """The graphs that a method searches."""
    return [graph_product(context, kind) for kind in DECODERS[method].graphs]


def settings_of(context: Context, method: str) -> dict:
    """The configuration values that a method reads, without the LM scales."""
    decoding = context.config.decoding
    return {f"decoding.{name}": getattr(decoding, name) for name in SETTINGS} if DECODERS[method].graphs else {}


def mean_scale(context: Context) -> float:
    """The LM scale by which the search prunes while its own scale is tuned."""
    scales = sorted(context.config.decoding.lm_scales)
    return sum(scales) / len(scales)


def tuning_product(recogniser: Recogniser, method: str, search_scale: float) -> Product:
    """The product of the tuning of a method."""
    context = recogniser.context
    scales = sorted(context.config.decoding.lm_scales)
    values = {**settings_of(context, method), "search_lm_scale": search_scale, "decoding.lm_scales": scales}
    graphs = graphs_of(context, method)
    return products.tuning(context, recogniser.system, recogniser.source, recogniser.seed, method, values, graphs)


def best_scale(rates: dict[str, float]) -> float:
    """The scale with the lowest rate, the smallest of equals."""
    return min((float(scale) for scale in rates), key=lambda scale: (rates[str(scale)], scale))


def read_scales(recogniser: Recogniser, method: str) -> Scales | None:
    """The tuned scales of a method; None when its tuning, or that of its first pass, is missing or stale."""
    decoder, context = DECODERS[method], recogniser.context
    if not decoder.graphs:
        return Scales(0.0, 0.0)
    first = read_scales(recogniser, decoder.first_pass) if decoder.first_pass else None
    if decoder.first_pass and first is None:
        return None
    scales = context.config.decoding.lm_scales
    if len(scales) == 1:
        return Scales(first.final if first else scales[0], scales[0])
    product = tuning_product(recogniser, method, first.final if first else mean_scale(context))
    if product.stale_reason(forced=True) is not None:
        return None
    final = best_scale(read_json(product.path)["wer"])
    return Scales(first.final if first else final, final)


def decoding_product(recogniser: Recogniser, part: str, method: str, scales: Scales) -> Product:
    """The product of one decoding."""
    context = recogniser.context
    values = {**settings_of(context, method), "search_lm_scale": scales.search, "lm_scale": scales.final}
    graphs = graphs_of(context, method)
    return products.decoding(context, recogniser.system, recogniser.source, recogniser.seed, part, method, values, graphs)
