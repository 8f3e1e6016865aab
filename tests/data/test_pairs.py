"""Reading and pairing: the same bits whatever the number of loader workers, and bad files named instead of fatal."""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from spin.data.pair_cuts import scan_pair_cuts
from spin.data.pair_loader import PairLoader
from spin.data.pair_sampler import PairSampler
from spin.data.pairs import PairDataset, collate
from spin.errors import DataError
from spin.runtime import seeding
from tests.data.synthetic import RATE, write_corpus

CPU = torch.device("cpu")


def noisy_copy(cut, view1, epoch):
    """Stands in for the perturbation: view 1 plus noise named by (epoch, utterance); no voice in every utterance ending in 3."""
    noise = seeding.generator(0, epoch, cut.id).normal(size=len(view1))
    return (0.5 * view1 + 0.01 * noise).astype(np.float32), not cut.id.endswith("3")


def failing(cut, view1, epoch):
    raise DataError(cut.id, found="no pitch contour", remedy="run stage 1")


@pytest.fixture(scope="module")
def sampler(tmp_path_factory):
    seconds = np.random.default_rng(1).uniform(1.0, 3.0, 30).round(3).tolist()
    manifest = write_corpus(tmp_path_factory.mktemp("corpus"), "train", seconds)
    cuts = scan_pair_cuts([manifest], min_samples=RATE, max_samples=2 * RATE, batch_seconds=8.0)
    return PairSampler(cuts, 8.0, seed=0)


def _batches(sampler, workers, count=12, perturb=noisy_copy):
    return list(itertools.islice(PairLoader(PairDataset(perturb), sampler, workers, CPU), count))


def test_batches_are_the_same_bits_for_any_number_of_workers(sampler):
    reference = _batches(sampler, 0)
    assert reference[-1].epoch > 0
    for workers in (1, 2, 4):
        for expected, found in zip(reference, _batches(sampler, workers), strict=True):
            assert (expected.epoch, expected.index, expected.ids) == (found.epoch, found.index, found.ids)
            assert torch.equal(expected.parts[0].waveforms, found.parts[0].waveforms)
            assert torch.equal(expected.parts[0].lengths, found.parts[0].lengths)


def test_views_lie_side_by_side_and_degenerate_ones_are_named(sampler):
    batch = _batches(sampler, 0, count=1)[0]
    part, size = batch.parts[0], len(batch.ids)
    assert part.waveforms.shape[0] == 2 * size and batch.seconds == pytest.approx(float(part.lengths[:size].sum()) / RATE)
    for row in range(size):
        length = int(part.lengths[row])
        view1, view2 = part.waveforms[row], part.waveforms[size + row]
        assert float((view2[:length] - 0.5 * view1[:length]).std()) == pytest.approx(0.01, rel=0.1)
        assert not part.waveforms[[row, size + row], length:].any()
    assert batch.unchanged == [name for name in batch.ids if name.endswith("3")]


def test_views_change_from_epoch_to_epoch(sampler):
    epochs = {}
    for batch in _batches(sampler, 0, count=12):
        epochs.setdefault(batch.epoch, {}).update(zip(batch.ids, batch.parts[0].waveforms[len(batch.ids) :], strict=True))
    common = sorted(set(epochs[0]) & set(epochs[1]))
    assert common and not any(torch.equal(epochs[0][name][:RATE], epochs[1][name][:RATE]) for name in common)


def test_an_unreadable_file_is_named_and_the_rest_of_the_batch_goes_on(sampler, tmp_path):
    manifest = write_corpus(tmp_path, "train", [1.5, 1.5, 1.5])
    (tmp_path / "audio" / "train-0001.wav").write_bytes(b"not audio")
    (tmp_path / "audio" / "train-0002.wav").unlink()
    cuts = scan_pair_cuts([manifest], min_samples=RATE, max_samples=2 * RATE, batch_seconds=8.0)
    batch = _batches(PairSampler(cuts, 8.0, seed=0), 0, count=1)[0]
    assert batch.ids == ["train-0000"] and batch.parts[0].waveforms.shape[0] == 2
    assert sorted(name for name, _ in batch.unreadable) == ["train-0001", "train-0002"]
    assert all(reason for _, reason in batch.unreadable)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_with_a_remedy_passes_the_process_border_whole(sampler, workers):
    with pytest.raises(DataError, match="no pitch contour") as caught:
        _batches(sampler, workers, perturb=failing)
    assert caught.value.remedy == "run stage 1"


def test_views_of_unequal_length_are_a_defect():
    with pytest.raises(ValueError, match="unequal length"):
        collate([(np.zeros(500, np.float32), np.zeros(499, np.float32))])


def test_the_clock_counts_waiting(sampler):
    loader = PairLoader(PairDataset(noisy_copy), sampler, 0, CPU)
    next(iter(loader))
    assert loader.waited > 0


def test_a_stop_meant_for_the_training_ends_no_worker(sampler):
    torch.set_num_threads(2)  # torch's threads in a worker are begun before anything of ours runs there
    batches = iter(PairLoader(PairDataset(noisy_copy), sampler, 2, CPU))
    next(batches)
    workers = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    assert len(workers) >= 2
    for _ in range(5):
        subprocess.run(["kill", "-TERM", *workers], check=True)  # as from a scheduler: not from the parent
        time.sleep(0.05)
    expected = itertools.islice(PairLoader(PairDataset(noisy_copy), sampler, 0, CPU), 1, 30)
    assert [batch.ids for batch in itertools.islice(batches, 29)] == [batch.ids for batch in expected]
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
