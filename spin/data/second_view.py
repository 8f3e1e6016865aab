"""View 2: the speaker-perturbed copy of view 1, its parameters drawn from (seed, epoch, utterance id)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from lhotse import MonoCut

from spin.config import PerturbationConfig
from spin.perturbation.parameters import draw_parameters
from spin.perturbation.perturb import synthesise
from spin.perturbation.storage import load_analysis


@dataclass(frozen=True)
class SecondView:
    """Perturbs crops with the pitch analysis that stage 1 stored.

    Attributes:
        seed: of the experiment.
        config: how far voices are moved.
    """

    seed: int
    config: PerturbationConfig

    def __call__(self, cut: MonoCut, view1: np.ndarray, epoch: int) -> tuple[np.ndarray, bool]:
        """See spin.data.pairs.Perturb; False where there is no voice to change, so that only the equaliser applies.

        Raises:
            DataError: stage 1 has not analysed this utterance.
        """
        rate = cut.sampling_rate
        analysis = load_analysis(cut).crop(round(cut.start * rate), len(view1))
        parameters = draw_parameters(self.seed, epoch, cut.id, self.config)
        return synthesise(view1, rate, analysis, parameters), not analysis.note
