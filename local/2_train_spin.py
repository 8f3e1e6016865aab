#!/usr/bin/env python3
"""Stage 2: fine-tunes the encoder with a Spin objective on pairs of views, drawn on the fly.

The model is that of the last step, as in the paper. The step with the best PNMI on the valid parts is
exp/<name>/spin/checkpoints/best.safetensors.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from spin import artifacts, products
from spin.runtime.product import Context
from spin.runtime.stage import run_stage

if TYPE_CHECKING:  # torch is imported only for work
    import torch

    from spin.training.loop import Training


def train_spin(context: Context) -> None:
    """Trains the model that the configuration describes, or resumes a training that was interrupted."""
    if artifacts.SPIN not in context.config.systems:
        context.log.info("no system is trained (systems lacks 'spin'): skipped")
        return
    product = products.spin(context)
    if not product.needs_build():
        return
    from spin.runtime import distributed
    from spin.runtime.devices import prepare_cpu, resolve_device

    config = context.config
    device = resolve_device(config.runtime.device)
    if device.type == "cpu":
        prepare_cpu(config.runtime.threads)
    rank, size = distributed.start(device)
    if size < config.runtime.gpus:
        context.log.warning("runtime.gpus is %d, but there are %d process(es): pass --gpus to run.sh", config.runtime.gpus, size)
    try:
        with product.building() as folder:
            training = prepare_training(context, folder, device)
            training.run()
            if rank == 0:
                write_results(context, folder, training)
    finally:
        distributed.finish()


def prepare_training(context: Context, folder: Path, device: torch.device) -> Training:
    """Model, batches of views, and validation; resumes from the checkpoints in `folder`."""
    from spin.data.loader import make_loader, make_views
    from spin.data.plan import scan_training_cuts
    from spin.objectives.model import SpinModel
    from spin.perturbation.perturb import compile_kernels
    from spin.runtime import distributed
    from spin.runtime.devices import device_name
    from spin.training.loop import Training
    from spin.training.monitor import Validation, choose_cuts

    config, settings, parts = context.config, context.config.spin, context.config.corpus.spin_train
    model = SpinModel.create(config).to(device)
    manifests = [artifacts.cuts_in(products.pitch(context, part).require()) for part in parts]
    labels = [Path(config.rspin.labels) / f"{part}.jsonl" for part in parts] if model.objective.needs_labels else []
    cuts = scan_training_cuts(manifests, settings, labels)
    compile_kernels()  # before the loader forks its workers, so that they need not
    loader = make_loader(config, cuts, make_views(model.objective.views, config, context.corpus), device)
    valid = [products.manifest(context, part).require() for part in config.corpus.valid]
    chosen = choose_cuts(valid, settings.valid_utterances, config.corpus.min_duration_in_s) if distributed.rank() == 0 else []
    trained = sum(parameter.numel() for parameter in model.trainable_parameters().values())
    context.log.info(
        "%s on %d utterances, %s x %d, %.1f M trained parameters",
        config.objective,
        cuts.count,
        device_name(device),
        distributed.world_size(),
        trained / 1e6,
    )
    return Training(config, folder, context.tensorboard, model, loader, Validation(chosen), cuts)


def write_results(context: Context, folder: Path, training: Training) -> None:
    """Writes the model of the last step, and the list of rejected utterances."""
    from spin.objectives.model import save_model

    rejects, parts = training.monitor.rejects(), ",".join(context.config.corpus.spin_train)
    for name in training.cuts.short:
        rejects.add(name, parts, f"too short for spin.min_samples: below {training.settings.min_samples} samples")
    rejects.close()
    objective = context.config.objective
    notes = {} if objective == "spin" else {"objective": objective}
    save_model(artifacts.model_in(folder), training.model.eval().cpu(), notes=notes)


if __name__ == "__main__":
    run_stage(2, sys.argv[1:], train_spin, __doc__)
