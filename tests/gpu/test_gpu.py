"""On a CUDA GPU: the same numbers as on the CPU, and nothing in an update that waits for the GPU.

SPIN_GPU_TESTS_ON=cpu runs those that make sense without a GPU, which checks the tests themselves.
"""

import dataclasses
import itertools
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from spin.config import Config, EncoderConfig, SpinConfig
from spin.data.loader import Batch, MicroBatch
from spin.models.architecture import TINY_SHAPE
from spin.objectives.model import SpinModel
from spin.runtime.devices import resolve_device
from spin.training.grad_cache import backward
from spin.training.loop import Training
from spin.training.monitor import Validation
from spin.units.kmeans import DeviceKMeans
from tests.objectives.test_spin import official_loss
from tests.training import tiny_training
from tests.training.test_grad_cache import take
from tests.training.tiny_training import noise_batch, weights

pytestmark = pytest.mark.gpu
SETTINGS = SpinConfig(
    codebook_size=64, warmup_steps=1, max_steps=16, learning_rate=1e-3, valid_every_steps=16, checkpoint_every_steps=8
)
CONFIG = Config(objective="rspin", encoder=EncoderConfig(layer=TINY_SHAPE.layers), spin=SETTINGS)
EQUAL, PADDED = [16000] * 4, [16000, 12000, 9000, 5000]


@pytest.fixture(scope="module")
def device():
    if torch.cuda.is_available():
        return resolve_device("cuda")
    if os.environ.get("SPIN_GPU_TESTS_ON") == "cpu":
        return torch.device("cpu")
    pytest.skip("no CUDA GPU")


@pytest.fixture
def cuda(device):
    if device.type != "cuda":
        pytest.skip("only a CUDA GPU can show it")
    return device


def make_model(device, layers: int = 2, arch: str = "hubert") -> SpinModel:
    """A small model with random weights; R-Spin without labels is Spin."""
    return tiny_training.make_model(CONFIG, dataclasses.replace(TINY_SHAPE, arch=arch)).set_trainable(layers).to(device)


def make_training(device, folder, **changes) -> Training:
    """A training on batches of noise that repeat every four steps."""
    batches = [MicroBatch(0.1 * batch.waveforms, batch.lengths) for batch in (noise_batch(PADDED, seed) for seed in range(4))]

    def endless(epoch: int, index: int):
        return (Batch(0, place, [batches[place % 4]], ids=["noise"], seconds=1.0) for place in range(index, 10**6))

    loader = SimpleNamespace(batches=endless, waited=0.0)
    config = dataclasses.replace(CONFIG, spin=dataclasses.replace(SETTINGS, **changes))
    return Training(config, folder, folder / "events", make_model(device), loader, Validation([]), SimpleNamespace(count=4))


def gradient_norm(model: SpinModel) -> float:
    return float(torch.stack([parameter.grad.norm() for parameter in model.trainable_parameters().values()]).norm())


def test_loss_and_gradients_of_the_official_code(device, golden_dir):
    official_loss(golden_dir, device, 1e-4, 1e-4)


@pytest.mark.parametrize("lengths", [EQUAL, PADDED])
@pytest.mark.parametrize("arch", ["hubert", "wavlm"])
def test_float32_gradients_are_those_of_the_cpu(device, lengths, arch):
    found = []
    for where in (torch.device("cpu"), device):
        model = make_model(where, arch=arch)
        found.append((backward(model, [noise_batch(lengths)]).value.item(), gradient_norm(model)))
    assert np.allclose(*found, rtol=2e-3)  # sums in another order; convolutions may use TF32


@pytest.mark.parametrize("arch", ["hubert", "wavlm"])
def test_bf16_is_near_float32(device, arch):
    losses = [
        backward(make_model(device, arch=arch), [noise_batch(PADDED)], dtype).value.item() for dtype in (None, torch.bfloat16)
    ]
    assert np.isfinite(losses).all() and np.allclose(*losses, rtol=0.02)


