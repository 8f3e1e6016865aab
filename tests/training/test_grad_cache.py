"""Gradients: those of the official code, of the whole batch for any micro-batches and ranks, and nothing waits for the device."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from spin.config import DCSpinConfig
from spin.data.loader import MicroBatch
from spin.models.encoder import Encoder
from spin.models.model_files import SPIN_NAMES
from spin.models.weights import FAIRSEQ, names_in_file
from spin.objectives import NO_LABEL, rspin
from spin.objectives.model import SpinModel, load_model
from spin.runtime import distributed
from spin.training.grad_cache import backward
from spin.training.loop import compile_encoder
from tests.training.test_distributed import NEAR, run_on_ranks
from tests.training.tiny_training import SHAPE, make_config, make_model, noise_batch

NOISE = 1e-6  # keys' biases shift every score of a row alike: their gradient is rounding noise
LENGTHS = [[16000] * 4, [16000, 12000, 9000, 5000]]


def test_loss_figures_and_gradient_norms_are_the_official_ones(golden_dir):
    """Three pairs, padded as in the official code."""
    golden = np.load(golden_dir / "hubert_spin_golden.npz")
    torch.set_num_threads(1)
    model = load_model(golden_dir / "spin_official.ckpt", base=golden_dir / "hubert_s3prl_converted.pt").set_trainable(2)
    model.encoder.official_padding = True
    order = [0, 2, 4, 1, 3, 5]  # first views, then second views
    batch = MicroBatch(torch.from_numpy(golden["wav"][order]), torch.from_numpy(golden["lens"][order]))
    loss = backward(model, [batch], with_sums=True)
    figures = model.objective.compute_metrics(loss.sums) | {"loss": loss.value.item()}
    names = {"loss": "loss", "agreement": "acc", "code_perplexity": "code_ppl", "probability_perplexity": "prob_ppl"}
    assert figures == pytest.approx({name: float(golden[theirs]) for name, theirs in names.items()}, rel=1e-4)
    norms = json.loads((golden_dir / "grad_norms.json").read_text())
    for name, parameter in model.trainable_parameters().items():
        part, own = name.split(".", 1)
        theirs = f"encoder.model.{names_in_file(own, FAIRSEQ)[0]}" if part == "encoder" else SPIN_NAMES[own]
        assert float(parameter.grad.norm()) == pytest.approx(norms.pop(theirs), rel=1e-4, abs=NOISE), name
    assert norms == {}
    assert all(parameter.grad is None for parameter in model.parameters() if not parameter.requires_grad)


def make(objective: str = "spin", layers: int = 2, **shape) -> SpinModel:
    parts = {"objective": objective, "dcspin": DCSpinConfig(auxiliary_size=20)}
    config = dataclasses.replace(make_config(trainable_layers=layers), **parts)
    model = make_model(config, dataclasses.replace(SHAPE, **shape))
    if objective == "rspin":
        model.objective.add_classifier(7, 5.0, seed=0)
    return model


def draw_labels(lengths: list[int]) -> torch.Tensor:
    """Labels (B, T) with some frames unlabelled."""
    labels = torch.randint(7, (len(lengths), (max(lengths) - 400) // 320 + 1), generator=torch.Generator().manual_seed(4))
    labels[:, ::5] = NO_LABEL
    return labels


def take(batch: MicroBatch, chosen: list[int]) -> MicroBatch:
    """Some utterances of a batch, with both views."""
    rows = torch.tensor([*chosen, *(row + len(batch.lengths) // 2 for row in chosen)])
    return MicroBatch(batch.waveforms[rows], batch.lengths[rows], None if batch.labels is None else batch.labels[chosen])


class NoWaiting(TorchDispatchMode):
    """Rejects what would wait for a device; tensors on `meta`, which have no values, take the part of those on a GPU."""

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
@pytest.mark.parametrize(("objective", "count"), [("spin", 1), ("spin", 2), ("rspin", 2), ("dcspin", 1)])
def test_nothing_in_an_update_waits_for_the_device(monkeypatch, lengths, shape, objective, count):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # knows no meta device
    monkeypatch.setattr(rspin, "checkpoint", lambda function, *arguments, **_: function(*arguments))  # nor does this
    model = make(objective, **shape).to("meta")
    labels = draw_labels(lengths) if objective == "rspin" else None
    with NoWaiting():
        loss = backward(model, [noise_batch(lengths, labels=labels)] * count, with_sums=True)
    assert loss.value.is_meta and all(value.is_meta for value in loss.sums.values())
    with pytest.raises(RuntimeError):  # as it does for anything that would have been read here
        float(loss.value)


def test_a_waiting_copy_is_noticed():
    with NoWaiting(), pytest.raises(AssertionError, match="waits"):
        torch.ones(3).to("meta")


@pytest.mark.parametrize("layers", [0, 1, 3, 4])
@pytest.mark.parametrize(("objective", "arch"), [("spin", "hubert"), ("spin", "wavlm"), ("rspin", "hubert"), ("dcspin", "wavlm")])
def test_micro_batches_have_the_gradient_of_the_whole_batch(monkeypatch, layers, objective, arch):
    calls = []
    forward = Encoder.forward
    monkeypatch.setattr(Encoder, "forward", lambda self, *arguments: calls.append(1) or forward(self, *arguments))
    lengths = [9000, 8000, 7000, 6000]
    labels = draw_labels(lengths) if objective == "rspin" else None
    whole, outcomes = noise_batch(lengths, labels=labels), []
    for micro_batches in ([whole], [take(whole, [0, 2]), None, take(whole, [1, 3])]):
        model = make(objective, layers, arch=arch)
        loss = backward(model, micro_batches)
        gradients = {name: parameter.grad for name, parameter in model.trainable_parameters().items()}
        outcomes.append({"loss": loss.value.detach(), **gradients})
    assert len(calls) == (3 if layers < 4 else 5)  # frozen layers run once; the whole encoder has none
    # The order of frames differs, and with it the rounding of sums.
    torch.testing.assert_close(outcomes[0], outcomes[1], **NEAR)


def test_utterances_without_labels_have_no_part_in_the_auxiliary_loss():
    lengths = [9000, 8000]
    labels = draw_labels(lengths)
    labels[1] = NO_LABEL
    losses = []
    for some in (labels, torch.full_like(labels, NO_LABEL)):
        loss = backward(make("rspin"), [noise_batch(lengths, labels=some)], with_sums=True)
        losses.append(float(loss.sums["labels"]))
    assert losses == [2 * int((labels[0] != NO_LABEL).sum()), 0]


def _one_rank(rank: int, shares: list[list[int]], folder):
    torch.save(_gradients(shares[rank]), folder / f"rank{rank}.pt")


def _gradients(chosen: list[int]) -> dict:
    """Loss, statistics and gradients from this share of four utterances, added over all ranks."""
    model, whole = make("rspin"), noise_batch(LENGTHS[1], labels=draw_labels(LENGTHS[1]))
    loss = backward(model, [take(whole, chosen) if chosen else None], with_sums=True)
    distributed.sum_gradients(model.trainable_parameters().values())
    sums = {name: distributed.all_reduce_sum(value.detach()) for name, value in {"loss": loss.value, **loss.sums}.items()}
    return sums | {name: parameter.grad for name, parameter in model.trainable_parameters().items()}


@pytest.mark.parametrize("shares", [[[0, 2], [1, 3]], [[0, 1, 2, 3], []]])
def test_two_ranks_equal_one_with_the_whole_batch(tmp_path, shares):
    assert run_on_ranks(2, _one_rank, shares, tmp_path) == [0, 0]
    found = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    torch.testing.assert_close(found[0], _gradients([0, 1, 2, 3]), **NEAR)


def test_compiled_modules_are_traced_whole_and_equal_plain_ones(monkeypatch):
    compiled = torch.nn.Module.compile
    # The tracer alone, and no code in between that it could not follow: needs no C++ compiler.
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: compiled(self, backend="eager", fullgraph=True, **options)
    )
    outcomes = []
    for compiles in (False, True):
        model = make()
        if compiles:
            compile_encoder(model.encoder)
        loss = backward(model, [noise_batch(LENGTHS[1])])
        outcomes.append([loss.value.detach(), *(p.grad for p in model.trainable_parameters().values())])
        with torch.compiler.set_stance("force_eager"):
            assert len(model.units(torch.randn(1, 4000), torch.tensor([4000]))[0]) == 12
    torch.testing.assert_close(outcomes[0], outcomes[1])
