"""Views of an utterance: each view is a list of transforms, such as [[], ["perturb"]] or [["noise"], ["perturb", "noise"]].

Every draw comes from (seed, epoch, utterance id, view). To add a transform, write a class and add one line to TRANSFORMS.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lhotse import MonoCut

from spin import artifacts
from spin.config import Config
from spin.data import audio
from spin.perturbation.analysis_io import load_analysis
from spin.perturbation.perturb import draw_parameters, synthesise
from spin.runtime import seeding


@dataclass(frozen=True)
class RngKey:
    """Names the random draws for one view of one utterance in one epoch."""

    seed: int
    epoch: int
    utterance: str
    view: int

    @property
    def parts(self) -> tuple[int | str, ...]:
        """What seeds the generator. The second view (index 1) adds nothing, so that the seeds of earlier runs stay good."""
        return (self.seed, self.epoch, self.utterance, *(() if self.view == 1 else (f"view {self.view}",)))


# (waveform (S,) float32, its cropped cut, key) -> (waveform (S,) float32, False where it found no voice to change)
Transform = Callable[[np.ndarray, MonoCut, RngKey], tuple[np.ndarray, bool]]
View = tuple[Transform, ...]


class Perturb:
    """Another voice: speaker perturbation with the pitch analysis that stage 1 stored."""

    def __init__(self, config: Config, corpus: Path):
        self.config = config.perturbation

    def __call__(self, waveform: np.ndarray, cut: MonoCut, key: RngKey) -> tuple[np.ndarray, bool]:
        """See Transform; False where there is no voice to change, so that only the equaliser applies.

        Raises:
            DataError: stage 1 has not analysed this utterance.
        """
        rate = cut.sampling_rate
        analysis = load_analysis(cut).crop(round(cut.start * rate), len(waveform))
        parameters = draw_parameters(*key.parts, config=self.config)
        return synthesise(waveform, rate, analysis, parameters), not analysis.note


class AddNoise:
    """Noise at an SNR uniform in the configured range (R-Spin, section 3.1).

    It comes from the noise corpus where one is configured. Otherwise it is coloured noise or babble of other speakers of
    spin_train, each half the time.
    """

    def __init__(self, config: Config, corpus: Path):
        self.snr_range = config.noise.min_snr_in_db, config.noise.max_snr_in_db
        if config.noise.manifests:
            self.pool, self.kinds = audio.read_pool(config.noise.manifests), (audio.CORPUS,)
            return
        self.pool = audio.read_pool((artifacts.cuts(corpus, part) for part in config.corpus.spin_train), audio.BABBLE)
        speakers = {audio.speaker_of(cut) for cut in self.pool} - {None}
        self.kinds = (audio.COLOURED, audio.BABBLE) if len(speakers) > 1 else (audio.COLOURED,)

    def __call__(self, waveform: np.ndarray, cut: MonoCut, key: RngKey) -> tuple[np.ndarray, bool]:
        """See Transform; raises UnreadableAudio for a recording of the noise."""
        rng = seeding.generator("noise", *key.parts)
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        noise = audio.draw_noise(rng, kind, rng.uniform(*self.snr_range), self.pool, audio.speaker_of(cut))
        return audio.add_noise(waveform, noise), True


TRANSFORMS: dict[str, Callable[[Config, Path], Transform]] = {"perturb": Perturb, "noise": AddNoise}


def make_views(names: Sequence[Sequence[str]], config: Config, corpus: Path) -> tuple[View, ...]:
    """The transforms of each view.

    Args:
        names: keys of TRANSFORMS for each view, in the order in which they apply.
        corpus: folder of the corpus' manifests.

    Raises:
        DataError: a manifest of noise that cannot be used.
    """
    used = sorted(set(itertools.chain.from_iterable(names)))
    transforms = {name: TRANSFORMS[name](config, corpus) for name in used}
    return tuple(tuple(transforms[name] for name in view) for view in names)
