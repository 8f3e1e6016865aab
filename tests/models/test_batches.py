"""The same utterance gives the same hidden states and units alone and in any batch."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spin.models.layers import masked_group_norm
from tests.models.conftest import SHAPES, make_model

UTTERANCES = [torch.randn(n, generator=torch.Generator().manual_seed(n)) * 0.1 for n in (400, 719, 720, 3000, 5555, 9000)]
MODELS = {name: make_model(name, seed=1, codebook_size=32) for name in SHAPES}
ALONE = {name: [model.units(wave[None], torch.tensor([len(wave)]))[0] for wave in UTTERANCES] for name, model in MODELS.items()}


def collate(indices: list[int], extra: int, fill: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Padded with `fill`, `extra` samples longer than the longest."""
    lengths = torch.tensor([len(UTTERANCES[i]) for i in indices])
    waveforms = torch.full((len(indices), int(lengths.max()) + extra), fill)
    for row, i in zip(waveforms, indices, strict=True):
        row[: len(UTTERANCES[i])] = UTTERANCES[i]
    return waveforms, lengths


@given(
    name=st.sampled_from(sorted(SHAPES)),
    indices=st.lists(st.integers(0, len(UTTERANCES) - 1), min_size=1, max_size=5),
    extra=st.integers(0, 2000),
    fill=st.sampled_from([0.0, 1.0, -100.0, float("nan")]),
)
@settings(max_examples=60, deadline=None)
def test_units_do_not_depend_on_the_batch(name, indices, extra, fill):
    model = MODELS[name]
    waveforms, lengths = collate(indices, extra, fill)
    with torch.no_grad():
        hidden, frames = model.encoder(waveforms, lengths)
        in_one_batch = model.objective.units(hidden[-1])  # as on a GPU
    for row, n, units, i in zip(in_one_batch, frames, model.units(waveforms, lengths), indices, strict=True):
        assert torch.equal(units, ALONE[name][i])
        assert torch.equal(row[:n], ALONE[name][i])


@given(lengths=st.lists(st.integers(2, 30), min_size=1, max_size=4), channels=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_masked_group_norm_and_its_gradients_are_pytorchs_on_each_row_alone(lengths, channels):
    torch.manual_seed(sum(lengths))
    norm = torch.nn.GroupNorm(channels, channels)
    torch.nn.init.normal_(norm.weight)
    features, weights = torch.randn(2, len(lengths), channels, max(lengths) + 3).unbind()
    with torch.no_grad():
        row_by_row = masked_group_norm(features + 5, torch.tensor(lengths), norm)
    outcomes = []
    for masked in (True, False):
        inputs = (features + 5).requires_grad_()
        norm.zero_grad()
        whole = masked_group_norm(inputs, torch.tensor(lengths), norm) if masked else None
        rows = [(norm(inputs[i : i + 1, :, :n]) if whole is None else whole[i : i + 1, :, :n]) for i, n in enumerate(lengths)]
        sum((row * weights[i : i + 1, :, : row.shape[-1]]).sum() for i, row in enumerate(rows)).backward()
        outcomes.append((rows, [inputs.grad, norm.weight.grad.clone(), norm.bias.grad.clone()]))
    (rows, gradients), (expected, expected_gradients) = outcomes
    torch.testing.assert_close(rows, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close([row_by_row[i : i + 1, :, :n] for i, n in enumerate(lengths)], expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradients, expected_gradients, rtol=1e-2, atol=1e-2)  # of two frames they may be large


def test_masked_group_norm_survives_bfloat16():
    norm = torch.nn.GroupNorm(2, 2)
    features = (torch.randn(2, 2, 50) + 100).bfloat16()
    found = masked_group_norm(features, torch.tensor([50, 20]), norm)
    assert found.dtype == torch.bfloat16 and found.isfinite().all()
