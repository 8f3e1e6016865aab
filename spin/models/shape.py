"""The shape of an encoder: everything needed to build one, nothing about its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields

from spin.errors import CheckpointError

SUBJECT = "encoder shape"

ARCHITECTURES = ("hubert", "wavlm")
EXTRACTOR_NORMS = ("group", "layer")
OFFICIAL_FRAMES = ("chunks", "convolutions")
LARGEST = 65_536  # far above every model there is: a damaged file shall not ask for all memory
SIZES = {
    "conv_channels": (1, LARGEST),
    "conv_kernels": (1, LARGEST),
    "conv_strides": (1, LARGEST),
    "dim": (1, LARGEST),
    "layers": (1, 1000),
    "heads": (1, LARGEST),
    "ffn_dim": (1, LARGEST),
    "pos_conv_taps": (1, LARGEST),
    "pos_conv_groups": (1, LARGEST),
    "position_buckets": (4, LARGEST),
    "position_max_distance": (1, 10**9),
}


@contextlib.contextmanager
def of_file(file: str) -> Iterator[None]:
    """Errors of an EncoderShape that is made in this context name the file that it was read from."""
    try:
        yield
    except CheckpointError as error:
        if error.subject != SUBJECT:
            raise
        found = f"{SUBJECT}: {error.found}"
        raise CheckpointError(file, found=found, expected=error.expected, cause=error.cause, remedy=error.remedy) from error


@dataclass(frozen=True)
class EncoderShape:
    """HuBERT (Hsu et al. 2021, arXiv 2106.07447) or WavLM (Chen et al. 2022, arXiv 2110.13900).

    The defaults are those of HuBERT Base.
    """

    arch: str = "hubert"  # hubert | wavlm (gated relative position bias)
    conv_channels: tuple[int, ...] = (512,) * 7
    conv_kernels: tuple[int, ...] = (10, 3, 3, 3, 3, 2, 2)
    conv_strides: tuple[int, ...] = (5, 2, 2, 2, 2, 2, 2)
    conv_bias: bool = False
    extractor_norm: str = "group"  # group: one GroupNorm over time after the first convolution; layer: a LayerNorm after each
    dim: int = 768
    layers: int = 12
    heads: int = 12
    ffn_dim: int = 3072
    pos_conv_taps: int = 128
    pos_conv_groups: int = 16
    norm_first: bool = False  # Large models: LayerNorm before attention and feed-forward
    norm_eps: float = 1e-5
    waveform_norm_eps: float | None = None  # None: waveforms as they are; else each is made zero mean and unit variance
    position_buckets: int = 320  # wavlm only
    position_max_distance: int = 800  # wavlm only, frames
    official_frames: str = "chunks"  # how the official padded batch counts frames: fairseq's chunks, or convolution lengths

    def __post_init__(self):
        problem = ""
        for name in ("conv_channels", "conv_kernels", "conv_strides"):
            try:
                object.__setattr__(self, name, tuple(int(value) for value in getattr(self, name)))
            except (TypeError, ValueError, OverflowError):
                problem = problem or f"{name} {getattr(self, name)!r}"
        problem = problem or self._problem()
        if problem:
            raise CheckpointError(SUBJECT, found=problem, cause="a damaged or unsupported configuration")

    def _problem(self) -> str:
        for name, allowed in (
            ("arch", ARCHITECTURES),
            ("extractor_norm", EXTRACTOR_NORMS),
            ("official_frames", OFFICIAL_FRAMES),
        ):
            if getattr(self, name) not in allowed:
                return f"{name} {getattr(self, name)!r}, not one of {', '.join(allowed)}"
        convolutions = (self.conv_channels, self.conv_kernels, self.conv_strides)
        if len({len(values) for values in convolutions}) != 1 or not self.conv_channels:
            return f"{'/'.join(str(len(values)) for values in convolutions)} convolution channels/kernels/strides"
        for name, (low, high) in SIZES.items():
            value = getattr(self, name)
            for size in value if isinstance(value, tuple) else (value,):
                if type(size) is not int or not low <= size <= high:
                    return f"{name} {value!r}, not from {low} to {high}"
        for name in ("conv_bias", "norm_first"):
            if type(getattr(self, name)) is not bool:
                return f"{name} {getattr(self, name)!r}, neither true nor false"
        for name in ("norm_eps", "waveform_norm_eps"):
            value = getattr(self, name)
            known = value is None and name == "waveform_norm_eps"
            if not known and not (type(value) in (int, float) and 0 <= value <= 1):
                return f"{name} {value!r}, not from 0 to 1"
        if self.dim % self.heads or self.dim % self.pos_conv_groups:
            return f"dim {self.dim} is not a multiple of heads {self.heads} and pos_conv_groups {self.pos_conv_groups}"
        return ""

    @property
    def hop(self) -> int:
        """Samples from one frame to the next (320 for every public model: 20 ms)."""
        hop = 1
        for stride in self.conv_strides:
            hop *= stride
        return hop

    @property
    def receptive_field(self) -> int:
        """Samples that one frame sees (400 for every public model: 25 ms); the shortest waveform that has a frame."""
        field, jump = 1, 1
        for kernel, stride in zip(self.conv_kernels, self.conv_strides, strict=True):
            field += (kernel - 1) * jump
            jump *= stride
        return field

    def as_dict(self) -> dict:
        """Plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: dict) -> EncoderShape:
        """The inverse of as_dict.

        Raises:
            CheckpointError: an unknown key (a file of a later version), or values that make no encoder.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise CheckpointError(SUBJECT, found=f"unknown key {unknown[0]!r}", expected=", ".join(sorted(known)))
        return cls(**values)


TINY_SHAPE = EncoderShape(
    conv_channels=(64, 96, 128, 128, 160, 160, 160),
    dim=256,
    layers=4,
    heads=4,
    ffn_dim=1024,
    pos_conv_taps=64,
    pos_conv_groups=16,
)
