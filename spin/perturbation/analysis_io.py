"""The analysis of a recording, to and from the custom fields of its lhotse cut."""

from __future__ import annotations

import numpy as np
from lhotse import MonoCut
from lhotse.array import Array, TemporalArray
from lhotse.utils import fastcopy

from spin import artifacts
from spin.data.store import ArrayWriter, load_array
from spin.errors import DataError
from spin.perturbation.analysis import Analysis

PULSE_GRID = 2.0**20  # pulses are stored in such parts of a sample: finer than 1e-6, and the zeros after that compress


def store_analysis(writer: ArrayWriter, key: str, analysis: Analysis, start_sample: int = 0) -> dict:
    """Writes the arrays and returns the custom fields as plain values, ready for JSON.

    Args:
        writer: takes the arrays.
        key: utterance id.
        analysis: analysis of the cut's stretch of its recording.
        start_sample: start of that stretch; what is stored counts from the start of the recording.
    """
    offset = start_sample / analysis.sample_rate
    pitch = writer.write(key, analysis.pitch.astype(np.float32), analysis.step, offset + analysis.start)
    pulses = writer.write(key, np.round(analysis.pulses * PULSE_GRID) / PULSE_GRID + start_sample)
    return {
        artifacts.PITCH_FIELD: pitch.to_dict(),
        artifacts.PULSES_FIELD: pulses.to_dict(),
        artifacts.PITCH_START_FIELD: offset + analysis.start,
        artifacts.PITCH_SHIFTED_START_FIELD: offset + analysis.contour_start,
        artifacts.PITCH_STEP_FIELD: analysis.step,
        artifacts.PITCH_FLOOR_FIELD: analysis.floor,
        artifacts.PITCH_CEILING_FIELD: analysis.ceiling,
        artifacts.PITCH_NOTE_FIELD: analysis.note,
    }


def add_analysis(cut: MonoCut, fields: dict) -> MonoCut:
    """A copy of the cut that carries the fields of store_analysis."""
    arrays = {
        artifacts.PITCH_FIELD: TemporalArray.from_dict(fields[artifacts.PITCH_FIELD]),
        artifacts.PULSES_FIELD: Array.from_dict(fields[artifacts.PULSES_FIELD]),
    }
    return fastcopy(cut, custom={**(cut.custom or {}), **fields, **arrays})


def load_analysis(cut: MonoCut) -> Analysis:
    """The stored analysis, in time of the whole recording whatever stretch of it the cut is.

    For a cut that was truncated: load_analysis(cut).crop(round(cut.start * cut.sampling_rate), cut.num_samples).

    Raises:
        DataError: stage 1 has not analysed this utterance, or its arrays are damaged.
    """
    custom = cut.custom or {}
    if artifacts.PITCH_STEP_FIELD not in custom:
        raise DataError(
            f"utterance {cut.id}",
            found=f"no field {artifacts.PITCH_STEP_FIELD} in its cut",
            expected="the pitch analysis of stage 1",
            cause="a manifest of stage 0",
            remedy="run stage 1, and read pitch/<part>/cuts.jsonl.gz",
        )
    return Analysis(
        sample_rate=cut.sampling_rate,
        num_samples=cut.recording.num_samples,
        pitch=load_array(cut, artifacts.PITCH_FIELD),
        start=custom[artifacts.PITCH_START_FIELD],
        step=custom[artifacts.PITCH_STEP_FIELD],
        floor=custom[artifacts.PITCH_FLOOR_FIELD],
        ceiling=custom[artifacts.PITCH_CEILING_FIELD],
        pulses=load_array(cut, artifacts.PULSES_FIELD),
        contour_start=custom[artifacts.PITCH_SHIFTED_START_FIELD],
        note=custom[artifacts.PITCH_NOTE_FIELD],
    )
