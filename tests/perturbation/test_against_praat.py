"""The bounds of the perturbation against Praat, on the same utterances and parameters; its cost."""

import dataclasses

import numpy as np
import pytest
import soundfile

from spin.corpus.voices import render_speaker
from spin.perturbation.analysis import Analysis, analyse, estimate_pitch_range
from spin.perturbation.perturb import PerturbationParameters, change_voice, draw_parameters, target_pitch
from spin.perturbation.pitch import track_pitch
from spin.perturbation.pulses import find_pulses
from spin.perturbation.synthesis import MIN_TARGET_IN_HZ
from spin.tools import benchmark_perturb

parselmouth = pytest.importorskip("parselmouth", reason="praat-parselmouth is not installed")
RANGES = ((75.0, 250.0), (100.0, 600.0))  # the published ranges of low and high voices
EMBEDDED = (0, 3, 500, 701)  # speakers; the last one breathes
SENTENCES = 2
LIBRISPEECH = ("train-clean-5", "test-other")


@pytest.fixture(scope="module")
def embedded_speech(tmp_path_factory):
    """(waveform (samples,), rate) of generated utterances."""
    folder = tmp_path_factory.mktemp("embedded")
    for index in EMBEDDED:
        render_speaker(index, folder, SENTENCES, "train")
    return [soundfile.read(path) for path in sorted(tmp_path_factory.getbasetemp().glob("embedded*/*/*.flac"))]


