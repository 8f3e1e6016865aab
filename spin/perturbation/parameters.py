"""Random parameters of a perturbation, drawn from (seed, epoch, utterance id)."""

from __future__ import annotations

import dataclasses

from spin.config import PerturbationConfig
from spin.perturbation.equaliser import BANDS
from spin.runtime.seeding import generator

LOWEST_QUALITY, QUALITY_SPAN = 2.0, 2.5  # Q = 2 * 2.5 ** U(0, 1)


@dataclasses.dataclass(frozen=True)
class PerturbationParameters:
    """Ratios are new over old; `gains_in_db` and `qualities` (one a band) are empty without an equaliser."""

    formant_ratio: float = 1.0
    pitch_median_ratio: float = 1.0
    pitch_range_ratio: float = 1.0
    gains_in_db: tuple[float, ...] = ()
    qualities: tuple[float, ...] = ()
    noise_seed: int = 0  # of the periods of unvoiced grains


def draw_parameters(*keys: int | str, config: PerturbationConfig | None = None) -> PerturbationParameters:
    """Draws each ratio uniform from 1 to its maximum, inverted with probability 1/2, and a random equaliser (README.md, step 10).

    Args:
        keys: seed, epoch, utterance id and the like; the same keys give the same parameters on every machine.
        config: largest ratios and gain; default: the published ones.
    """
    config = config or PerturbationConfig()
    random = generator("perturbation", *keys)
    shares, inverted = random.uniform(size=3), random.uniform(size=3) < 0.5
    qualities, gains = random.uniform(size=BANDS), random.uniform(-1.0, 1.0, size=BANDS)
    highest = (config.formant_ratio_max, config.pitch_median_ratio_max, config.pitch_range_ratio_max)
    ratios = [1.0 + float(share) * (top - 1.0) for share, top in zip(shares, highest)]
    ratios = [1.0 / ratio if invert else ratio for ratio, invert in zip(ratios, inverted)]
    return PerturbationParameters(
        *ratios,
        gains_in_db=tuple((gains * config.equaliser_gain_in_db).tolist()) if config.equaliser else (),
        qualities=tuple((LOWEST_QUALITY * QUALITY_SPAN**qualities).tolist()) if config.equaliser else (),
        noise_seed=int(random.integers(2**63)),
    )
