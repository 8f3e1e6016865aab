"""The unit extractor as a program that needs torch alone: torch.export (.pt2) or TorchScript (.pt).

    program = torch.export.load("units.pt2").module()        # or torch.jit.load("units.pt")
    units, frames = program(waveforms, lengths)

waveforms (B, S) float32 at 16 kHz, S at least 400 (one frame), and lengths (B,) int64 in samples; units (B, T) int64 at 50 Hz, -1
from an utterance's end on, with two columns more than the longest needs; frames (B,) int64, the number of units of each, 0 for an
utterance too short for one. What lies beyond an utterance's length has no influence on its units, as in SpinModel.units. A whole
batch runs at once here and an utterance at a time there, so that sums round differently: a frame may differ whose two best codes
are equal to about 1e-5. The program runs on the device that it was made on.
"""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spin.artifacts import SAMPLE_RATE
from spin.errors import CheckpointError
from spin.models.encoder import normalise_waveforms
from spin.models.extractor import conv_length, group_norm_by_mask
from spin.models.spin_model import SpinModel
from spin.runtime.files import atomic_path

KINDS = {"torch-export": ".pt2", "torchscript": ".pt"}
DESCRIPTION = "spin.json"  # in the file, beside the program
NO_UNIT = -1
MORE_FRAMES = 2
EXAMPLE_SAMPLES = (16_000, 11_000)


class UnitProgram(nn.Module):
    """SpinModel.units without a branch that depends on data or sizes, so that one graph holds for every batch."""

    def __init__(self, model: SpinModel):
        super().__init__()
        encoder = model.encoder
        self.shape, self.extractor, self.projection = encoder.shape, encoder.feature_extractor, encoder.feature_projection
        self.pos_conv, self.layer_norm = encoder.pos_conv, encoder.layer_norm
        self.position_bias = encoder.position_bias if encoder.shape.arch == "wavlm" else None
        self.layers = nn.ModuleList(encoder.layers[: model.layer])
        self.head, self.codebook = model.head, model.codebook

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See the module's docstring."""
        lengths = lengths.clamp(min=0, max=waveforms.shape[1])
        if self.shape.waveform_norm_eps is not None:
            waveforms = normalise_waveforms(waveforms, lengths.clamp(min=1), self.shape.waveform_norm_eps)
        # More frames than there are, so that no size below is ever 0 or 1: graphs are made for the general case.
        waveforms = F.pad(waveforms, (0, MORE_FRAMES * self.shape.hop))
        x, frames = self._extract(waveforms, lengths)
        x = self.projection(x.transpose(1, 2))
        valid = torch.arange(x.shape[1], device=x.device)[None, :] < frames[:, None]  # (B, T)
        x = x.masked_fill(~valid[:, :, None], 0)
        x = x + self.pos_conv(x)
        if not self.shape.norm_first:
            x = self.layer_norm(x)
        bias = None if self.position_bias is None else self.position_bias(x.shape[1])
        for layer in self.layers:
            x = layer(x, valid[:, None, None, :], bias)
        units = self.codebook(F.normalize(self.head(x), dim=-1)).argmax(-1)
        return units.masked_fill(~valid, NO_UNIT), frames

    def _extract(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x, frames = waveforms[:, None], lengths
        for layer, kernel, stride in zip(self.extractor.layers, self.extractor.kernels, self.extractor.strides, strict=True):
            x, frames = layer.conv(x), conv_length(frames, kernel, stride)
            if isinstance(layer.norm, nn.LayerNorm):
                x = layer.norm(x.transpose(1, 2)).transpose(1, 2)
            elif layer.norm is not None:
                x = group_norm_by_mask(x, frames, layer.norm)
            x = F.gelu(x)
        return x, frames


def export_program(path: str | Path, model: SpinModel, kind: str = "torch-export") -> None:
    """Writes the program, whole or not at all; it holds the layers up to the one that Spin reads.

    Args:
        kind: one of KINDS.

    Raises:
        CheckpointError: another kind, or a name that ends otherwise than torch demands.
    """
    path = Path(path)
    if kind not in KINDS:
        raise CheckpointError(str(path), found=f"format {kind!r}", expected=" or ".join(KINDS))
    if path.suffix != KINDS[kind]:
        raise CheckpointError(str(path), found=f"suffix {path.suffix!r}", expected=f"{KINDS[kind]!r} for {kind}")
    program = UnitProgram(model).eval().requires_grad_(False)
    extra = {DESCRIPTION: json.dumps(description(model))}
    archive = io.BytesIO()  # to a file, torch would keep the name of the temporary one inside
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # both makers warn of their own workings
        if kind == "torchscript":
            torch.jit.save(torch.jit.trace(program, example(model), check_trace=False), archive, _extra_files=extra)
        else:
            torch.export.save(_exported(program, model), archive, extra_files=extra)
    with atomic_path(path) as temporary:
        temporary.write_bytes(archive.getbuffer())


def description(model: SpinModel) -> dict:
    """What a caller of the program must know; in the file as DESCRIPTION (extra_files of torch's loaders)."""
    shape = model.encoder.shape
    return {
        "codebook_size": model.codebook.out_features,
        "sample_rate": SAMPLE_RATE,
        "samples_per_unit": shape.hop,
        "shortest_in_samples": shape.receptive_field,
        "no_unit": NO_UNIT,
        "device": str(model.head.weight.device),
    }


def example(model: SpinModel) -> tuple[Tensor, Tensor]:
    """A batch with padding, on the device of the model."""
    device, longest = model.head.weight.device, max(EXAMPLE_SAMPLES)
    waveforms = torch.linspace(-1, 1, len(EXAMPLE_SAMPLES) * longest, device=device).reshape(-1, longest)
    return waveforms, torch.tensor(EXAMPLE_SAMPLES, device=device)


def _exported(program: UnitProgram, model: SpinModel) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    samples = torch.export.Dim("samples", min=model.encoder.shape.receptive_field)
    sizes = {"waveforms": {0: batch, 1: samples}, "lengths": {0: batch}}
    exported = torch.export.export(program, example(model), dynamic_shapes=sizes, strict=False)
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of the machine that it was made on
    return exported
