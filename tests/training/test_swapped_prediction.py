"""The Spin loss against the official figures, a slow oracle in plain Python, hand-made cases, and its properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from hypothesis import given, settings
from hypothesis import strategies as st

from spin.training.swapped_prediction import normalise_rows, perplexity, sinkhorn, summary, swapped_prediction


@pytest.fixture(scope="module")
def golden(golden_dir):
    return np.load(golden_dir / "spin_loss.npz")


def _relative(found: torch.Tensor, expected: np.ndarray) -> float:
    """Largest difference relative to the largest expected magnitude."""
    expected = torch.from_numpy(expected)
    return float((found - expected).abs().max() / expected.abs().max())


def test_loss_targets_and_gradients_are_the_official_ones(golden):
    z1, z2, codebook = (torch.tensor(golden[name], requires_grad=True) for name in ("z1", "z2", "codebook"))
    result = swapped_prediction(z1, z2, codebook, with_statistics=True)
    result.loss.backward()
    assert result.loss.item() == pytest.approx(float(golden["loss"]), rel=1e-6)
    for targets, name in zip(result.targets, ("q1", "q2"), strict=True):
        torch.testing.assert_close(targets, torch.from_numpy(golden[name]), rtol=1e-5, atol=1e-9)
    for tensor, name in ((z1, "grad_z1"), (z2, "grad_z2"), (codebook, "grad_codebook")):
        assert _relative(tensor.grad, golden[name]) < 1e-5, name
    figures = summary(result.statistics)
    assert figures["agreement"] == pytest.approx(float(golden["acc"]), rel=1e-6)
    assert figures["code_perplexity"] == pytest.approx(float(golden["code_perplexity"]), rel=1e-5)
    assert figures["probability_perplexity"] == pytest.approx(float(golden["prob_perplexity"]), rel=1e-5)


def _slow_sinkhorn(scores: list[list[float]], epsilon: float, iterations: int) -> list[list[float]]:
    """The textbook algorithm on Python floats: matrix to 1, prototypes to 1/K, frames to 1/N, frames back to 1."""
    kernel = [[math.exp(value / epsilon) for value in row] for row in scores]
    frames, size = len(kernel), len(kernel[0])
    whole = sum(map(sum, kernel))
    kernel = [[value / whole for value in row] for row in kernel]
    for _ in range(iterations):
        columns = [sum(row[k] for row in kernel) for k in range(size)]
        kernel = [[value / columns[k] / size for k, value in enumerate(row)] for row in kernel]
        kernel = [[value / sum(row) / frames for value in row] for row in kernel]
    return [[value * frames for value in row] for row in kernel]


@settings(max_examples=30, deadline=None)
@given(frames=st.integers(1, 12), size=st.integers(2, 9), seed=st.integers(0, 999), iterations=st.integers(1, 4))
def test_sinkhorn_and_loss_equal_the_slow_oracle(frames, size, seed, iterations):
    random = np.random.default_rng(seed)
    z = [random.normal(size=(frames, 5)) for _ in range(2)]
    codebook = random.normal(size=(size, 5))
    codebook /= np.linalg.norm(codebook, axis=1, keepdims=True)
    scores = [(view / np.linalg.norm(view, axis=1, keepdims=True)) @ codebook.T for view in z]
    targets = [_slow_sinkhorn(view.tolist(), 0.05, iterations) for view in scores]
    loss = 0.0
    for own, other in ((0, 1), (1, 0)):
        for b in range(frames):
            normaliser = math.log(sum(math.exp(value / 0.1) for value in scores[other][b]))
            loss -= 0.5 / frames * sum(q * (s / 0.1 - normaliser) for q, s in zip(targets[own][b], scores[other][b], strict=True))
    arguments = [torch.tensor(value, dtype=torch.float32) for value in (*z, codebook)]
    result = swapped_prediction(*arguments, epsilon=0.05, iterations=iterations)
    np.testing.assert_allclose(result.targets.numpy(), np.array(targets), rtol=2e-4, atol=1e-6)
    assert result.loss.item() == pytest.approx(loss, rel=1e-4, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(frames=st.integers(1, 40), size=st.integers(2, 20), seed=st.integers(0, 999), scale=st.sampled_from([0.0, 1.0, 1e4]))
def test_sinkhorn_rows_sum_to_one_and_follow_permutations(frames, size, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    scores = scale * (2 * torch.rand(frames, size, generator=generator) - 1)
    targets = sinkhorn(scores)
    assert torch.isfinite(targets).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(frames), rtol=1e-4, atol=1e-4)
    rows, columns = torch.randperm(frames, generator=generator), torch.randperm(size, generator=generator)
    torch.testing.assert_close(sinkhorn(scores[rows][:, columns]), targets[rows][:, columns], rtol=1e-3, atol=1e-6)


def test_targets_use_all_prototypes_equally():
    generator = torch.Generator().manual_seed(0)
    scores = 0.3 * torch.rand(500, 8, generator=generator) + torch.linspace(0, 0.2, 8)
    use = sinkhorn(scores, iterations=200).mean(0)
    torch.testing.assert_close(use, torch.full((8,), 1 / 8), rtol=1e-3, atol=1e-4)


def test_hand_computed_case():
    """Two frames on two orthogonal prototypes, both views alike: targets are e^{1/eps} apart, the loss is log(1 + e^-10)."""
    z, codebook = torch.eye(2), torch.eye(2)
    result = swapped_prediction(z, z.clone(), codebook, with_statistics=True)
    assert result.loss.item() == pytest.approx(math.log1p(math.exp(-10)), rel=1e-3)
    torch.testing.assert_close(result.targets[0], torch.eye(2))
    assert summary(result.statistics) == {
        "agreement": 1.0,
        "code_perplexity": pytest.approx(2.0),
        "probability_perplexity": pytest.approx(2.0),
    }


def test_single_frame_and_two_prototypes():
    """One frame: the prototypes' scaling undoes every preference, so the target is uniform."""
    result = swapped_prediction(torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.eye(2))
    torch.testing.assert_close(result.targets, torch.full((2, 1, 2), 0.5))
    assert torch.isfinite(result.loss)


