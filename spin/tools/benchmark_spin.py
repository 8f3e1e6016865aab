"""python -m spin benchmark spin: updates as stage 2 makes them against the official way of working, in the same run.

Same machine, audio, model (random weights), loss and loader. Each side is timed on batches spread evenly over the lengths of an
epoch, so that both train on the same mixture.

The official way follows the configuration of the Interspeech paper (github.com/vectominist/spin). Utterances are sorted by
length and divided into batches once. Batches are padded, and every layer gets the padding as a mask. float16 autocast with a
scaled loss; an optimizer step in many small kernels; the loss is read back after every update.
"""

import argparse
import contextlib
import dataclasses
import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile
import torch
from lhotse import MonoCut, Recording, SupervisionSegment

from spin import artifacts
from spin.config import Config, EncoderConfig, PerturbationConfig, SpinConfig
from spin.data.cuts import write_cuts
from spin.data.loader import Batch, BatchLoader, MicroBatch, make_views
from spin.data.plan import BatchPlan, BatchSampler, Crop, TrainingCuts, scan_training_cuts
from spin.objectives.model import SpinModel
from spin.objectives.spin import Spin
from spin.perturbation.analyse_part import analyse_part
from spin.perturbation.perturb import compile_kernels
from spin.perturbation.speakers import estimate_ranges
from spin.runtime.devices import autocast_dtype, device_name, prepare_cpu, resolve_device
from spin.runtime.logs import get_logger
from spin.runtime.seeding import generator, seed_torch
from spin.runtime.workers import map_jobs
from spin.tools.benchmark import SHAPES, Update, make_model, show, synchronize
from spin.tools.benchmark_perturb import vowels

SOURCES = {"hubert_base": "HUBERT_BASE", "mini": "mini"}
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
ON_GPU = {"batch_seconds": 256.0, "updates": 50, "workers": 16}
ON_CPU = {"batch_seconds": 32.0, "updates": 5, "workers": 1}
LEAST = {"batch_seconds": 20.0, "updates": 1, "workers": 0, "codebook_size": 2}
PART, SPEAKERS = "benchmark", 8
# Most sentences of train-clean-100 take 11 to 16.5 s, the others 2.5 s and more; the mean of this is 11.7 s.
LONG_SHARE, LONG, SHORT = 0.7, (11.0, 16.5), (2.5, 11.0)


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    """Options of the command, with the defaults of the device."""
    parser = argparse.ArgumentParser(prog="python -m spin benchmark spin", description=__doc__, allow_abbrev=False)
    parser.add_argument("--json", action="store_true", help="one line of JSON instead of text")
    parser.add_argument("--shape", default="hubert_base", choices=tuple(SOURCES), help="encoder, with random weights")
    parser.add_argument("--codebook-size", type=int, default=256)
    parser.add_argument("--batch-seconds", type=float, help="audio of one view in an update (default: 256, on a CPU 32)")
    parser.add_argument("--updates", type=int, help="timed updates of each side (default: 50, on a CPU 5)")
    parser.add_argument("--workers", type=int, help="loader processes (default: 16, on a CPU 1)")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    arguments = parser.parse_args(argv)
    for name, value in (ON_CPU if resolve_device(arguments.device).type == "cpu" else ON_GPU).items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    for name, least in LEAST.items():
        if getattr(arguments, name) < least:
            parser.error(f"--{name.replace('_', '-')}: found {getattr(arguments, name)}, expected {least} or more")
    return arguments


def main(argv: list[str]) -> int:
    """Prints the ratio of audio trained on per second, ours over the reference's, and its circumstances; returns 0."""
    arguments = parse_arguments(argv)
    get_logger("benchmark")
    log = logging.getLogger("spin")
    level = log.level
    log.setLevel(logging.WARNING)  # standard output is for the result
    try:
        show(measure(arguments), arguments.json)
    finally:
        log.setLevel(level)
    return 0


