"""The perturbation: shift formants, pitch median and pitch range, then equalise, then clip.

perturb() does all for one recording. A training analyses once (analyse), and makes a new copy at every step (synthesise).
"""

import dataclasses

import numpy as np

from spin.config import PerturbationConfig
from spin.perturbation.analysis import Analysis, PitchRange, analyse, prepare
from spin.perturbation.equaliser import BANDS, design, equalise
from spin.perturbation.synthesis import MAX_GAP, MIN_TARGET_IN_HZ, overlap_add, resample
from spin.runtime.seeding import generator

LOWEST_QUALITY, QUALITY_SPAN = 2.0, 2.5  # Q = 2 * 2.5 ** U(0, 1)


@dataclasses.dataclass(frozen=True)
class PerturbationParameters:
    """Ratios are new over old; `gains_in_db` and `qualities` (one per band) are empty without an equaliser."""

    formant_ratio: float = 1.0
    pitch_median_ratio: float = 1.0
    pitch_range_ratio: float = 1.0
    gains_in_db: tuple[float, ...] = ()
    qualities: tuple[float, ...] = ()
    noise_seed: int = 0  # of the periods of unvoiced grains


def draw_parameters(*keys: int | str, config: PerturbationConfig | None = None) -> PerturbationParameters:
    """Draws each ratio uniform from 1 to its maximum, inverted with probability 1/2, and a random equaliser (README.md, step 10).

    The same keys (seed, epoch, utterance id and the like) give the same parameters on every machine. `config` has the largest
    ratios and gain; default: the published ones.
    """
    config = config or PerturbationConfig()
    random = generator("perturbation", *keys)
    shares, inverted = random.uniform(size=3), random.uniform(size=3) < 0.5
    qualities, gains = random.uniform(size=BANDS), random.uniform(-1.0, 1.0, size=BANDS)
    highest = (config.formant_ratio_max, config.pitch_median_ratio_max, config.pitch_range_ratio_max)
    ratios = [1.0 + float(share) * (top - 1.0) for share, top in zip(shares, highest)]
    return PerturbationParameters(
        *(1.0 / ratio if invert else ratio for ratio, invert in zip(ratios, inverted)),
        gains_in_db=tuple((gains * config.equaliser_gain_in_db).tolist()) if config.equaliser else (),
        qualities=tuple((LOWEST_QUALITY * QUALITY_SPAN**qualities).tolist()) if config.equaliser else (),
        noise_seed=int(random.integers(2**63)),
    )


def perturb(waveform, sample_rate: int, *, seed: int, pitch_range: PitchRange | tuple[float, float] | None = None):
    """One perturbed copy of a recording: another voice says the same.

    Args:
        waveform: (samples,) or (1, samples), float in [-1, 1] or integers, NumPy array or CPU tensor.
        seed: the same seed gives the same copy.
        pitch_range: lowest and highest F0 of the speaker in Hz; None: estimated from this recording.

    Returns:
        float32 of the same shape, finite, within [-1, 1]; a tensor where a tensor was given. Silence, noise without any voiced
        frame and recordings shorter than three periods of the floor get the equaliser only.
    """
    array = np.asarray(waveform)
    analysis = analyse(array, sample_rate, pitch_range)
    result = synthesise(array, sample_rate, analysis, draw_parameters(seed, 0, "")).reshape(array.shape)
    if type(waveform).__module__.partition(".")[0] == "torch":
        import torch

        return torch.from_numpy(result)
    return result


def synthesise(waveform, sample_rate: int, analysis: Analysis, parameters: PerturbationParameters) -> np.ndarray:
    """A perturbed copy of the waveform that was analysed, or of the stretch that `analysis.crop` was given.

    (samples,) -> (samples,) float32, finite, within [-1, 1]; ValueError for an analysis of another length or rate.
    """
    waveform, _ = prepare(waveform)
    if len(waveform) != analysis.num_samples or int(sample_rate) != analysis.sample_rate:
        expected = f"the analysed {analysis.num_samples} samples at {analysis.sample_rate} Hz"
        raise ValueError(f"waveform: found {len(waveform)} samples at {sample_rate} Hz, expected {expected}")
    if not analysis.note:
        waveform = change_voice(waveform, analysis, parameters)
    if parameters.gains_in_db and len(waveform):
        waveform = equalise(waveform, design(sample_rate, parameters.gains_in_db, parameters.qualities))
    return np.clip(waveform, -1.0, 1.0)


def change_voice(waveform: np.ndarray, analysis: Analysis, parameters: PerturbationParameters) -> np.ndarray:
    """Formants and pitch alone (README.md, steps 2 to 9): (samples,) float32 -> the same, for an analysis without a note."""
    ratio, rate = parameters.formant_ratio, analysis.sample_rate
    source = (waveform - waveform.mean(dtype=np.float64)).astype(np.float32)
    times, pitch = target_pitch(analysis, parameters)
    contour, seed = (times, np.maximum(pitch, MIN_TARGET_IN_HZ)), parameters.noise_seed
    max_gap = MAX_GAP * rate / float(analysis.pitch[analysis.pitch > 0].min())
    target = overlap_add(source, analysis.pulses, contour, rate=rate * ratio, stretch=ratio, max_gap=max_gap, noise_seed=seed)
    return resample(target, ratio, len(waveform))


def target_pitch(analysis: Analysis, parameters: PerturbationParameters) -> tuple[np.ndarray, np.ndarray]:
    """Times in samples and new F0 in Hz of the voiced frames, before the F0 is clamped to MIN_TARGET_IN_HZ."""
    voiced = np.flatnonzero(analysis.pitch > 0)
    pitch = analysis.pitch[voiced].astype(np.float64)
    median = parameters.pitch_median_ratio * np.median(pitch)
    spread = parameters.pitch_range_ratio
    times = (analysis.contour_start + voiced * analysis.step) * analysis.sample_rate
    return times, spread * parameters.pitch_median_ratio * pitch + median * (1.0 - spread)


def compile_kernels() -> None:
    """Runs every compiled function once, before work is split, so that workers load compiled code and need not compile."""
    rate, bands = 16_000, (1.0,) * BANDS
    waveform = np.zeros(rate, dtype=np.float32)
    waveform[rate // 4 :: rate // 100] = 0.5  # pulses at 100 Hz
    analysis = analyse(waveform, rate)
    for ratio in (0.9, 1.1):
        synthesise(waveform, rate, analysis, PerturbationParameters(ratio, ratio, ratio, bands, bands, 1))
