"""The analysis of a recording, to and from the custom fields of its lhotse cut."""

import dataclasses

import numpy as np
from lhotse import MonoCut
from lhotse.array import Array, TemporalArray
from lhotse.utils import fastcopy

from spin.data.store import ArrayWriter, load_array
from spin.perturbation.analysis import Analysis

PULSE_GRID = 2.0**20  # pulses are stored in such parts of a sample: finer than 1e-6, and the zeros after that compress
PITCH, PULSES, NOTE = "pitch", "pulses", "pitch_note"  # custom fields: two arrays, and Analysis.note
PLAIN_FIELDS = {  # fields of Analysis -> custom fields that hold plain values
    "start": "pitch_start",
    "contour_start": "pitch_shifted_start",
    "step": "pitch_step",
    "floor": "pitch_floor",
    "ceiling": "pitch_ceiling",
    "note": NOTE,
}


def store_analysis(writer: ArrayWriter, key: str, analysis: Analysis, start_sample: int = 0) -> dict:
    """Writes the arrays under an utterance's id, and returns the custom fields as plain values, ready for JSON.

    `start_sample` is where the analysed stretch starts in its recording. What is stored counts from the recording's start.
    """
    offset = start_sample / analysis.sample_rate
    stored = dataclasses.replace(analysis, start=offset + analysis.start, contour_start=offset + analysis.contour_start)
    pitch = writer.write(key, analysis.pitch.astype(np.float32), analysis.step, stored.start)
    pulses = writer.write(key, np.round(analysis.pulses * PULSE_GRID) / PULSE_GRID + start_sample)
    plain = {field: getattr(stored, name) for name, field in PLAIN_FIELDS.items()}
    return {PITCH: pitch.to_dict(), PULSES: pulses.to_dict(), **plain}


def add_analysis(cut: MonoCut, fields: dict) -> MonoCut:
    """A copy of the cut that carries the fields of store_analysis."""
    arrays = {PITCH: TemporalArray.from_dict(fields[PITCH]), PULSES: Array.from_dict(fields[PULSES])}
    return fastcopy(cut, custom={**(cut.custom or {}), **fields, **arrays})


def load_analysis(cut: MonoCut) -> Analysis:
    """The stored analysis, in time of the whole recording whatever stretch of it the cut is.

    For a cut that was truncated: load_analysis(cut).crop(round(cut.start * cut.sampling_rate), cut.num_samples). DataError where
    stage 1 has not analysed this utterance, or its arrays are damaged.
    """
    return Analysis(
        sample_rate=cut.sampling_rate,
        num_samples=cut.recording.num_samples,
        pitch=load_array(cut, PITCH),
        pulses=load_array(cut, PULSES),
        **{name: cut.custom[field] for name, field in PLAIN_FIELDS.items()},
    )
