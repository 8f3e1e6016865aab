"""Batches, GPUs and padding of the extractor."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin.errors import ConfigError, DataError
from spin.models.importers import load_encoder
from spin.systems import System
from spin.units.extraction import make_batches, to_float16
from spin.units.extractors import extract, join_frames, open_extractors


@given(st.lists(st.floats(0.1, 30.0), max_size=40), st.floats(5.0, 60.0))
def test_batches_hold_every_cut_once_within_the_bound(durations, batch_seconds):
    cuts = [SimpleNamespace(id=str(number), duration=duration) for number, duration in enumerate(durations)]
    batches = make_batches(cuts, batch_seconds)
    assert sorted(cut.id for batch in batches for cut in batch) == sorted(cut.id for cut in cuts)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(cut.duration for cut in batch) <= batch_seconds


@pytest.mark.parametrize("official_padding", [False, True])
def test_several_layers_in_one_pass(small_models, official_padding):
    """Each utterance alone, or with official padding the batch as one; layers by number and the system's own."""
    system = System("baseline", "encoder", str(small_models[0]), 3)
    extractors = open_extractors((system,), official_padding, "cpu")
    random = np.random.default_rng(0)
    waveforms = [random.normal(size=size).astype(np.float32) for size in (8000, 5000)]
    results = extract(extractors, {system: [None, 1, 2]}, waveforms, torch.device("cpu"))
    encoder = load_encoder(small_models[0])
    encoder.official_padding = official_padding
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(waveform) for waveform in waveforms], batch_first=True)
    for layer, number in ((None, 3), (1, 1), (2, 2)):
        expected = encoder.layer_output(padded, torch.tensor([8000, 5000]), number)
        for result, own in zip(results, expected, strict=True):
            assert np.array_equal(result[system].features[layer], own.numpy()) and result[system].units is None
    with pytest.raises(ConfigError, match="1 to 3"):
        extractors[system].check_layer(4)


def test_frames_are_joined_by_hand():
    """Three frames of 10 ms make two of 20 ms with the last one repeated, or one without it."""
    frames = np.array([[1.0], [2.0], [3.0]], np.float32)
    assert join_frames(frames, 2).tolist() == [[1, 2], [3, 3]] and join_frames(frames, 1).tolist() == [[1, 2]]
    assert join_frames(frames, 2).dtype == np.float16


def test_values_that_float16_cannot_hold_are_an_error():
    assert to_float16("u", np.array([65_504.0])).tolist() == [65_504.0]
    for value in (70_000.0, np.nan):
        with pytest.raises(DataError, match="finite values below 65,504"):
            to_float16("u", np.array([value]))
