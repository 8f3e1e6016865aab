"""Loss and gradients of pairs through the whole model, against the official code on the same weights (float32, CPU)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from spin.config import SpinConfig
from spin.data.pairs import PairPart
from spin.models.spin_model import load_model
from spin.training.spin_update import Updater
from spin.training.swapped_prediction import summary

NAMES = {
    "encoder.model.encoder.": "encoder.",
    "self_attn.k_proj": "attention.k",
    "self_attn.v_proj": "attention.v",
    "self_attn.q_proj": "attention.q",
    "self_attn.out_proj": "attention.out",
    "self_attn_layer_norm": "attention_norm",
    "final_layer_norm": "final_norm",
    "fc1": "ffn_in",
    "fc2": "ffn_out",
    "pred_head.layers.0": "head",
    "loss_module.codebook": "codebook",
}
NOISE = 1e-6  # keys' biases shift every score of a row alike: their gradient is rounding noise


@pytest.fixture(scope="module")
def updated(golden_dir):
    """(model with gradients, result, official figures) of the three pairs, padded as the official code does."""
    golden = np.load(golden_dir / "hubert_spin_golden.npz")
    torch.set_num_threads(1)
    model = load_model(golden_dir / "spin_official.ckpt", base=golden_dir / "hubert_s3prl_converted.pt").set_trainable(2)
    order = [0, 2, 4, 1, 3, 5]  # first views, then second views
    part = PairPart(torch.from_numpy(golden["wav"][order]), torch.from_numpy(golden["lens"][order]))
    updater = Updater(model, SpinConfig(precision="float32"), official_padding=True)
    return model, updater.gradients([part], with_statistics=True), golden


def test_loss_and_agreement(updated):
    _, result, golden = updated
    figures = summary(result.statistics)
    assert result.loss.item() == pytest.approx(float(golden["loss"]), rel=1e-4)
    assert figures["agreement"] == pytest.approx(float(golden["acc"]), rel=1e-4)
    assert figures["code_perplexity"] == pytest.approx(float(golden["code_ppl"]), rel=1e-4)
    assert figures["probability_perplexity"] == pytest.approx(float(golden["prob_ppl"]), rel=1e-4)


def test_gradient_norm_of_every_trained_parameter(updated, golden_dir):
    model = updated[0]
    found = {name: float(p.grad.norm()) for name, p in model.named_parameters() if p.requires_grad}
    official = json.loads((golden_dir / "grad_norms.json").read_text())
    expected = {}
    for name, norm in official.items():
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        expected[name] = norm
    assert found.keys() == expected.keys()
    for name, norm in expected.items():
        assert found[name] == pytest.approx(norm, rel=1e-4, abs=NOISE), name
    assert all(parameter.grad is None for parameter in model.parameters() if not parameter.requires_grad)
