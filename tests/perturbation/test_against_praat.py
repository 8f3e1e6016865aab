"""The bounds of the perturbation against Praat, on the same utterances and parameters."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from spin.perturbation.analysis import analyse, from_contour
from spin.perturbation.perturb import change_voice, draw_parameters
from spin.perturbation.pitch import Contour, track_pitch
from spin.perturbation.pulses import find_pulses
from tests.perturbation import praat

RANGES = ((75.0, 250.0), (100.0, 600.0))  # the published ranges of low and high voices


@pytest.fixture(scope="module")
def pairs(speech):
    """For each utterance: (analysis, parameters, ours, Praat's, Praat's again, rate); its unvoiced grains are random."""
    found = []
    for index, (waveform, rate) in enumerate(speech):
        drawn = praat.draw_without_quirks(waveform, rate, index)
        if drawn is None:
            continue
        analysis, parameters = drawn
        pitch = praat.pitch_of(waveform, rate, analysis.floor, analysis.ceiling)
        theirs = [praat.change_gender(waveform, rate, pitch, parameters) for _ in range(2)]
        ours = change_voice(waveform.astype(np.float32), analysis, parameters)
        found.append((analysis, parameters, ours, *theirs, rate))
    assert len(found) >= 0.7 * len(speech)
    return found


@pytest.mark.parametrize("pitch_range", RANGES)
def test_pitch_contour_equals_praats(speech, pitch_range):
    voicing, errors, medians = [], [], []
    for waveform, rate in speech:
        pitch = praat.pitch_of(waveform, rate, *pitch_range)
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
        pitch = praat.pitch_of(centred, rate, *pitch_range)
        theirs = praat.pulses_of(centred, rate, pitch)
        ours = find_pulses(centred, pitch.selected_array["frequency"], pitch.x1, pitch.dx, rate)
        assert len(ours) == len(theirs)
        assert np.abs(ours - theirs).max(initial=0.0) <= 1e-6


def test_voiced_waveform_correlates_with_praats(pairs):
    correlations = []
    for analysis, _, ours, theirs, _, _ in pairs:
        inside = praat.voiced_interior(analysis)
        correlations.append(np.corrcoef(ours[inside], theirs[inside])[0, 1])
    assert np.median(correlations) >= 0.999
    assert np.quantile(correlations, 0.1) >= 0.99


def test_spectral_distance_is_within_praats_own_randomness(pairs):
    to_praat, among_praat = [], []
    for _, _, ours, theirs, again, rate in pairs:
        mels = [praat.log_mel(np.asarray(waveform, dtype=np.float64), rate) for waveform in (ours, theirs, again)]
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
        times = np.flatnonzero(praat.voiced_interior(analysis, 0.03))[:: int(0.02 * rate)] / rate
        ratio = praat.formants(ours, rate, times) / praat.formants(theirs, rate, times)
        errors.append(np.abs(np.nanmedian(ratio, axis=0) - 1.0).max())
    assert np.quantile(errors, 0.9) <= 0.01


def test_praats_ceiling_is_reproduced_on_request(speech):
    """With F0 * R at the ceiling Praat drops frames, from the median too; the flag does the same."""
    correlations = []
    for index, (waveform, rate) in enumerate(speech[:4]):
        free = analyse(waveform, rate)
        parameters = dataclasses.replace(draw_parameters(1, 0, str(index)), formant_ratio=1.3, pitch_range_ratio=1.0)
        ceiling = float(np.quantile(free.pitch[free.pitch > 0], 0.9)) * parameters.formant_ratio
        floor = min(free.floor, 0.4 * ceiling)
        pitch = praat.pitch_of(waveform, rate, floor, ceiling)
        contour = Contour(pitch.selected_array["frequency"].astype(np.float32), pitch.x1, pitch.dx)
        centred = waveform - waveform.mean()
        analysis = from_contour(centred, rate, contour, (floor, ceiling), len(waveform), formant_ratio=parameters.formant_ratio)
        kept = np.median(analysis.pitch[analysis.pitch > 0]) / np.median(contour.pitch[contour.pitch > 0])
        same = dataclasses.replace(parameters, pitch_median_ratio=parameters.pitch_median_ratio / float(kept))
        theirs = praat.change_gender(waveform, rate, pitch, parameters)
        inside = praat.voiced_interior(analysis)
        correlations.append(np.corrcoef(change_voice(waveform.astype(np.float32), analysis, same)[inside], theirs[inside])[0, 1])
    assert np.median(correlations) >= 0.999
