"""What the benchmarks share: options, models of known shapes, batches, one update as stage 2 makes it, timing, output."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from spin import artifacts
from spin.config import Config
from spin.data.loader import MicroBatch
from spin.models.architecture import TINY_SHAPE, EncoderShape
from spin.models.encoder import Encoder
from spin.models.importers import load_encoder
from spin.objectives import find_objective
from spin.objectives.model import SpinModel
from spin.runtime.seeding import generator
from spin.training import grad_cache

CONFIGURATIONS = Path(__file__).resolve().parents[2] / "egs" / "librispeech" / "conf"
LARGE = {"extractor_norm": "layer", "dim": 1024, "layers": 24, "heads": 16, "ffn_dim": 4096, "norm_first": True}
SHAPES = {
    "mini": TINY_SHAPE,
    "HUBERT_BASE": EncoderShape(),
    "HUBERT_LARGE": EncoderShape(**LARGE, waveform_norm_eps=1e-5),
    "WAVLM_BASE": EncoderShape(arch="wavlm"),
    "WAVLM_BASE_PLUS": EncoderShape(arch="wavlm"),
    "WAVLM_LARGE": EncoderShape(arch="wavlm", **LARGE, waveform_norm_eps=1e-5),
}
LONG, SHORT = 15.0, 12.0  # seconds of an utterance, of the shorter ones in a padded batch
# Most sentences of train-clean-100 take 11 to 16.5 s, the others 2.5 s and more; the mean of this is 11.7 s.
MOST_SHARE, MOST, OTHERS = 0.7, (11.0, 16.5), (2.5, 11.0)


def make_parser(name: str, description: str) -> argparse.ArgumentParser:
    """The parser of `python -m spin benchmark NAME`."""
    parser = argparse.ArgumentParser(prog=f"python -m spin benchmark {name}", description=description, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="the result on one line")
    return parser


def make_model(config: Config) -> SpinModel:
    """The configured model with random weights, ready to train. Bundles of torchaudio are not downloaded for their shape."""
    source = config.encoder.source
    shape = SHAPES[source] if source in SHAPES else load_encoder(source).shape
    small = replace(shape, layers=min(shape.layers, config.encoder.layer))  # layers above never run
    objective = find_objective(config.objective).create(config, shape.dim)
    return SpinModel(Encoder(small), objective, config.encoder.layer).set_trainable(config.spin.trainable_layers).train()


def make_micro_batches(config: Config, padded: bool) -> list[MicroBatch]:
    """spin.batch_seconds of silence in both views, padding included, split over spin.accumulation micro-batches."""
    count = config.spin.accumulation
    rows = max(1, int(config.spin.batch_seconds / count / LONG))
    lengths = [int((SHORT if padded and row else LONG) * artifacts.SAMPLE_RATE) for row in range(rows)] * 2
    labels = torch.zeros(rows, max(lengths) // artifacts.HOP_IN_SAMPLES, dtype=torch.int64)
    return [MicroBatch(torch.zeros(2 * rows, max(lengths)), torch.tensor(lengths), labels) for _ in range(count)]


class Update:
    """Updates of a model, on its device, as the training loop of stage 2 makes them, at a constant learning rate.

    `dtype` is that of autocast, None for float32; `fused` makes the optimizer's step one kernel, on a GPU.
    """

    def __init__(self, model: SpinModel, config: Config, dtype: torch.dtype | None, fused: bool):
        self.model, self.clip, self.dtype = model, config.spin.gradient_clip, dtype
        if config.spin.precision == "bf16_frozen":
            model.run_frozen_in(dtype)
        self.parameters = list(model.trainable_parameters().values())
        rates = {"lr": config.spin.learning_rate, "weight_decay": config.spin.weight_decay}
        self.optimizer = torch.optim.Adam(self.parameters, **rates, fused=fused)

    def __call__(self, micro_batches: Sequence[MicroBatch]) -> Tensor:
        """Makes one update and returns the loss, which nothing has waited for."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = grad_cache.backward(self.model, micro_batches, self.dtype).value
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        self.model.objective.after_step()
        return loss


def durations(seconds: float) -> list[float]:
    """Lengths of utterances of read speech, in seconds, that add up to `seconds` or a little more."""
    random, drawn = generator(0, "benchmark durations"), []
    while sum(drawn) < seconds:
        low, high = MOST if random.uniform() < MOST_SHARE else OTHERS
        drawn.append(round(float(random.uniform(low, high)), 3))
    return drawn


def synchronize(device: torch.device) -> None:
    """Waits for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def show(result: dict | list, on_one_line: bool) -> None:
    """Prints a result as JSON."""
    print(json.dumps(result, indent=None if on_one_line else 2))
