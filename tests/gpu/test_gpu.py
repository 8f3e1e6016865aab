"""On a CUDA GPU: the same numbers as on the CPU, and nothing in an update that waits for the GPU.

SPIN_GPU_TESTS_ON=cpu tries those that make sense without a GPU, to see that the tests themselves work.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import pytest
import torch

from spin.config import PerturbationConfig, SpinConfig
from spin.data.pair_cuts import scan_pair_cuts
from spin.data.pair_loader import PairLoader
from spin.data.pair_sampler import PairSampler
from spin.data.pairs import PairDataset, PairPart
from spin.data.second_view import SecondView
from spin.models.encoder import TINY_SHAPE, Encoder
from spin.models.spin_model import SpinModel
from spin.training.benchmark_corpus import make_corpus
from spin.training.spin_update import Updater
from spin.training.swapped_prediction import swapped_prediction

pytestmark = pytest.mark.gpu
SETTINGS = SpinConfig(codebook_size=64, warmup_steps=1, max_steps=20, learning_rate=1e-3)


@pytest.fixture(scope="module")
def device():
    if torch.cuda.is_available():
        return torch.device("cuda")
    if os.environ.get("SPIN_GPU_TESTS_ON") == "cpu":
        return torch.device("cpu")
    pytest.skip("no CUDA GPU")


@pytest.fixture
def cuda(device):
    if device.type != "cuda":
        pytest.skip("only a CUDA GPU can show it")
    return device


def make_model(device, layers: int = TINY_SHAPE.layers) -> SpinModel:
    torch.manual_seed(0)
    encoder = Encoder(dataclasses.replace(TINY_SHAPE, layers=layers))
    return SpinModel.create(encoder, layers, SETTINGS.codebook_size, 256, seed=0).set_trainable(2).to(device).train()


def noise(lengths: list[int]) -> PairPart:
    """Pairs of noise, padded to the longest."""
    random = torch.Generator().manual_seed(2)
    lengths = torch.tensor([*lengths, *lengths])
    waveforms = torch.zeros(len(lengths), int(lengths.max()))
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = 0.1 * torch.randn(int(length), generator=random)
    return PairPart(waveforms, lengths)


def test_loss_targets_and_gradients_of_the_official_code(device, golden_dir):
    golden = np.load(golden_dir / "spin_loss.npz")
    inputs = {name: torch.from_numpy(golden[name]).to(device).requires_grad_() for name in ("z1", "z2", "codebook")}
    result = swapped_prediction(*inputs.values())
    result.loss.backward()
    assert result.loss.item() == pytest.approx(float(golden["loss"]), rel=1e-4)
    for name, tensor in inputs.items():
        expected = torch.from_numpy(golden[f"grad_{name}"])
        assert float((tensor.grad.cpu() - expected).abs().max() / expected.abs().max()) < 1e-4


@pytest.mark.parametrize("lengths", [[16000] * 4, [16000, 12000, 9000, 5000]])
def test_float32_update_is_that_of_the_cpu(device, lengths):
    settings = dataclasses.replace(SETTINGS, precision="float32")
    norms = []
    for where in (torch.device("cpu"), device):
        updater = Updater(make_model(where), settings)
        norms.append([(found.loss.item(), found.gradient_norm.item()) for found in [updater.update([noise(lengths)], 1)]])
    assert np.allclose(norms[0], norms[1], rtol=2e-3)  # TF32 is off; sums in another order


def test_bf16_update_is_near_that_of_float32(device):
    losses = []
    for precision in ("float32", "bf16"):
        updater = Updater(make_model(device), dataclasses.replace(SETTINGS, precision=precision))
        losses.append([updater.update([noise([16000] * 4)], step).loss.item() for step in range(5)])
    assert np.isfinite(losses).all() and np.allclose(losses[0], losses[1], rtol=0.02)


@pytest.mark.parametrize("lengths", [[16000] * 4, [16000, 12000, 9000, 5000]])
def test_nothing_in_an_update_waits_for_the_gpu(cuda, lengths):
    updater = Updater(make_model(cuda), SETTINGS)
    part = noise(lengths).pin_memory()
    updater.update([part], 0)  # kernels are chosen and buffers made
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 4):
            updater.update([part], step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_optimiser_is_fused(cuda):
    assert Updater(make_model(cuda), SETTINGS).optimiser.defaults["fused"] is True


@pytest.mark.parametrize("lengths, flash", [([16000] * 4, True), ([16000, 12000, 9000, 5000], False)])
def test_batches_without_padding_use_flash_attention(cuda, lengths, flash):
    updater = Updater(make_model(cuda), dataclasses.replace(SETTINGS, precision="bf16"))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        updater.update([noise(lengths)], 0)
    used = any("flash_attention" in event.key or "cudnn_attention" in event.key for event in profile.key_averages())
    assert used == flash


def test_units_do_not_depend_on_the_batch_or_the_device(device):
    model = make_model(device).eval()
    part = noise([16000, 12000, 9000, 5000])
    here = make_model(torch.device("cpu")).eval().units(part.waveforms, part.lengths)
    batch = model.units(part.waveforms.to(device), part.lengths)
    alone = [
        model.units(row[None, :length].to(device), torch.tensor([int(length)]))[0]
        for row, length in zip(part.waveforms, part.lengths, strict=True)
    ]
    for one, other, third in zip(batch, alone, here, strict=True):
        # With random weights two codes may be nearly as near; trained ones are further apart.
        assert (one.cpu() == other.cpu()).float().mean() > 0.98 and (one.cpu() == third).float().mean() > 0.98


def test_loader_with_workers_hands_over_pinned_pairs_and_the_training_learns(device, tmp_path):
    manifest = make_corpus(tmp_path, 60.0, 1)
    cuts = scan_pair_cuts([manifest], min_samples=16000, max_samples=64000, batch_seconds=16.0, equal_lengths=True)
    sampler = PairSampler(cuts, 16.0, seed=0)
    loader = PairLoader(PairDataset(SecondView(0, PerturbationConfig())), sampler, 2, device)
    updater = Updater(make_model(device), SETTINGS)
    losses = []
    for step, batch in enumerate(loader):
        assert batch.parts[0].waveforms.is_pinned() == (device.type == "cuda")
        losses.append(updater.update(batch.parts, step).loss.item())
        if step == 15:
            break
    assert np.isfinite(losses).all() and np.mean(losses[-4:]) < np.mean(losses[:4])
