"""Reading and transforming for training; bad files are named instead of fatal. Workers: tests/training/test_train_spin.py."""

import dataclasses
import itertools
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from spin.config import SpinConfig
from spin.data.cuts import read_cuts
from spin.data.loader import Batch, BatchLoader, collate
from spin.data.plan import BatchSampler, num_frames, scan_training_cuts
from spin.errors import DataError
from spin.objectives import NO_LABEL
from spin.runtime.files import write_jsonl
from tests.data.synthetic import RATE, noisy_copy, write_corpus


def failing(waveform, cut, keys):
    raise DataError(cut.id, found="no pitch contour", remedy="run stage 1")


def make_sampler(manifest, labels=()) -> BatchSampler:
    settings = SpinConfig(min_samples=RATE, max_samples=2 * RATE, batch_seconds=8.0)
    return BatchSampler(scan_training_cuts([manifest], settings, labels), seed=0)


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    seconds = np.random.default_rng(1).uniform(1.0, 3.0, 30).round(3).tolist()
    return make_sampler(write_corpus(tmp_path_factory.mktemp("corpus"), "train", seconds))


def make_loader(views, sampler, workers=0) -> BatchLoader:
    return BatchLoader(views, sampler, 0, workers, torch.device("cpu"))


def load(sampler, workers=0, count=12, transform=noisy_copy) -> list[Batch]:
    return list(itertools.islice(make_loader([(), (transform,)], sampler, workers).batches(), count))


def test_views_follow_each_other_with_transforms_in_order_and_draws_of_their_own(sampler):
    seen = []

    def add(waveform, cut, keys):
        seen.append(keys)
        return waveform + 1

    def double(waveform, cut, keys):
        return 2 * waveform

    plan = next(iter(dataclasses.replace(sampler, start=(1, 0))))
    batch = make_loader([(), (add, double), (double, add)], sampler)[plan]
    micro, lengths = batch.micro_batches[0], batch.micro_batches[0].lengths[: len(batch.ids)].tolist()
    for plain, first, second, length in zip(*micro.waveforms.chunk(3), lengths, strict=True):
        assert torch.equal(first[:length], 2 * (plain[:length] + 1)) and torch.equal(second[:length], 2 * plain[:length] + 1)
        assert plain[:length].any() and not any(view[length:].any() for view in (plain, first, second))
    assert batch.seconds == pytest.approx(sum(lengths) / RATE) and micro.labels is None
    name = plan.micro_batches[0][0].id
    assert seen[:2] == [(0, 1, name), (0, 1, name, "view 2")]


def test_labels_are_padded_and_shared_by_the_views(tmp_path):
    manifest = write_corpus(tmp_path, "train", [1.0, 1.5, 2.5])
    lines = [{"id": cut.id, "units": list(range(num_frames(cut.num_samples)))} for cut in read_cuts(manifest)]
    write_jsonl(tmp_path / "labels.jsonl", lines[:2])
    batch = load(make_sampler(manifest, labels=[tmp_path / "labels.jsonl"]), count=1)[0]
    labels = batch.micro_batches[0].labels
    assert labels.dtype == torch.int64 and labels.shape == (3, num_frames(2 * RATE))
    for name, row in zip(batch.ids, labels.tolist()):
        frames = {"train-0000": 49, "train-0001": 74, "train-0002": 0}[name]
        assert row == [*range(frames), *[NO_LABEL] * (len(row) - frames)]


def test_an_unreadable_file_is_named_and_the_rest_of_the_batch_continues(tmp_path):
    manifest = write_corpus(tmp_path, "train", [1.5, 1.5, 1.5])
    (tmp_path / "audio" / "train-0001.wav").write_bytes(b"not audio")
    (tmp_path / "audio" / "train-0002.wav").unlink()
    batch = load(make_sampler(manifest), count=1)[0]
    assert batch.ids == ["train-0000"] and batch.micro_batches[0].waveforms.shape[0] == 2
    assert sorted(batch.unreadable) == ["train-0001", "train-0002"] and all(batch.unreadable.values())


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_with_a_remedy_crosses_processes_whole(sampler, workers):
    with pytest.raises(DataError, match="no pitch contour") as caught:
        load(sampler, workers, transform=failing)
    assert caught.value.remedy == "run stage 1"


def test_views_of_unequal_length_are_a_defect():
    with pytest.raises(ValueError, match="unequal length"):
        collate([(np.zeros(500, np.float32), np.zeros(499, np.float32))], [None])


def test_a_stop_meant_for_the_training_ends_no_worker_and_the_clock_counts_waiting(sampler):
    torch.set_num_threads(2)  # torch's threads in a worker are begun before anything of ours runs there
    loader = make_loader([(), (noisy_copy,)], sampler, 2)
    batches = loader.batches()
    next(batches)
    assert loader.waited > 0
    workers = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    assert len(workers) >= 2
    for _ in range(5):
        subprocess.run(["kill", "-TERM", *workers], check=True)  # as from a scheduler: not from the parent
        time.sleep(0.05)
    assert [batch.ids for batch in itertools.islice(batches, 29)] == [batch.ids for batch in load(sampler, count=30)[1:]]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