@pytest.mark.parametrize("layers", [2, TINY_SHAPE.layers + 1])
def test_micro_batches_have_the_gradient_of_the_whole_batch(device, layers):
    whole, found = noise_batch(EQUAL, labels=torch.arange(49).repeat(4, 1)), []
    for batches in ([whole], [take(whole, [0, 1]), take(whole, [2, 3])]):
        model = make_model(device, layers)
        model.objective.add_classifier(50, 5.0, seed=0)
        found.append((backward(model.to(device), batches).value.item(), gradient_norm(model)))
    assert np.allclose(*found, rtol=1e-3)


@pytest.mark.parametrize("lengths", [EQUAL, PADDED])
def test_nothing_in_an_update_waits_for_the_gpu(cuda, tmp_path, lengths):
    training, batch = make_training(cuda, tmp_path), pin_memory(noise_batch(lengths))  # as DataLoader does

    def update(step: int) -> None:
        rate = training._set_learning_rate(step)
        training.optimizer.zero_grad(set_to_none=True)
        loss = backward(training.model, [batch], torch.bfloat16, with_sums=True)
        norm = torch.nn.utils.clip_grad_norm_(training.parameters.values(), 10.0)
        training.optimizer.step()
        training.model.objective.after_step()
        training.monitor.add(step, rate, loss, norm, Batch(0, step, ids=["noise"]))

    update(0)  # kernels are chosen and buffers made
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 4):
            update(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(("lengths", "flash"), [(EQUAL, True), (PADDED, False)])
def test_batches_without_padding_use_flash_attention(cuda, lengths, flash):
    model = make_model(cuda)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        backward(model, [noise_batch(lengths)], torch.bfloat16)
    assert any("flash_attention" in event.key for event in profile.key_averages()) == flash
    assert not any("cudnn_attention" in event.key for event in profile.key_averages())


def test_units_do_not_depend_on_the_batch_or_the_device(device):
    model, batch = make_model(device).eval(), noise_batch(PADDED)
    expected = make_model(torch.device("cpu")).eval().units(batch.waveforms, batch.lengths)
    together = model.units(batch.waveforms.to(device), batch.lengths)
    alone = [
        model.units(row[None, :length].to(device), torch.tensor([int(length)]))[0]
        for row, length in zip(batch.waveforms, batch.lengths, strict=True)
    ]
    for one, other, third in zip(together, alone, expected, strict=True):
        # With random weights two codes may be nearly as near; trained ones are further apart.
        assert (one.cpu() == other.cpu()).float().mean() > 0.98 and (one.cpu() == third).float().mean() > 0.98


@pytest.mark.parametrize("compile", [False, True])
def test_a_training_learns_and_resumes(device, tmp_path, compile):
    if compile and device.type != "cuda":
        pytest.skip("needs a C++ compiler on a CPU")
    whole = make_training(device, tmp_path / "whole", compile=compile)
    assert whole.optimizer.defaults["fused"] is (device.type == "cuda")
    losses, report = [], whole.monitor.report
    whole.monitor.report = lambda waited: (report(waited), losses.append(whole.monitor.loss))
    whole.run()
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    part = make_training(device, tmp_path / "part", compile=compile)
    part.monitor.add = lambda step, *rest: (_ for _ in ()).throw(KeyboardInterrupt) if step == 10 else None
    part.monitor.report = lambda waited: None
    with pytest.raises(KeyboardInterrupt):
        part.run()
    resumed = make_training(device, tmp_path / "part", compile=compile)
    assert resumed.step == 8
    resumed.run()
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=1e-2, atol=1e-3)


def test_kmeans_on_the_device_is_that_of_the_cpu(device):
    frames = np.random.default_rng(0).normal(size=(4000, 16)).astype(np.float32)
    models = [DeviceKMeans(frames[:50], place) for place in (device, torch.device("cpu"))]
    for model, batch in itertools.product(models, np.split(frames, 4)):
        model.partial_fit(batch)
    assert models[0].score(frames) == pytest.approx(models[1].score(frames), rel=1e-3)
