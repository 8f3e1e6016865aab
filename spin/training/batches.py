"""Batches of views for stage 2: which utterances, in which batches, with which transforms and labels."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from spin import artifacts, products
from spin.data.crops import TrainingCuts, scan_training_cuts
from spin.data.dataset import ViewDataset
from spin.data.loader import BatchLoader
from spin.data.sampler import BatchSampler
from spin.data.views import make_views
from spin.objectives.spin import Spin
from spin.perturbation.perturb import compile_kernels
from spin.runtime import distributed
from spin.runtime.context import Context


def scan_cuts(context: Context, objective: Spin) -> TrainingCuts:
    """The utterances of corpus.spin_train, with their frame labels where the objective needs them.

    Raises:
        DataError: a product of stage 1 is missing, or no utterance is long enough.
    """
    config, settings = context.config, context.config.spin
    folders = [products.pitch(context, part).require() for part in config.corpus.spin_train]
    labels = [Path(config.rspin.labels) / f"{part}.jsonl" for part in config.corpus.spin_train if objective.needs_labels]
    cuts = scan_training_cuts(
        [artifacts.cuts_in(folder) for folder in folders],
        min_samples=settings.min_samples,
        max_samples=settings.max_samples,
        batch_seconds=settings.batch_seconds,
        equal_lengths=settings.equal_lengths,
        labels=labels,
    )
    if cuts.short:
        named = ", ".join(itertools.islice(cuts.short, 5))
        context.log.info("%d utterance(s) shorter than %d samples are skipped: %s ...", len(cuts.short), cuts.min_samples, named)
    return cuts


def make_loaders(
    context: Context, cuts: TrainingCuts, views: Sequence[Sequence[str]], device: torch.device
) -> Callable[[int, int], BatchLoader]:
    """A function (epoch, index) -> loader of this rank's share of the batches from there on, without end."""
    config, settings = context.config, context.config.spin
    dataset = ViewDataset(make_views(views, config, context.corpus), config.seed)
    compile_kernels()  # before the loader forks its workers, so that they need not

    def start(epoch: int, index: int) -> BatchLoader:
        sampler = BatchSampler(
            cuts,
            settings.batch_seconds,
            config.seed,
            accumulation=settings.accumulation,
            rank=distributed.rank(),
            world_size=distributed.world_size(),
            epoch=epoch,
            index=index,
        )
        return BatchLoader(dataset, sampler, settings.workers, device)

    return start