def measure(arguments: argparse.Namespace) -> dict:
    """Makes the audio, then times both sides; see main. `arguments` as of parse_arguments."""
    device = resolve_device(arguments.device)
    if device.type == "cpu":
        prepare_cpu(1)
    compile_kernels()
    source = SOURCES[arguments.shape]
    settings = {"codebook_size": arguments.codebook_size, "batch_seconds": arguments.batch_seconds, "min_samples": MIN_SAMPLES}
    encoder = EncoderConfig(source=source, layer=SHAPES[source].layers)
    config = Config(encoder=encoder, spin=SpinConfig(**settings, equal_lengths=True))
    with tempfile.TemporaryDirectory() as folder:
        manifest = make_corpus(Path(folder), CORPUS_BATCHES * arguments.batch_seconds, max(1, arguments.workers))
        sides = [side(config, manifest, arguments, device) for side in (_time_own, _time_official)]
    own, reference = sides
    return {
        "ratio": own["audio_hours_per_second"] / reference["audio_hours_per_second"],
        "own": own,
        "reference": {"way": REFERENCE, **reference},
        **{name: getattr(arguments, name) for name in ("shape", "codebook_size", "batch_seconds", "updates", "workers")},
        "threads": torch.get_num_threads(),
        "device": device_name(device),
        "torch": torch.__version__,
    }


def _make_model(config: Config, device: torch.device) -> SpinModel:
    seed_torch(0, "benchmark spin")
    return make_model(config).to(device)


def scan(manifest: Path, settings: SpinConfig, equal_lengths: bool) -> TrainingCuts:
    """The utterances of an epoch of either side."""
    return scan_training_cuts([manifest] * REPEATS, dataclasses.replace(settings, equal_lengths=equal_lengths))


def _time_own(config: Config, manifest: Path, arguments: argparse.Namespace, device: torch.device) -> dict:
    dtype = autocast_dtype(config.spin.precision, device)
    update = Update(_make_model(config, device), config, dtype)
    batches = list(BatchSampler(scan(manifest, config.spin, True), seed=0).batches(0))
    timed = _time(batches, lambda batch: update(batch.micro_batches), arguments, device)
    return {**timed, "precision": "bfloat16" if dtype else "float32", "equal_lengths": True}


def _time_official(config: Config, manifest: Path, arguments: argparse.Namespace, device: torch.device) -> dict:
    update = OfficialUpdate(_make_model(config, device), config.spin)
    batches = official_batches(scan(manifest, config.spin, False), config.spin.batch_seconds)
    timed = _time(batches, lambda batch: update(batch.micro_batches[0]), arguments, device)
    return {**timed, "precision": update.precision}


def official_batches(cuts: TrainingCuts, batch_seconds: float) -> list[list[Crop]]:
    """The batches of an epoch: utterances sorted by length, then divided; each holds at most `batch_seconds` of one view."""
    batches: list[list[Crop]] = [[]]
    for crop in sorted(cuts.epoch(0, 0), key=lambda crop: (crop.duration, crop.id)):
        if batches[-1] and sum(item.duration for item in batches[-1]) + crop.duration > batch_seconds:
            batches.append([])
        batches[-1].append(crop)
    # The last batch of an epoch is seldom full. Without it the reference looks better, if anything.
    return batches[:-1] if len(batches) > 1 else batches


class OfficialUpdate:
    """Updates in the official way, at a constant learning rate.

    Args:
        model: on its device, set_trainable done; its encoder is switched to official padding.
        settings: config.spin.

    Attributes:
        precision: "float16", or "float32" on a CPU, where float16 products are emulated and many times slower.
    """

    def __init__(self, model: SpinModel, settings: SpinConfig):
        self.model, self.clip = model, settings.gradient_clip
        model.encoder.official_padding = True
        self.device = model.codebook.weight.device
        self.on_gpu = self.device.type == "cuda"
        self.precision = "float16" if self.on_gpu else "float32"
        self.parameters = list(model.trainable_parameters().values())
        rates = {"lr": settings.learning_rate, "weight_decay": settings.weight_decay}
        self.optimizer = torch.optim.Adam(self.parameters, **rates, foreach=False, fused=False)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.on_gpu)

    def __call__(self, micro_batch: MicroBatch) -> float:
        """Makes one update on a padded batch; reads the loss, and so waits for the device."""
        self.optimizer.zero_grad()
        with torch.autocast("cuda", torch.float16) if self.on_gpu else contextlib.nullcontext():
            frozen = self.model.run_frozen(micro_batch.waveforms.to(self.device), micro_batch.lengths)
            loss = self.model.objective(self.model.run_trainable(frozen)).value
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.model.objective.after_step()
        return loss.item()


