"""Every layer, length and code against the figures of the original implementations; losses: tests/training/test_grad_cache.py."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import spin
from spin.models.importers import load_encoder
from spin.objectives.model import SpinModel, load_model


@pytest.fixture(scope="module")
def hubert(golden_dir):
    with np.load(golden_dir / "hubert_spin_golden.npz") as figures:
        return {name: figures[name] for name in figures.files}


@pytest.mark.parametrize("name", ["hubert_fairseq.pt", "hubert_s3prl_converted.pt"])
@torch.no_grad()
def test_hubert_official_padding(golden_dir, hubert, assert_close, name):
    encoder = spin.load_encoder(golden_dir / name, official_padding=True)
    waveforms, lengths = torch.tensor(hubert["wav"]), torch.tensor(hubert["lens"])
    hidden, frame_lengths = encoder(waveforms, lengths)
    assert frame_lengths.tolist() == hubert["feat_len"].tolist()
    assert_close(encoder.local_features(waveforms, lengths)[0], hubert["layer0"])
    for layer in range(1, 5):
        assert_close(hidden[layer], hubert[f"layer{layer}"])


@torch.no_grad()
def test_hubert_batch_equals_each_utterance_alone(golden_dir, hubert, assert_close):
    encoder = load_encoder(golden_dir / "hubert_fairseq.pt")
    hidden, frame_lengths = encoder(torch.tensor(hubert["wav"]), torch.tensor(hubert["lens"]))
    for i in range(6):
        alone = hubert[f"single{i}_layer4"]
        assert frame_lengths[i] == alone.shape[1]
        assert_close(hidden[4][i : i + 1, : frame_lengths[i]], alone)


@pytest.mark.parametrize(
    ("name", "figures", "first"),
    [
        ("hf_hubert", "hf_hubert/golden.npz", 0),
        ("hf_wavlm", "hf_wavlm/golden.npz", 0),
        ("wavlm_unilm.pt", "wavlm_unilm_golden.npz", 1),
    ],
)
@torch.no_grad()
def test_transformers_folders_and_unilm(golden_dir, assert_close, name, figures, first):
    """Layers of the figures begin with our layer `first`."""
    encoder, golden = load_encoder(golden_dir / name), np.load(golden_dir / figures)
    lengths = (golden["mask"] if "mask" in golden else ~golden["padding_mask"]).sum(1)
    waveforms, lengths = torch.tensor(golden["wav"]), torch.tensor(lengths)
    hidden, frames = encoder(waveforms, lengths)
    encoder.official_padding = True
    official, _ = encoder(waveforms, lengths)
    for layer in range(first, 5):
        assert_close(official[layer], golden[f"layer{layer - first}"])
        assert_close(hidden[layer][1:, : frames[1]], golden[f"short_layer{layer - first}"])


def project(model: SpinModel, waveforms: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """(z, similarities to the codes, frame lengths) of a padded batch."""
    hidden, frames = model.encoder(waveforms, lengths, model.layer)
    projections = model.head(hidden[-1])
    return torch.nn.functional.normalize(projections, dim=-1), model.objective.similarities(projections), frames


@torch.no_grad()
def test_official_spin_checkpoint_in_a_padded_batch(golden_dir, hubert, assert_close):
    model = load_model(golden_dir / "spin_official.ckpt")
    model.encoder.official_padding = True
    waveforms, lengths = torch.tensor(hubert["wav"]), torch.tensor(hubert["lens"])
    z, logits, frame_lengths = project(model, waveforms, lengths)
    assert frame_lengths.tolist() == hubert["feat_len"].tolist()
    assert_close(z, hubert["repr"])
    assert_close(logits / 0.1, hubert["logits"])
    assert np.array_equal(logits.argmax(-1), hubert["codes"])
    units = model.units(waveforms, lengths)
    assert all(np.array_equal(row, codes[:n]) for row, codes, n in zip(units, hubert["codes"], hubert["feat_len"], strict=True))


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4, 5], [5, 2, 0], [3], [2, 4, 4, 2, 1]])
def test_units_of_the_official_checkpoint_do_not_depend_on_the_batch(golden_dir, hubert, order):
    model = load_model(golden_dir / "spin_official.ckpt")
    waveforms, lengths = torch.tensor(hubert["wav"])[order], torch.tensor(hubert["lens"])[order]
    _, logits, frames = project(model, waveforms, lengths)
    for row, n, units, i in zip(logits.argmax(-1), frames, model.units(waveforms, lengths), order, strict=True):
        assert np.array_equal(units, hubert[f"single{i}_codes"][0])
        assert np.array_equal(row[:n], hubert[f"single{i}_codes"][0])