@pytest.fixture(scope="module")
def libri_speech(librispeech_dir):
    """(waveform (samples,), rate) of ten utterances of ten speakers."""
    files = []
    for part in LIBRISPEECH:
        speakers = sorted(path for path in (librispeech_dir / part).iterdir() if path.is_dir())
        files += [sorted(speaker.rglob("*.flac"))[0] for speaker in speakers[:: max(1, len(speakers) // 6)]]
    return [soundfile.read(path) for path in files[:10]]


@pytest.fixture(scope="module", params=["embedded", "LibriSpeech"])
def speech(request):
    """Both kinds, one after the other; LibriSpeech is skipped where it is missing."""
    return request.getfixturevalue("embedded_speech" if request.param == "embedded" else "libri_speech")


def sound(waveform: np.ndarray, rate: int):
    return parselmouth.Sound(np.asarray(waveform, dtype=np.float64), sampling_frequency=rate)


def pitch_of(waveform: np.ndarray, rate: int, floor: float, ceiling: float):
    return sound(waveform, rate).to_pitch_ac(time_step=0.8 / floor, pitch_floor=floor, pitch_ceiling=ceiling)


def pulses_of(waveform: np.ndarray, rate: int, pitch) -> np.ndarray:
    """(pulses,) in samples, by To PointProcess (cc)."""
    points = parselmouth.praat.call([sound(waveform, rate), pitch], "To PointProcess (cc)")
    count = parselmouth.praat.call(points, "Get number of points")
    return np.array([parselmouth.praat.call(points, "Get time from index", index + 1) for index in range(count)]) * rate


def change_gender(waveform: np.ndarray, rate: int, pitch, parameters: PerturbationParameters) -> np.ndarray:
    """Formants and pitch changed the official way."""
    frequencies = pitch.selected_array["frequency"]
    median = parameters.pitch_median_ratio * np.median(frequencies[frequencies > 0])
    ratios = (parameters.formant_ratio, median, parameters.pitch_range_ratio, 1.0)
    return parselmouth.praat.call([sound(waveform, rate), pitch], "Change gender", *ratios).values[0]


def draw_without_quirks(waveform: np.ndarray, rate: int, index: int) -> tuple[Analysis, PerturbationParameters] | None:
    """An analysis in the utterance's own range, and parameters with which no F0 * R reaches the ceiling and no target zero."""
    found = estimate_pitch_range([(waveform, rate)])
    analysis = analyse(waveform, rate, found)
    for epoch in range(100 * (not analysis.note)):
        parameters = draw_parameters(0, epoch, f"test {index}")
        hit = analysis.pitch.max(initial=0.0) * parameters.formant_ratio >= 0.98 * analysis.ceiling
        if not hit and target_pitch(analysis, parameters)[1].min() >= 2 * MIN_TARGET_IN_HZ:
            return analysis, parameters
    return None


def voiced_interior(analysis: Analysis, margin_in_s: float = 0.02) -> np.ndarray:
    """(samples,) bool: between pulses that follow each other, away from the edges of voiced segments."""
    inside = np.zeros(analysis.num_samples + 1)
    longest = 1.25 * analysis.sample_rate / analysis.pitch[analysis.pitch > 0].min()
    for left, right in zip(analysis.pulses, analysis.pulses[1:]):
        if right - left <= longest:
            inside[int(left) : int(right) + 1] = 1.0
    margin = int(margin_in_s * analysis.sample_rate)
    near = np.convolve(1.0 - inside[:-1], np.ones(2 * margin + 1), "same")
    return near < 0.5


def log_mel(waveform: np.ndarray, rate: int, bands: int = 80) -> np.ndarray:
    """(frames, bands) dB, windows of 25 ms every 10 ms, not below 60 dB under the loudest."""
    window, hop, size = int(0.025 * rate), int(0.010 * rate), 1024
    frames = np.lib.stride_tricks.sliding_window_view(waveform, window)[::hop] * np.hanning(window)
    power = np.abs(np.fft.rfft(frames, size)) ** 2
    edges = 700.0 * (10.0 ** (np.linspace(0.0, 2595.0 * np.log10(1.0 + rate / 1400.0), bands + 2) / 2595.0) - 1.0)
    frequency = np.arange(size // 2 + 1) * rate / size
    rising = (frequency - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequency) / (edges[2:] - edges[1:-1])[:, None]
    mel = power @ np.maximum(0.0, np.minimum(rising, falling)).T
    return 10.0 * np.log10(np.maximum(mel, mel.max() * 1e-6))


def formants(waveform: np.ndarray, rate: int, times: np.ndarray) -> np.ndarray:
    """(times, 2) Hz: the first two formants by linear prediction (Burg), NaN where undefined."""
    found = sound(waveform, rate).to_formant_burg(time_step=0.01, max_number_of_formants=5.0, maximum_formant=5500.0)
    return np.array([[found.get_value_at_time(number, time) for number in (1, 2)] for time in times])


@pytest.fixture(scope="module")
def pairs(speech):
    """For each utterance: (analysis, parameters, ours, Praat's, Praat's again, rate); its unvoiced grains are random."""
    found = []
    for index, (waveform, rate) in enumerate(speech):
        drawn = draw_without_quirks(waveform, rate, index)
        if drawn is None:
            continue
        analysis, parameters = drawn
        pitch = pitch_of(waveform, rate, analysis.floor, analysis.ceiling)
        theirs = [change_gender(waveform, rate, pitch, parameters) for _ in range(2)]
        ours = change_voice(waveform.astype(np.float32), analysis, parameters)
        found.append((analysis, parameters, ours, *theirs, rate))
    assert len(found) >= 0.7 * len(speech)
    return found


@pytest.mark.parametrize("pitch_range", RANGES)
def test_pitch_contour_equals_praats(speech, pitch_range):
    voicing, errors, medians = [], [], []
    for waveform, rate in speech:
        pitch = pitch_of(waveform, rate, *pitch_range)
        contour = track_pitch(waveform, rate, *pitch_range)
        theirs, ours = pitch.selected_array["frequency"], contour.pitch
        assert len(ours) == len(theirs) and contour.start == pytest.approx(pitch.x1, abs=1e-9)
        both = (ours > 0) & (theirs > 0)
        voicing.append(np.mean((ours > 0) != (theirs > 0)))
        errors.append(np.abs(ours[both] / theirs[both] - 1.0))
        medians.append(abs(np.median(ours[ours > 0]) / np.median(theirs[theirs > 0]) - 1.0))
    errors = np.concatenate(errors)
    assert np.mean(voicing) <= 0.002
    assert np.median(errors) <= 1e-5 and np.quantile(errors, 0.9) <= 1e-4 and np.mean(errors > 0.05) <= 0.002
    assert np.median(medians) <= 0.005 and np.quantile(medians, 0.9) <= 0.015


@pytest.mark.parametrize("pitch_range", RANGES)
def test_pulses_equal_praats_on_the_same_contour(speech, pitch_range):
    for waveform, rate in speech:
        centred = waveform - waveform.mean()
        pitch = pitch_of(centred, rate, *pitch_range)
        theirs = pulses_of(centred, rate, pitch)
        ours = find_pulses(centred, pitch.selected_array["frequency"], pitch.x1, pitch.dx, rate)
        assert len(ours) == len(theirs)
        assert np.abs(ours - theirs).max(initial=0.0) <= 1e-6


def test_voiced_waveform_correlates_with_praats(pairs):
    correlations = []
    for analysis, _, ours, theirs, _, _ in pairs:
        inside = voiced_interior(analysis)
        correlations.append(np.corrcoef(ours[inside], theirs[inside])[0, 1])
    assert np.median(correlations) >= 0.999
    assert np.quantile(correlations, 0.1) >= 0.99


def test_spectral_distance_is_within_praats_own_randomness(pairs):
    to_praat, among_praat = [], []
    for _, _, ours, theirs, again, rate in pairs:
        mels = [log_mel(np.asarray(waveform, dtype=np.float64), rate) for waveform in (ours, theirs, again)]
        to_praat.append(np.sqrt(np.mean((mels[0] - mels[1]) ** 2)))
        among_praat.append(np.sqrt(np.mean((mels[2] - mels[1]) ** 2)))
    assert np.median(to_praat) <= np.median(among_praat) + 0.3


def test_median_pitch_of_the_copies_equals_praats(pairs):
    errors = []
    for _, _, ours, theirs, _, rate in pairs:
        medians = [np.median(pitch[pitch > 0]) for pitch in (track_pitch(copy, rate, 60, 700).pitch for copy in (ours, theirs))]
        errors.append(abs(medians[0] / medians[1] - 1.0))
    assert np.median(errors) <= 0.005 and np.quantile(errors, 0.9) <= 0.015


def test_formants_are_shifted_as_praats_are(pairs):
    errors = []
    for analysis, _, ours, theirs, _, rate in pairs:
        times = np.flatnonzero(voiced_interior(analysis, 0.03))[:: int(0.02 * rate)] / rate
        ratio = formants(ours, rate, times) / formants(theirs, rate, times)
        errors.append(np.abs(np.nanmedian(ratio, axis=0) - 1.0).max())
    assert np.quantile(errors, 0.9) <= 0.01


def test_frames_at_praats_ceiling_are_unvoiced_there(speech):
    """With F0 * R at the ceiling Praat drops frames, from the median too; without them in our contour the copies are the same."""
    correlations = []
    for index, (waveform, rate) in enumerate(speech[:4]):
        free = analyse(waveform, rate)
        parameters = dataclasses.replace(draw_parameters(1, 0, str(index)), formant_ratio=1.3, pitch_range_ratio=1.0)
        ceiling = float(np.quantile(free.pitch[free.pitch > 0], 0.9)) * parameters.formant_ratio
        floor = min(free.floor, 0.4 * ceiling)
        pitch = pitch_of(waveform, rate, floor, ceiling)
        contour, start = pitch.selected_array["frequency"].astype(np.float32), 0.5 * pitch.dx
        below = np.where(contour * parameters.formant_ratio >= ceiling, 0, contour).astype(np.float32)
        pulses = find_pulses(waveform - waveform.mean(), below, start, pitch.dx, rate)
        analysis = Analysis(rate, len(waveform), below, pitch.x1, pitch.dx, floor, ceiling, pulses, start)
        kept = analysis.median() / np.median(contour[contour > 0])
        same = dataclasses.replace(parameters, pitch_median_ratio=parameters.pitch_median_ratio / float(kept))
        theirs = change_gender(waveform, rate, pitch, parameters)
        inside = voiced_interior(analysis)
        correlations.append(np.corrcoef(change_voice(waveform.astype(np.float32), analysis, same)[inside], theirs[inside])[0, 1])
    assert np.median(correlations) >= 0.999


def test_a_view_costs_at_most_a_millisecond_a_second_and_an_eighth_of_praats_way(speech):
    for _ in range(3):  # on a machine shared with others the first measurement may be off
        result = benchmark_perturb.measure([(wave.astype("float32"), rate) for wave, rate in speech[:6]])
        if result["ratio"] >= 8 and result["synthesis"] <= 1.0:
            break
    assert result["ratio"] >= 8 and result["synthesis"] <= 1.0
    assert result["ratio_with_analysis"] >= 1.5 and result["analysis"] + result["pitch_range"] <= 2.5
