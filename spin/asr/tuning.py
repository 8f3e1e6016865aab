"""LM scales: the best on the valid parts is used on the test parts."""

from __future__ import annotations

from dataclasses import dataclass

from spin import products
from spin.asr.decoders import DECODERS, SETTINGS
from spin.asr.graphs import graph_product
from spin.asr.jobs import Recogniser
from spin.config import DecodingConfig
from spin.runtime.files import read_json
from spin.runtime.product import Product


@dataclass(frozen=True)
class Scales:
    """LM scales of the search and of the result; both 0 without an LM."""

    search: float
    final: float


def read_scales(recogniser: Recogniser, method: str) -> Scales | None:
    """The tuned scales of a method; None when its tuning, or that of its first pass, is missing or stale."""
    decoder, config = DECODERS[method], recogniser.context.config.decoding
    if not decoder.graphs:
        return Scales(0.0, 0.0)
    first = read_scales(recogniser, decoder.first_pass) if decoder.first_pass else None
    if decoder.first_pass and first is None:
        return None
    if len(config.lm_scales) == 1:
        final = config.lm_scales[0]
    else:
        product = tuning_product(recogniser, method, first.final if first else mean_scale(config))
        if product.stale_reason(forced=True) is not None:
            return None
        final = best_scale(read_json(product.path)["wer"])
    return Scales(first.final if first else final, final)


def mean_scale(config: DecodingConfig) -> float:
    """The LM scale by which the search prunes while its own scale is tuned."""
    return sum(sorted(config.lm_scales)) / len(config.lm_scales)


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
    return products.tuning(*_identity(recogniser), method, *_dependencies(recogniser, method, values))


def decoding_product(recogniser: Recogniser, part: str, method: str, scales: Scales) -> Product:
    """The product of one decoding."""
    values = {"search_lm_scale": scales.search, "lm_scale": scales.final}
    return products.decoding(*_identity(recogniser), part, method, *_dependencies(recogniser, method, values))


def _identity(recogniser: Recogniser) -> tuple:
    return recogniser.context, recogniser.system, recogniser.source, recogniser.seed


def _dependencies(recogniser: Recogniser, method: str, values: dict) -> tuple[dict, list[Product]]:
    """The configuration values that a method reads, and the graphs that it searches."""
    context, kinds = recogniser.context, DECODERS[method].graphs
    settings = {f"decoding.{name}": getattr(context.config.decoding, name) for name in SETTINGS} if kinds else {}
    return {**settings, **values}, [graph_product(context, kind) for kind in kinds]
