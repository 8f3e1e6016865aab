"""python -m spin benchmark spin: updates as stage 2 makes them against the official way of working, in the same run.

Same machine, audio, model (random weights), loss and loader. Each side is timed on batches spread evenly over the lengths of an
epoch, so that both train on the same mixture.

The official way follows the configuration of the Interspeech paper (github.com/vectominist/spin): see REFERENCE.
"""

import argparse
import contextlib
import dataclasses
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import soundfile
import torch
from lhotse import MonoCut, Recording

from spin import artifacts
from spin.config import Config, EncoderConfig, PerturbationConfig, SpinConfig
from spin.data.cuts import write_cuts
from spin.data.loader import BatchLoader, MicroBatch, make_views
from spin.data.plan import BatchPlan, BatchSampler, Crop, TrainingCuts, scan_training_cuts
from spin.objectives.model import SpinModel
from spin.objectives.spin import Spin
from spin.perturbation.analyse_corpus import analyse_part, estimate_ranges
from spin.perturbation.perturb import compile_kernels
from spin.runtime.devices import autocast_dtype, device_name, prepare_cpu, resolve_device
from spin.runtime.logs import get_logger
from spin.runtime.seeding import seed_torch
from spin.runtime.workers import map_jobs
from spin.tools.benchmark import SHAPES, Update, durations, make_model, make_parser, show, synchronize
from spin.tools.benchmark_perturb import vowels

REFERENCE = (
    "padded batches fixed by length, masks in every layer, float16 autocast with a scaled loss (CPU: float32), "
    "Adam in single kernels, loss read back after every update"
)
CORPUS_BATCHES = 8  # of different audio
# Each utterance comes this often in an epoch. Buckets of equal lengths need many batches per epoch. With few, all utterances
# share one bucket and are cut to its lower end, so that our side would train on shorter utterances than the reference.
REPEATS = 16
MIN_SAMPLES = 40_000
WARM_UP = {"cuda": 10, "cpu": 1}
DEFAULTS = {
    "cuda": {"batch_seconds": 256.0, "updates": 50, "workers": 16},
    "cpu": {"batch_seconds": 32.0, "updates": 5, "workers": 1},
}