class SpreadBatches:
    """BatchPlans for warm-up and timing, in turn from short to long utterances, each round spread evenly over all batches.

    Args:
        batches: those of an epoch.
        counts: number of batches of each round.
        batch_seconds: audio of one view in a batch.
    """

    world_size = 1

    def __init__(self, batches: list[list[Crop]], counts: Sequence[int], batch_seconds: float):
        self.batch_seconds = batch_seconds
        ordered = sorted(batches, key=lambda batch: sum(crop.duration for crop in batch) / len(batch))
        self.chosen = [ordered[int((number + 0.5) * len(ordered) / count)] for count in counts for number in range(count)]

    def __iter__(self) -> Iterator[BatchPlan]:
        for index, batch in enumerate(self.chosen):
            yield BatchPlan(0, index, (tuple(batch),))


def _time(
    batches: list[list[Crop]], update: Callable[[Batch], object], arguments: argparse.Namespace, device: torch.device
) -> dict:
    """Runs warm-up and timed updates; audio is that of view 1, as in the published figures."""
    warm_up, updates = WARM_UP[device.type], arguments.updates
    plans = SpreadBatches(batches, (warm_up, updates), arguments.batch_seconds)
    loader = BatchLoader(make_views(Spin.views, Config(), Path()), plans, 0, arguments.workers, device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    loaded: Iterator[Batch] = loader.batches()
    for _ in range(warm_up):
        update(next(loaded))
    synchronize(device)
    waited, begun = loader.waited, time.perf_counter()
    seconds = padded = utterances = 0
    for _ in range(updates):
        batch = next(loaded)
        update(batch)
        seconds, utterances = seconds + batch.seconds, utterances + len(batch.ids)
        padded += sum(part.waveforms.numel() for part in batch.micro_batches) / 2 / artifacts.SAMPLE_RATE
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


def durations(seconds: float) -> list[float]:
    """Lengths of utterances of read speech, in seconds, that add up to `seconds` or a little more."""
    random, drawn = generator(0, "benchmark durations"), []
    while sum(drawn) < seconds:
        low, high = LONG if random.uniform() < LONG_SHARE else SHORT
        drawn.append(round(float(random.uniform(low, high)), 3))
    return drawn


def make_corpus(folder: Path, seconds: float, nj: int) -> Path:
    """Writes FLAC files, cuts and pitch analysis into an empty folder; returns the manifest that a training reads."""
    manifest, analysed = artifacts.cuts(folder, PART), folder / "pitch"
    for path in (folder / "audio", analysed):
        path.mkdir(parents=True)
    jobs = [(index, length, folder / "audio" / f"{index:05d}.flac") for index, length in enumerate(durations(seconds))]
    write_cuts(manifest, map_jobs(_speak, jobs, nj, "fork"))
    ranges = estimate_ranges([manifest], PerturbationConfig(), nj)
    analyse_part(manifest, PART, ranges, analysed, nj, max_bad_share=0.0, log=get_logger("benchmark"))
    return artifacts.cuts_in(analysed)


def _speak(job: tuple[int, float, Path]) -> MonoCut:
    index, length, path = job
    waveform = np.clip(vowels(index, length, artifacts.SAMPLE_RATE), -1.0, 1.0)
    soundfile.write(path, waveform, artifacts.SAMPLE_RATE, subtype="PCM_16")
    recording = Recording.from_file(path, recording_id=path.stem)
    supervision = SupervisionSegment(path.stem, path.stem, 0.0, recording.duration, text="", speaker=f"voice{index % SPEAKERS}")
    return MonoCut(path.stem, 0.0, recording.duration, 0, [supervision], recording=recording)
