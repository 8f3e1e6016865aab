"""Stage 2: Spin fine-tuning of an encoder; writes the model that stage 3 reads."""

from __future__ import annotations

import itertools
import time

from spin import artifacts
from spin.config import Config
from spin.data.pair_cuts import PairCuts, scan_pair_cuts
from spin.data.second_view import SecondView
from spin.models.importers import load_encoder
from spin.models.spin_model import SpinModel, save_model
from spin.perturbation.warm_up import warm_up
from spin.runtime.devices import device_name, prepare_cpu, resolve_device
from spin.runtime.rejects import Rejects
from spin.training import ranks
from spin.training.spin_loop import SpinTraining
from spin.training.spin_validation import Validation, valid_cuts

STAGE = 2


def train_spin(context) -> None:
    """Trains config.spin on the pairs of config.corpus.spin_train, or goes on with a training that was cut off.

    The model written is that of the last step, as in the paper; the step with the best PNMI on valid stays in
    exp/<name>/spin/checkpoints/best.pt.

    Args:
        context: see spin.runtime.stages.Context.

    Raises:
        SpinError: no data, an encoder that cannot be read, not a number, a collapsed codebook.
    """
    config, log = context.config, context.log
    device = resolve_device(config.runtime.device)
    if device.type == "cpu":
        prepare_cpu(config.runtime.threads)
    rank, size = ranks.start(device, config.runtime.rank_patience)
    if size < config.runtime.gpus:
        log.warning("runtime.gpus is %d, but there are %d process(es): give --gpus to run.sh", config.runtime.gpus, size)
    try:
        cuts = _training_cuts(context)
        model = build_model(config).to(device)
        trained = sum(parameter.numel() for parameter in model.trainable_parameters())
        log.info(
            "Spin on %d utterances, %s x %d, %.1f M trained parameters", cuts.count, device_name(device), size, trained / 1e6
        )
        perturb = SecondView(config.seed, config.perturbation)
        warm_up()  # compiled before the loader's workers are forked, so that they need not
        validation = Validation(
            valid_cuts(config, context.corpus) if rank == 0 else [], config.spin.codebook_size, config.encoder.official_padding
        )
        context.begin()
        training = SpinTraining(config, context.exp, context.tensorboard, model, cuts, perturb, validation)
        begun = time.monotonic()
        training.run()
        if rank == 0:
            _write(context, model, cuts, training, time.monotonic() - begun)
    finally:
        ranks.finish()


def build_model(config: Config) -> SpinModel:
    """The encoder of config.encoder.source with a fresh head and codebook, its top layers trainable, on the CPU."""
    encoder = load_encoder(config.encoder.source)
    settings = config.spin
    model = SpinModel.create(encoder, config.encoder.layer, settings.codebook_size, settings.codebook_dim, config.seed)
    return model.set_trainable(settings.trainable_layers)


def _training_cuts(context) -> PairCuts:
    settings = context.config.spin
    paths = [artifacts.pitch_cuts(context.corpus, part) for part in context.config.corpus.spin_train]
    cuts = scan_pair_cuts(
        paths,
        min_samples=settings.min_samples,
        max_samples=settings.max_samples,
        batch_seconds=settings.batch_seconds,
        equal_lengths=settings.equal_lengths,
    )
    if cuts.short:
        named = ", ".join(itertools.islice(cuts.short, 5))
        context.log.info(
            "%d utterance(s) shorter than %d samples are left out: %s ...", len(cuts.short), settings.min_samples, named
        )
    return cuts


def _write(context, model: SpinModel, cuts: PairCuts, training: SpinTraining, seconds: float) -> None:
    rejects = Rejects(artifacts.rejects(context.exp, STAGE), STAGE)
    parts = ",".join(context.config.corpus.spin_train)
    for name in cuts.short:
        rejects.add(name, parts, f"too short for spin.min_samples: below {cuts.min_samples} samples")
    for name, reason in training.monitor.unreadable.items():
        rejects.add(name, parts, f"unreadable: {reason}")
    rejects.close()
    unvoiced = sorted(training.monitor.unchanged)
    if unvoiced:
        context.log.warning("%d utterance(s) without a voiced frame, equalised only: %s", len(unvoiced), ", ".join(unvoiced[:20]))
    model.eval()
    save_model(artifacts.spin_model(context.exp), model.cpu())
    context.log.info("trained in %.1f s; model: %s", seconds, artifacts.spin_model(context.exp))