def main(argv: list[str]) -> None:
    """Prints the ratio of audio trained on per second, ours over the reference's, and its circumstances."""
    parser = make_parser("spin", __doc__)
    parser.add_argument("--shape", default="HUBERT_BASE", choices=tuple(SHAPES), help="encoder, with random weights")
    parser.add_argument("--codebook-size", type=int, default=256)
    parser.add_argument("--batch-seconds", type=float, help="audio of one view in an update (default: 256, on a CPU 32)")
    parser.add_argument("--updates", type=int, help="timed updates of each side (default: 50, on a CPU 5)")
    parser.add_argument("--workers", type=int, help="loader processes (default: 16, on a CPU 1)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    arguments = parser.parse_args(argv)
    device = resolve_device(arguments.device)
    for name, value in DEFAULTS[device.type].items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    with contextlib.redirect_stdout(sys.stderr):  # of the log; standard output is for the result
        result = measure(arguments, device)
    show(result, arguments.json)


def measure(arguments: argparse.Namespace, device: torch.device) -> dict:
    """Makes the audio, then times both sides; see main, which fills `arguments`."""
    if device.type == "cpu":
        prepare_cpu(1)
    compile_kernels()
    settings = {"codebook_size": arguments.codebook_size, "batch_seconds": arguments.batch_seconds, "min_samples": MIN_SAMPLES}
    encoder = EncoderConfig(source=arguments.shape, layer=SHAPES[arguments.shape].layers)
    config = Config(encoder=encoder, spin=SpinConfig(**settings))
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_corpus(Path(folder), CORPUS_BATCHES * arguments.batch_seconds, max(1, arguments.workers))
        own, reference = (time_side(config, manifest, arguments, device, official) for official in (False, True))
    return {
        "ratio": own["audio_hours_per_second"] / reference["audio_hours_per_second"],
        "own": own,
        "reference": {"way": REFERENCE, **reference},
        **{name: getattr(arguments, name) for name in ("shape", "codebook_size", "batch_seconds", "updates", "workers")},
        "threads": torch.get_num_threads(),
        "device": device_name(device),
        "torch": torch.__version__,
    }


def time_side(config: Config, manifest: Path, arguments: argparse.Namespace, device: torch.device, official: bool) -> dict:
    """Makes the model and the batches of one side, and times it."""
    seed_torch(0, "benchmark spin")
    model, settings = make_model(config).to(device), dataclasses.replace(config.spin, equal_lengths=not official)
    cuts = scan_training_cuts([manifest] * REPEATS, settings)
    if official:
        update, batches = OfficialUpdate(model, config), official_batches(cuts, config.spin.batch_seconds)
    else:
        update = Update(model, config, autocast_dtype(config.spin.precision, device), fused=device.type == "cuda")
        batches = list(BatchSampler(cuts, seed=0).batches(0))
    warm_up = WARM_UP[device.type]
    views, plans = make_views(Spin.views, Config(), Path()), spread_batches(batches, (warm_up, arguments.updates))
    loader = BatchLoader(views, plans, 0, arguments.workers, device)
    timed = time_updates(loader, update, warm_up, arguments.updates, device)
    return timed | {"precision": str(update.dtype or torch.float32).removeprefix("torch.")}


def time_updates(loader: BatchLoader, update: Update, warm_up: int, updates: int, device: torch.device) -> dict:
    """Runs warm-up and timed updates; audio is that of view 1, as in the published figures."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    loaded = loader.batches()
    for _ in range(warm_up):
        update(next(loaded).micro_batches)
    synchronize(device)
    waited, begun = loader.waited, time.perf_counter()
    seconds = padded = utterances = 0
    for _ in range(updates):
        batch = next(loaded)
        update(batch.micro_batches)
        seconds, utterances = seconds + batch.seconds, utterances + len(batch.ids)
        padded += sum(each.waveforms.numel() for each in batch.micro_batches) / 2 / artifacts.SAMPLE_RATE
    synchronize(device)
    spent = time.perf_counter() - begun
    timed = {
        "seconds_per_update": spent / updates,
        "audio_seconds_per_update": seconds / updates,
        "audio_seconds_per_utterance": seconds / utterances,
        "audio_hours_per_second": seconds / 3600 / spent,
        "waiting_for_data": (loader.waited - waited) / spent,
        "padding": 1 - seconds / padded,
    }
    if device.type == "cuda":
        timed["peak_gigabytes"] = torch.cuda.max_memory_allocated(device) / 1e9
    return timed


def official_batches(cuts: TrainingCuts, batch_seconds: float) -> list[list[Crop]]:
    """The batches of an epoch: utterances sorted by length, then divided; each holds at most `batch_seconds` of one view."""
    batches: list[list[Crop]] = [[]]
    for crop in sorted(cuts.epoch(0, 0), key=lambda crop: (crop.duration, crop.id)):
        if batches[-1] and sum(item.duration for item in batches[-1]) + crop.duration > batch_seconds:
            batches.append([])
        batches[-1].append(crop)
    # The last batch of an epoch is seldom full. Without it the reference looks better, if anything.
    return batches[:-1] if len(batches) > 1 else batches


class Plans(list):
    """BatchPlans in the place of a sampler."""


def spread_batches(batches: list[list[Crop]], counts: Sequence[int]) -> Plans:
    """As many batches per round as `counts` says, each round from short to long utterances and spread evenly over all batches."""
    ordered = sorted(batches, key=lambda batch: sum(crop.duration for crop in batch) / len(batch))
    chosen = [ordered[int((number + 0.5) * len(ordered) / count)] for count in counts for number in range(count)]
    return Plans(BatchPlan(0, index, (tuple(batch),)) for index, batch in enumerate(chosen))


class OfficialUpdate(Update):
    """Updates in the official way. On a CPU in float32: float16 products are emulated there, and many times slower."""

    def __init__(self, model: SpinModel, config: Config):
        self.device = model.codebook.weight.device
        on_gpu = self.device.type == "cuda"
        super().__init__(model, config, torch.float16 if on_gpu else None, fused=False)
        model.encoder.official_padding = True
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=on_gpu)

    def __call__(self, micro_batches: Sequence[MicroBatch]) -> float:
        """Makes one update on a padded batch; reads the loss, and so waits for the device."""
        (micro_batch,) = micro_batches
        self.optimizer.zero_grad()
        with torch.autocast("cuda", self.dtype) if self.dtype else contextlib.nullcontext():
            frozen = self.model.run_frozen(micro_batch.waveforms.to(self.device), micro_batch.lengths)
            loss = self.model.objective(self.model.run_trainable(frozen)).value
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.model.objective.after_step()
        return loss.item()


def make_corpus(folder: Path, seconds: float, nj: int) -> Path:
    """Writes FLAC files, cuts and pitch analysis into an empty folder; returns the manifest that a training reads."""
    manifest, analysed = artifacts.cuts(folder, "benchmark"), folder / "pitch"
    for path in (folder / "audio", analysed):
        path.mkdir()
    jobs = [(index, length, folder / "audio" / f"{index:05d}.flac") for index, length in enumerate(durations(seconds))]
    write_cuts(manifest, map_jobs(_speak, jobs, nj, "fork"))
    ranges = estimate_ranges([manifest], PerturbationConfig(), nj)
    analyse_part(manifest, "benchmark", ranges, analysed, nj, max_bad_share=0.0, log=get_logger("benchmark"))
    return artifacts.cuts_in(analysed)


def _speak(job: tuple[int, float, Path]) -> MonoCut:
    """Each utterance has a voice of its own, and without a supervision a pitch range of its own."""
    index, length, path = job
    soundfile.write(path, vowels(index, length, artifacts.SAMPLE_RATE), artifacts.SAMPLE_RATE)
    return Recording.from_file(path, recording_id=path.stem).to_cut()
