"""The Spin loss against the official figures, a slow oracle in plain Python, hand-made cases, and its properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spin.objectives.spin import Loss, Spin, sinkhorn
from tests.models.conftest import check_close


def make_spin(codebook: Tensor, epsilon: float = 0.02) -> Spin:
    """An objective with these codes (K, D), brought to length 1; its head is not used."""
    objective = Spin(3, *codebook.shape, epsilon=epsilon)
    with torch.no_grad():
        objective.codebook.weight.copy_(codebook)
    objective.after_step()
    return objective


def loss_of(objective: Spin, view1: Tensor, view2: Tensor) -> Loss:
    return objective((torch.stack([view1, view2]),), with_sums=True)


def targets_of(objective: Spin, *views: Tensor) -> Tensor:
    return sinkhorn(objective.similarities(torch.stack(views)).detach(), objective.epsilon)


def official_loss(golden_dir, device: str = "cpu", loss_tolerance: float = 1e-6, tolerance: float = 1e-5):
    """(golden figures, objective, views, result), once loss and gradients are the official ones."""
    golden = np.load(golden_dir / "spin_loss.npz")
    z1, z2 = (torch.tensor(golden[name], device=device, requires_grad=True) for name in ("z1", "z2"))
    objective = make_spin(torch.tensor(golden["codebook"])).to(device)
    result = loss_of(objective, z1, z2)
    result.value.backward()
    assert result.value.item() == pytest.approx(float(golden["loss"]), rel=loss_tolerance)
    for tensor, name in ((z1, "grad_z1"), (z2, "grad_z2"), (objective.codebook.weight, "grad_codebook")):
        check_close(tensor.grad.cpu(), golden[name], tolerance)
    return golden, objective, (z1, z2), result


def test_loss_targets_and_gradients_are_the_official_ones(golden_dir):
    golden, objective, views, result = official_loss(golden_dir)
    for targets, name in zip(targets_of(objective, *views), ("q1", "q2"), strict=True):
        torch.testing.assert_close(targets, torch.from_numpy(golden[name]), rtol=1e-5, atol=1e-9)
    figures = objective.compute_metrics(result.sums)
    assert figures["agreement"] == pytest.approx(float(golden["acc"]), rel=1e-6)
    assert figures["code_perplexity"] == pytest.approx(float(golden["code_perplexity"]), rel=1e-5)
    assert figures["probability_perplexity"] == pytest.approx(float(golden["prob_perplexity"]), rel=1e-5)


def slow_sinkhorn(scores: list[list[float]], epsilon: float, iterations: int) -> list[list[float]]:
    """The textbook algorithm on Python floats: matrix to 1, codes to 1/K, frames to 1/N, frames back to 1."""
    kernel = [[math.exp(value / epsilon) for value in row] for row in scores]
    frames, size = len(kernel), len(kernel[0])
    whole = sum(map(sum, kernel))
    kernel = [[value / whole for value in row] for row in kernel]
    for _ in range(iterations):
        columns = [sum(row[k] for row in kernel) for k in range(size)]
        kernel = [[value / columns[k] / size for k, value in enumerate(row)] for row in kernel]
        kernel = [[value / sum(row) / frames for value in row] for row in kernel]
    return [[value * frames for value in row] for row in kernel]


def slow_loss(z: list[np.ndarray], codebook: np.ndarray, epsilon: float, temperature: float = 0.1) -> tuple[float, list]:
    """(loss, targets of both views) of two views (N, D) on Python floats."""
    codebook = codebook / np.linalg.norm(codebook, axis=1, keepdims=True)
    scores = [(view / np.linalg.norm(view, axis=1, keepdims=True)) @ codebook.T for view in z]
    targets = [slow_sinkhorn(view.tolist(), epsilon, 3) for view in scores]
    loss, frames = 0.0, len(z[0])
    for own, other in ((0, 1), (1, 0)):
        for b in range(frames):
            normalizer = math.log(sum(math.exp(value / temperature) for value in scores[other][b]))
            pairs = zip(targets[own][b], scores[other][b], strict=True)
            loss -= 0.5 / frames * sum(q * (s / temperature - normalizer) for q, s in pairs)
    return loss, targets


@given(frames=st.integers(1, 12), size=st.integers(2, 9), seed=st.integers(0, 999))
def test_targets_and_loss_equal_the_slow_oracle(frames, size, seed):
    random = np.random.default_rng(seed)
    z, codebook = [random.normal(size=(frames, 5)) for _ in range(2)], random.normal(size=(size, 5))
    expected, expected_targets = slow_loss(z, codebook, epsilon=0.05)
    objective = make_spin(torch.tensor(codebook, dtype=torch.float32), epsilon=0.05)
    views = [torch.tensor(view, dtype=torch.float32) for view in z]
    np.testing.assert_allclose(targets_of(objective, *views).numpy(), np.array(expected_targets), rtol=2e-4, atol=1e-6)
    assert loss_of(objective, *views).value.item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@given(frames=st.integers(1, 40), size=st.integers(2, 20), seed=st.integers(0, 999), scale=st.sampled_from([0.0, 1.0, 1e4]))
def test_sinkhorn_rows_sum_to_one_and_follow_permutations(frames, size, seed, scale):
    generator = torch.Generator().manual_seed(seed)
    scores = scale * (2 * torch.rand(frames, size, generator=generator) - 1)
    targets = sinkhorn(scores)
    assert torch.isfinite(targets).all()
    torch.testing.assert_close(targets.sum(1), torch.ones(frames), rtol=1e-4, atol=1e-4)
    rows, columns = torch.randperm(frames, generator=generator), torch.randperm(size, generator=generator)
    torch.testing.assert_close(sinkhorn(scores[rows][:, columns]), targets[rows][:, columns], rtol=1e-3, atol=1e-6)


def test_targets_use_all_codes_equally():
    generator = torch.Generator().manual_seed(0)
    scores = 0.3 * torch.rand(500, 8, generator=generator) + torch.linspace(0, 0.2, 8)
    use = sinkhorn(scores, iterations=200).mean(0)
    torch.testing.assert_close(use, torch.full((8,), 1 / 8), rtol=1e-3, atol=1e-4)


def test_hand_computed_cases():
    """Two frames on two orthogonal codes, both views alike: targets are e^{1/eps} apart, the loss is log(1 + e^-10)."""
    objective = make_spin(torch.eye(2))
    result = loss_of(objective, torch.eye(2), torch.eye(2))
    assert result.value.item() == pytest.approx(math.log1p(math.exp(-10)), rel=1e-3)
    torch.testing.assert_close(targets_of(objective, torch.eye(2))[0], torch.eye(2))
    two = pytest.approx(2.0)
    assert objective.compute_metrics(result.sums) == {"agreement": 1.0, "code_perplexity": two, "probability_perplexity": two}
    # One frame: scaling the codes undoes every preference, so the target is uniform.
    objective = make_spin(torch.eye(2))
    views = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    torch.testing.assert_close(targets_of(objective, *views), torch.full((2, 1, 2), 0.5))
    assert torch.isfinite(loss_of(objective, *views).value)


def test_half_precision_inputs_are_worked_in_float32():
    generator = torch.Generator().manual_seed(3)
    z1, z2, codebook = (torch.randn(50, 16, generator=generator) for _ in range(3))
    objective = make_spin(codebook)
    exact = loss_of(objective, z1, z2).value
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss_of(objective, z1, z2).value, exact)
        assert objective.represent(torch.randn(2, 5, 3))[0].dtype == torch.float32
    half = loss_of(objective, z1.half(), z2.half()).value  # exp(1 / 0.02) would overflow float16
    assert torch.isfinite(half) and float(half) == pytest.approx(float(exact), rel=1e-2)
