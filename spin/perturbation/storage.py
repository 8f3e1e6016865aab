"""The analysis of a recording, to and from the custom fields of its lhotse cut."""

from __future__ import annotations

import dataclasses

import numpy as np
from lhotse import MonoCut
from lhotse.array import Array, TemporalArray

from spin import artifacts
from spin.errors import DataError
from spin.perturbation.analysis import Analysis
from spin.perturbation.packed import PackedWriter

PULSE_GRID = 2.0**20  # parts of a sample that pulses are stored in: finer than 1e-6, and the zeros after that compress


def store_analysis(writer: PackedWriter, key: str, analysis: Analysis, start_sample: int = 0) -> dict:
    """Writes the arrays and returns the custom fields as plain values, ready for JSON.

    Args:
        writer: of the file that takes the arrays.
        key: the utterance id.
        analysis: of the cut's stretch of its recording.
        start_sample: where that stretch begins; what is stored counts from the start of the recording.
    """
    offset = start_sample / analysis.sample_rate
    pitch = writer.store_array(
        key, analysis.pitch.astype(np.float32), frame_shift=analysis.step, temporal_dim=0, start=offset + analysis.start
    )
    pulses = writer.store_array(key, np.round(analysis.pulses * PULSE_GRID) / PULSE_GRID + start_sample)
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


def with_fields(cut: MonoCut, fields: dict) -> MonoCut:
    """A copy of the cut that carries what store_analysis returned."""
    fields = dict(fields)
    fields[artifacts.PITCH_FIELD] = TemporalArray.from_dict(fields[artifacts.PITCH_FIELD])
    fields[artifacts.PULSES_FIELD] = Array.from_dict(fields[artifacts.PULSES_FIELD])
    return dataclasses.replace(cut, custom={**(cut.custom or {}), **fields})


def load_analysis(cut: MonoCut) -> Analysis:
    """The stored analysis, in time of the whole recording whatever stretch of it the cut is.

    For a cut that was truncated: load_analysis(cut).crop(round(cut.start * cut.sampling_rate), cut.num_samples).

    Raises:
        DataError: stage 1 has not analysed this utterance, or its arrays are damaged.
    """
    custom = cut.custom or {}
    missing = [name for name in (artifacts.PITCH_FIELD, artifacts.PULSES_FIELD, artifacts.PITCH_STEP_FIELD) if name not in custom]
    if missing:
        raise DataError(
            f"utterance {cut.id}",
            found=f"no field {', '.join(missing)} in its cut",
            expected="the pitch analysis of stage 1",
            cause="the manifest is one of stage 0",
            remedy="run stage 1, and read cuts_<part>_pitch.jsonl.gz",
        )
    return Analysis(
        sample_rate=cut.sampling_rate,
        num_samples=cut.recording.num_samples,
        pitch=custom[artifacts.PITCH_FIELD].array.load(),
        start=custom[artifacts.PITCH_START_FIELD],
        step=custom[artifacts.PITCH_STEP_FIELD],
        floor=custom[artifacts.PITCH_FLOOR_FIELD],
        ceiling=custom[artifacts.PITCH_CEILING_FIELD],
        pulses=custom[artifacts.PULSES_FIELD].load(),
        contour_start=custom[artifacts.PITCH_SHIFTED_START_FIELD],
        note=custom[artifacts.PITCH_NOTE_FIELD],
    )
