"""One update: nothing in it waits for the device, parts and ranks equal the whole batch, compiled parts equal plain ones."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from spin.data.pairs import PairPart
from spin.models import extractor
from spin.models.encoder import Encoder
from spin.models.spin_model import SpinModel
from spin.training import ranks
from spin.training.spin_update import Updater
from tests.training.tiny_training import SETTINGS, SHAPE

LENGTHS = [[16000] * 4, [16000, 12000, 9000, 5000]]


def make_model(layers: int = 2, **shape) -> SpinModel:
    torch.manual_seed(0)
    model = SpinModel.create(Encoder(dataclasses.replace(SHAPE, **shape)), 3, 16, 24, seed=0)
    return model.set_trainable(layers).train()


def noise(lengths: list[int], seed: int = 2) -> PairPart:
    """Pairs of noise, padded to the longest."""
    random = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([*lengths, *lengths])
    waveforms = torch.zeros(len(lengths), int(lengths.max()))
    for row, length in zip(waveforms, lengths, strict=True):
        row[:length] = 0.1 * torch.randn(int(length), generator=random)
    return PairPart(waveforms, lengths)


class _NoWaiting(TorchDispatchMode):
    """Refuses what would wait for a device; tensors on `meta`, which have no values at all, stand for those on a GPU."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        found = function(*arguments, **keywords)
        tensors = [value for value in arguments if isinstance(value, torch.Tensor)]
        moved = isinstance(found, torch.Tensor) and any(value.device != found.device for value in tensors if value.dim())
        non_blocking = keywords.get("non_blocking") or (function is torch.ops.aten.copy_.default and True in arguments[2:3])
        assert not moved or non_blocking, f"{function} waits for the device"
        return found


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("shape", [{}, {"arch": "wavlm"}, {"waveform_norm_eps": 1e-5, "extractor_norm": "layer"}])
@pytest.mark.parametrize("parts", [1, 2])
def test_nothing_in_an_update_waits_for_the_device(monkeypatch, lengths, shape, parts):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # knows no meta device
    updater = Updater(make_model(**shape).to("meta"), SETTINGS)
    with _NoWaiting():
        update = updater.update([noise(lengths)] * parts, 1, with_statistics=True)
    assert update.loss.is_meta and update.gradient_norm.is_meta
    with pytest.raises((RuntimeError, NotImplementedError)):  # as it does for what would have been read here
        float(update.loss)


def test_a_waiting_copy_is_noticed():
    with _NoWaiting(), pytest.raises(AssertionError, match="waits"):
        torch.ones(3).to("meta")


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
@pytest.mark.parametrize("arch", ["hubert", "wavlm"])
def test_parts_have_the_gradient_of_the_whole_batch_and_run_frozen_layers_once(monkeypatch, layers, arch):
    calls = []
    forward = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda self, *arguments: calls.append(1) or forward(self, *arguments))
    outcomes = []
    whole = noise([9000, 8000, 7000, 6000])
    halves = [
        PairPart(whole.waveforms[rows], whole.lengths[rows]) for rows in (torch.tensor([0, 2, 4, 6]), torch.tensor([1, 3, 5, 7]))
    ]
    for parts in ([whole], [halves[0], None, halves[1]]):
        updater = Updater(make_model(layers, arch=arch), SETTINGS)
        result = updater.gradients(parts)
        outcomes.append([result.loss.detach(), *(parameter.grad for parameter in updater.parameters)])
    assert len(calls) == 3
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def _one_rank(rank: int, size: int, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size)
    torch.save(_update(noise(LENGTHS[1]), slice(rank, None, size)), folder / f"rank{rank}.pt")
    ranks.finish()


def _update(whole: PairPart, share: slice) -> dict:
    """Loss, targets and weights after one update from this share of the utterances."""
    rows = torch.cat([torch.arange(4)[share], 4 + torch.arange(4)[share]])
    updater = Updater(make_model(), dataclasses.replace(SETTINGS, warmup_steps=0))
    part = PairPart(whole.waveforms[rows], whole.lengths[rows])
    frames = updater.model.encoder.feature_extractor.frame_lengths(part.lengths[: len(rows) // 2]).tolist()
    targets = updater._loss(updater.projections(part), False).targets.split(frames, dim=1)
    update = updater.update([part], 0)
    weights = {name: value.detach() for name, value in updater.model.state_dict().items()}
    return {"loss": update.loss, "norm": update.gradient_norm, "targets": list(targets), "weights": weights}


def test_two_ranks_equal_one_with_the_whole_batch(tmp_path):
    torch.multiprocessing.start_processes(_one_rank, (2, tmp_path), nprocs=2, start_method="fork")
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2))
    one = _update(noise(LENGTHS[1]), slice(None))
    near = {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(first["loss"] + second["loss"], one["loss"], **near)
    torch.testing.assert_close(first["norm"], one["norm"], **near)
    targets = [first["targets"][0], second["targets"][0], first["targets"][1], second["targets"][1]]
    torch.testing.assert_close(targets, one["targets"], **near)
    for name, value in one["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name])
        torch.testing.assert_close(first["weights"][name], value, **near)


def test_compiled_parts_are_traced_whole_and_equal_plain_ones(monkeypatch):
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(extractor, "_group_norm_of_rows", extractor.group_norm_by_mask)  # as on a GPU
    # The tracer alone, and no code in between that it could not follow: needs no C++ compiler.
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: compiled(self, backend="eager", fullgraph=True, **options)
    )
    outcomes = []
    for speed_up in ("none", "compile"):
        updater = Updater(make_model(), dataclasses.replace(SETTINGS, speed_up=speed_up))
        update = updater.update([noise(LENGTHS[1])], 1)
        outcomes.append([update.loss, *updater.model.state_dict().values()])
    for one, other in zip(*outcomes, strict=True):
        torch.testing.assert_close(one, other)
