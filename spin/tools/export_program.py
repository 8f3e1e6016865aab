"""The unit extractor as a torch.export program (.pt2), which needs torch alone.

    program = torch.export.load("units.pt2").module()
    units, frames = program(waveforms, lengths)

waveforms (B, S) float32 at 16 kHz, S at least 400 (one frame), and lengths (B,) int64 in samples; units (B, T) int64 at 50 Hz, -1
from an utterance's end on, with two columns more than the longest needs; frames (B,) int64, the number of units of each, 0 for an
utterance too short for one. Samples beyond an utterance's length have no influence on its units, as in SpinModel.units. The
program runs the whole batch at once, SpinModel.units one utterance at a time, so that sums round differently: a frame may differ
whose two best codes agree to about 1e-5. The program runs on the device that it was made on.
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
from spin.models.encoder import Encoder, normalise_waveforms
from spin.models.extractor import conv_length, group_norm_by_mask
from spin.runtime.files import atomic_path

SUFFIX = ".pt2"
DESCRIPTION = "spin.json"  # in the file, next to the program
NO_UNIT = -1
EXTRA_FRAMES = 2
EXAMPLE_SAMPLES = (16_000, 11_000)


class UnitProgram(nn.Module):
    """Waveforms -> units without a branch that depends on data or sizes, so that one graph holds for every batch.

    Args:
        encoder: runs up to `layer`.
        head: Linear D -> codebook_dim.
        codebook: Linear codebook_dim -> K without bias.
        layer: the encoder layer that the head reads.
    """

    def __init__(self, encoder: Encoder, head: nn.Linear, codebook: nn.Linear, layer: int):
        super().__init__()
        self.shape, self.extractor, self.projection = encoder.shape, encoder.feature_extractor, encoder.feature_projection
        self.pos_conv, self.layer_norm = encoder.pos_conv, encoder.layer_norm
        self.position_bias = encoder.position_bias if encoder.shape.arch == "wavlm" else None
        self.layers = nn.ModuleList(encoder.layers[:layer])
        self.head, self.codebook = head, codebook

    def forward(self, waveforms: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """See the module's docstring."""
        lengths = lengths.clamp(min=0, max=waveforms.shape[1])
        if self.shape.waveform_norm_eps is not None:
            waveforms = normalise_waveforms(waveforms, lengths.clamp(min=1), self.shape.waveform_norm_eps)
        # More frames than needed, so that no size below is ever 0 or 1: torch.export specialises on those two.
        waveforms = F.pad(waveforms, (0, EXTRA_FRAMES * self.shape.hop))
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


def export_program(path: str | Path, program: UnitProgram) -> None:
    """Writes the program; the file appears complete or not at all.

    Raises:
        CheckpointError: a name without the suffix that torch demands.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise CheckpointError(str(path), found=f"suffix {path.suffix!r}", expected=repr(SUFFIX))
    archive = io.BytesIO()  # in a file, torch would keep the name of the temporary one
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export warns of its own internals
        exported = _export(program.eval().requires_grad_(False))
        torch.export.save(exported, archive, extra_files={DESCRIPTION: json.dumps(describe(program))})
    with atomic_path(path) as temporary:
        temporary.write_bytes(archive.getbuffer())


def describe(program: UnitProgram) -> dict:
    """The facts that a caller of the program needs; in the file as DESCRIPTION (extra_files of torch.export.load)."""
    return {
        "codebook_size": program.codebook.out_features,
        "sample_rate": SAMPLE_RATE,
        "samples_per_unit": program.shape.hop,
        "shortest_in_samples": program.shape.receptive_field,
        "no_unit": NO_UNIT,
        "device": str(program.head.weight.device),
    }


def _export(program: UnitProgram) -> torch.export.ExportedProgram:
    device, longest = program.head.weight.device, max(EXAMPLE_SAMPLES)
    waveforms = torch.linspace(-1, 1, len(EXAMPLE_SAMPLES) * longest, device=device).reshape(-1, longest)
    batch = torch.export.Dim("batch", min=1)
    samples = torch.export.Dim("samples", min=program.shape.receptive_field)
    sizes = {"waveforms": {0: batch, 1: samples}, "lengths": {0: batch}}
    example = waveforms, torch.tensor(EXAMPLE_SAMPLES, device=device)
    exported = torch.export.export(program, example, dynamic_shapes=sizes, strict=False)
    for node in exported.graph.nodes:
        node.meta.pop("stack_trace", None)  # paths of the machine that it was made on
    return exported
