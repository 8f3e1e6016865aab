"""R-Spin and DC-Spin-style: slow oracles for loss and gradients, reduction to Spin, hand-made and degenerate cases."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from spin.config import Config, DCSpinConfig, RSpinConfig, SpinConfig
from spin.errors import DataError
from spin.objectives import NO_LABEL, OBJECTIVES, Objective, find_objective, rspin
from spin.objectives.dcspin import DCSpin
from spin.objectives.rspin import RSpin
from spin.objectives.spin import Spin
from tests.objectives.test_spin import slow_loss

DIM = 6
SPIN = SpinConfig(codebook_size=5, codebook_dim=4)


def make_rspin(classes: int = 3, weight: float = 5.0, seed: int = 0) -> RSpin:
    objective = RSpin.create(Config(spin=SPIN), DIM)
    objective.add_classifier(classes, weight, seed)
    return objective


def make_frames(frames: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, frames, DIM, generator=torch.Generator().manual_seed(seed))


def _slow_head(objective: Spin, hidden: np.ndarray) -> list[np.ndarray]:
    head = objective.head
    return [view @ head.weight.detach().double().numpy().T + head.bias.detach().double().numpy() for view in hidden]


def _slow_auxiliary(weights: np.ndarray, bias: np.ndarray, hidden: np.ndarray, labels: list[int]) -> tuple[float, np.ndarray]:
    """(L_Aux, its gradient for the classifier's weights) with loops over views and frames."""
    labelled = [b for b, label in enumerate(labels) if label != NO_LABEL]
    loss, gradient = 0.0, np.zeros_like(weights)
    for view in hidden:
        for b in labelled:
            p = softmax(weights @ view[b] + bias)
            loss -= math.log(p[labels[b]]) / (2 * len(labelled))
            gradient += np.outer(p - np.eye(len(p))[labels[b]], view[b]) / (2 * len(labelled))
    return loss, gradient


@given(frames=st.integers(1, 9), classes=st.integers(1, 4), seed=st.integers(0, 99), missing=st.booleans())
def test_rspin_loss_and_gradient_equal_the_slow_oracle(frames, classes, seed, missing):
    objective, hidden = make_rspin(classes), make_frames(frames, seed)
    labels = torch.randint(classes, (frames,), generator=torch.Generator().manual_seed(seed))
    if missing and frames > 1:
        labels[0] = NO_LABEL
    result = objective(objective.represent(hidden), labels, with_sums=True)
    result.value.backward()
    values, classifier = hidden.double().numpy(), objective.classifier
    codebook = objective.codebook.weight.detach().double().numpy()
    spin_loss, _ = slow_loss(_slow_head(objective, values), codebook, objective.epsilon)
    weights, bias = classifier.weight.detach().double().numpy(), classifier.bias.detach().double().numpy()
    auxiliary, gradient = _slow_auxiliary(weights, bias, values, labels.tolist())
    assert result.value.item() == pytest.approx(spin_loss + 5.0 * auxiliary, rel=1e-4)
    np.testing.assert_allclose(classifier.weight.grad.numpy(), 5.0 * gradient, rtol=1e-4, atol=1e-5)
    figures = objective.compute_metrics(result.sums)
    assert figures["spin_loss"] == pytest.approx(spin_loss, rel=1e-4)
    assert figures["auxiliary_loss"] == pytest.approx(auxiliary, rel=1e-4, abs=1e-6)


def test_gradient_for_hidden_states_equals_finite_differences():
    """The auxiliary loss alone: Spin's targets are constants to autograd, but not to differences."""
    objective = make_rspin().double()
    hidden, labels = make_frames(4).double().requires_grad_(), torch.tensor([0, 2, NO_LABEL, 1])
    auxiliary = lambda x: objective._classify(x, labels)[0]  # noqa: E731 - logits are float32, so steps are wide
    assert torch.autograd.gradcheck(auxiliary, (hidden,), eps=1e-2, atol=1e-3)


def test_rspin_without_labels_and_noise_is_spin_bit_for_bit():
    config = Config(spin=SPIN, rspin=RSpinConfig(noise=False))
    hidden, results = make_frames(7), []
    for kind in (Spin, RSpin):
        objective = kind.create(config, DIM)
        loss = objective(objective.represent(hidden))
        loss.value.backward()
        results.append((objective.views, objective.needs_labels, loss.value, dict(objective.named_parameters())))
    (views, labels, loss, parameters), other = results
    assert (views, labels) == other[:2] == (((), ("perturb",)), False) and torch.equal(loss, other[2])
    assert all(torch.equal(value, other[3][name]) for name, value in parameters.items())
    assert all(torch.equal(value.grad, other[3][name].grad) for name, value in parameters.items())


def test_noise_goes_to_both_views_and_labels_size_the_classifier(tmp_path):
    (tmp_path / "labels.json").write_text(json.dumps({"classes": 11}))
    objective = RSpin.create(Config(spin=SPIN, rspin=RSpinConfig(labels=str(tmp_path))), DIM)
    assert objective.views == (("noise",), ("perturb", "noise"))
    assert objective.needs_labels and objective.classifier.out_features == 11 and objective.weight == 5.0
    assert not torch.equal(make_rspin().classifier.weight, make_rspin(seed=1).classifier.weight)
    for content in ("{}", '{"classes": 0}', '{"classes": Infinity}', "[]", "nonsense"):
        (tmp_path / "labels.json").write_text(content)
        with pytest.raises(DataError, match=r"labels\.json"):
            RSpin.create(Config(rspin=RSpinConfig(labels=str(tmp_path))), DIM)


def test_classifier_by_hand():
    """Two classes, logits 0 and 1: -log sigmoid. Accuracy counts both views."""
    objective = make_rspin(classes=2, weight=2.0)
    with torch.no_grad():
        objective.classifier.weight.zero_()
        objective.classifier.bias.copy_(torch.tensor([0.0, 1.0]))
    result = objective(objective.represent(make_frames(2)), torch.tensor([0, 1]), with_sums=True)
    figures = objective.compute_metrics(result.sums)
    expected = 0.5 * (math.log1p(math.e) + math.log1p(math.exp(-1)))
    assert figures["auxiliary_loss"] == pytest.approx(expected) and figures["auxiliary_accuracy"] == 0.5
    assert result.value.item() == pytest.approx(figures["spin_loss"] + 2.0 * expected)


def test_chunks_of_the_classifier_change_nothing(monkeypatch):
    outcomes, labels = [], torch.arange(10) % 3
    for at_once in (4096, 3):
        monkeypatch.setattr(rspin, "FRAMES_AT_ONCE", at_once)
        objective = make_rspin()
        objective(objective.represent(make_frames(10)), labels).value.backward()
        outcomes.append([parameter.grad for parameter in objective.parameters()])
    torch.testing.assert_close(outcomes[0], outcomes[1])


@pytest.mark.parametrize("labels", [torch.full((4,), NO_LABEL), torch.zeros(0, dtype=torch.int64)])
def test_no_labelled_frame_leaves_the_spin_loss(labels):
    objective = make_rspin()
    hidden = make_frames(len(labels))
    result = objective(objective.represent(hidden), labels, with_sums=True)
    expected = Spin.forward(objective, objective.represent(hidden)).value
    torch.testing.assert_close(result.value, expected, equal_nan=True)
    assert objective.compute_metrics(result.sums)["auxiliary_accuracy"] == 0.0


def test_dcspin_is_the_weighted_sum_of_two_spin_losses():
    objective = DCSpin.create(Config(spin=SPIN, dcspin=DCSpinConfig(auxiliary_size=9, auxiliary_weight=0.5)), DIM)
    hidden = make_frames(8)
    result = objective(objective.represent(hidden), with_sums=True)
    result.value.backward()
    values = hidden.double().numpy()
    losses = [
        slow_loss(_slow_head(part, values), part.codebook.weight.detach().double().numpy(), part.epsilon)[0]
        for part in (objective, objective.auxiliary)
    ]
    assert result.value.item() == pytest.approx(losses[0] + 0.5 * losses[1], rel=1e-4)
    figures = objective.compute_metrics(result.sums)
    assert {"agreement", "auxiliary_agreement"} <= figures.keys() and figures["auxiliary_code_perplexity"] <= 9
    alone = Spin.create(Config(spin=SPIN), DIM)
    assert torch.equal(alone.codebook.weight, objective.codebook.weight)  # the primary part starts as Spin's
    alone(alone.represent(hidden)).value.backward()
    assert torch.equal(alone.head.weight.grad, objective.head.weight.grad)
    assert torch.equal(alone.units(hidden), objective.units(hidden))
    with torch.no_grad():
        objective.auxiliary.codebook.weight.mul_(2.0)
    objective.after_step()
    torch.testing.assert_close(objective.auxiliary.codebook.weight.norm(dim=1), torch.ones(9))


def test_a_toy_entry_is_found(monkeypatch):
    monkeypatch.setitem(OBJECTIVES, "toy", Objective("Toy", "tests.objectives.test_rspin_dcspin:Toy"))
    assert find_objective("toy") is Toy


class Toy(Spin):
    """An entry of a user's own."""
