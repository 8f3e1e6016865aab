"""The architecture of an encoder: everything needed to build one, nothing about its weights."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, Strict, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from spin.errors import CheckpointError

LARGEST = 65_536  # far above every known model: a damaged file must not ask for all memory
LAYER_NORM_EPS = 1e-5

Size = Annotated[int, Strict(), Field(ge=1, le=LARGEST)]
Sizes = Annotated[tuple[Size, ...], Field(min_length=1)]
Flag = Annotated[bool, Strict()]
Epsilon = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class EncoderShape:
    """HuBERT (Hsu et al. 2021, arXiv 2106.07447) or WavLM (Chen et al. 2022, arXiv 2110.13900); by default HuBERT Base."""

    arch: Literal["hubert", "wavlm"] = "hubert"  # wavlm: gated relative position bias
    conv_channels: Sizes = (512,) * 7
    conv_kernels: Sizes = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: Sizes = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: Flag = False
    extractor_norm: Literal["group", "layer"] = "group"  # one GroupNorm over time, of the first convolution, or LayerNorm in each
    dim: Size = 768
    layers: Annotated[int, Strict(), Field(ge=1, le=1000)] = 12
    heads: Size = 12
    ffn_dim: Size = 3072
    pos_conv_taps: Size = 128
    pos_conv_groups: Size = 16
    norm_first: Flag = False  # Large models: LayerNorm before attention and feed-forward
    norm_eps: Epsilon = LAYER_NORM_EPS
    waveform_norm_eps: Epsilon | None = None  # None: waveforms as they are; else zero mean and unit variance for each
    position_buckets: Annotated[int, Strict(), Field(ge=4, le=LARGEST)] = 320  # wavlm only
    position_max_distance: Annotated[int, Strict(), Field(ge=1, le=10**9)] = 800  # wavlm only, frames
    official_frames: Literal["chunks", "convolutions"] = "chunks"  # of an official padded batch: by fairseq's chunks, or exact

    @model_validator(mode="after")
    def _check(self):
        counts = [len(values) for values in (self.conv_channels, self.conv_kernels, self.conv_strides)]
        if len(set(counts)) != 1:
            raise ValueError(f"{'/'.join(map(str, counts))} convolution channels/kernels/strides")
        for name in ("heads", "pos_conv_groups"):
            if self.dim % getattr(self, name):
                raise ValueError(f"dim {self.dim} is not a multiple of {name} {getattr(self, name)}")
        return self

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees (400 for every public model: 25 ms); the shortest waveform that has a frame."""
        field, jump = 1, 1
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            field += (kernel - 1) * jump
            jump *= stride
        return field

    def as_dict(self) -> dict:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict, file: str = "encoder shape") -> EncoderShape:
        """The inverse of as_dict, with defaults; CheckpointError, of `file`, for unknown keys or values that make no encoder."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(map(str, first["loc"]))
            found = f"encoder shape: {key} {first['input']!r}" if key else "encoder shape"
            cause = "a damaged, unsupported or later configuration"
            raise CheckpointError(file, found=f"{found} ({first['msg']})", cause=cause) from error


def require(file: str, config: dict, allowed: dict[str, tuple]) -> None:
    """Raises CheckpointError when a key of a model's configuration has a value which this code does not implement."""
    for key, values in allowed.items():
        if key in config and config[key] not in values:
            expected = " or ".join(repr(value) for value in values)
            raise CheckpointError(file, found=f"{key} = {config[key]!r}", expected=expected, cause="an unsupported architecture")


TINY_SHAPE = EncoderShape(
    conv_channels=(64, 96, 128, 128, 160, 160, 160), dim=256, layers=4, heads=4, ffn_dim=1024, pos_conv_taps=64
)