def test_half_precision_inputs_are_worked_in_float32():
    generator = torch.Generator().manual_seed(3)
    z1, z2, codebook = (torch.randn(50, 16, generator=generator) for _ in range(3))
    normalise_rows(codebook)
    exact = swapped_prediction(z1, z2, codebook)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = swapped_prediction(z1, z2, codebook)
    assert inside.targets.dtype == torch.float32 and torch.equal(inside.targets, exact.targets)
    half = swapped_prediction(z1.half(), z2.half(), codebook)  # exp(1 / 0.02) would overflow float16
    assert torch.isfinite(half.loss) and float(half.loss) == pytest.approx(float(exact.loss), rel=1e-2)


def test_targets_have_no_gradient_and_padding_cannot_enter():
    z = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    result = swapped_prediction(z.requires_grad_(), z.detach().clone(), torch.eye(4))
    assert not result.targets.requires_grad and result.loss.requires_grad


def test_perplexity_bounds():
    assert perplexity(torch.tensor([5.0, 0.0, 0.0])) == pytest.approx(1.0)
    assert perplexity(torch.ones(7)) == pytest.approx(7.0)
    assert perplexity(torch.zeros(3)) == 0.0


def test_codebook_rows_return_to_unit_norm():
    codebook = torch.nn.Parameter(3 * torch.randn(6, 4, generator=torch.Generator().manual_seed(1)))
    direction = codebook.detach()[2] / codebook.detach()[2].norm()
    normalise_rows(codebook)
    torch.testing.assert_close(codebook.norm(dim=1), torch.ones(6))
    torch.testing.assert_close(codebook.detach()[2], direction)


def _two_ranks(rank: int, folder: str, shares: list[int]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=len(shares))
    content = torch.load(f"{folder}/input.pt", weights_only=True)
    start = sum(shares[:rank])
    codebook = content["codebook"].requires_grad_()
    views = [content[name][start : start + shares[rank]].clone().requires_grad_() for name in ("z1", "z2")]
    result = swapped_prediction(*views, codebook, with_statistics=True)
    result.loss.backward()
    loss, gradient, statistics = result.loss.detach().clone(), codebook.grad.clone(), result.statistics.clone()
    for value in (loss, gradient, statistics):
        torch.distributed.all_reduce(value)
    output = {"loss": loss, "codebook": gradient, "statistics": statistics, "targets": result.targets, "z1": views[0].grad}
    torch.save(output, f"{folder}/output{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("shares", [[37, 63], [100, 0]])
def test_two_ranks_equal_one_process_with_the_whole_batch(tmp_path, shares):
    generator = torch.Generator().manual_seed(5)
    z1, z2, codebook = (torch.randn(size, 24, generator=generator) for size in (100, 100, 32))
    normalise_rows(codebook)
    torch.save({"z1": z1, "z2": z2, "codebook": codebook}, tmp_path / "input.pt")
    multiprocessing.start_processes(_two_ranks, (str(tmp_path), shares), nprocs=2, start_method="fork")
    parts = [torch.load(tmp_path / f"output{rank}.pt", weights_only=True) for rank in range(2)]
    z1.requires_grad_(), codebook.requires_grad_()
    whole = swapped_prediction(z1, z2, codebook, with_statistics=True)
    whole.loss.backward()
    expected = {"loss": whole.loss.detach(), "codebook": codebook.grad, "statistics": whole.statistics}
    for part in parts:
        for name, value in expected.items():
            torch.testing.assert_close(part[name], value, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(torch.cat([part["targets"] for part in parts], dim=1), whole.targets, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(torch.cat([part["z1"] for part in parts if part["z1"] is not None]), z1.grad, rtol=1e-5, atol=1e-8)
