"""Masked-prediction pre-training: masks, labels, the loss against an oracle, augmentation, resume to the bit."""

import os
import runpy
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin import artifacts
from spin.config import Config, CorpusConfig, GeneratedPart, PretrainConfig, RuntimeConfig, SpinConfig
from spin.data.cuts import read_cuts
from spin.data.plan import num_frames
from spin.errors import DataError, TrainingError
from spin.models.encoder import Encoder
from spin.models.importers import load_encoder
from spin.models.weights import save_encoder
from spin.objectives import NO_LABEL
from spin.runtime.files import read_json, read_jsonl, write_jsonl
from spin.runtime.logs import get_logger
from spin.runtime.product import Context
from spin.training import pretrain
from spin.training.pretrain import MaskedPredictor, draw_mask
from spin.training.pretrain_labels import make_labels, mfcc
from tests.data.synthetic import prepare_part, write_corpus
from tests.training.test_train_spin import LOCAL
from tests.training.tiny_training import SHAPE, equal, noise_batch

SETTINGS = PretrainConfig(batch_seconds=4, max_samples=16_000, clusters=(5, 4), steps=(6, 4), label_layer=1, kmeans_hours=0.01)
SECONDS = [1.0 + 0.1 * index for index in range(12)]
pretrain_encoder = runpy.run_path(str(LOCAL / "pretrain_encoder.py"))["pretrain_encoder"]


def test_share_of_masked_frames():
    mask = draw_mask(np.random.default_rng(0), 200_000, 0.08, 10)
    assert mask.mean() == pytest.approx(1 - 0.92**10, abs=0.01)


@given(st.integers(1, 300), st.floats(0.0, 0.5), st.integers(1, 20), st.integers(0, 1000))
def test_masks_are_spans(frames, probability, length, seed):
    mask = draw_mask(np.random.default_rng(seed), frames, probability, length)
    assert mask.shape == (frames,) and mask.any()
    starts = np.flatnonzero(mask & ~np.concatenate([[False], mask[:-1]]))
    stops = np.flatnonzero(~mask & np.concatenate([[False], mask[:-1]]))
    for start, stop in zip(starts, [*stops, frames]):  # a run is shorter than a span only where the utterance ends
        assert stop - start >= min(length, frames - start)


def test_frames_of_mfcc_and_encoder_agree():
    encoder = Encoder(SHAPE).eval()
    for samples in (400, 719, 720, 8_000, 12_345):
        wave = torch.randn(samples)
        hidden, lengths = encoder(wave[None], torch.tensor([samples]))
        assert num_frames(samples) == int(lengths[0]) == hidden[0].shape[1] == len(mfcc(wave))


def test_loss_equals_a_slow_oracle_and_padding_has_no_part():
    torch.manual_seed(0)
    model = MaskedPredictor(Encoder(SHAPE), clusters=7, dim=6).eval()
    waves, lengths = torch.randn(2, 4_000), torch.tensor([4_000, 3_000])
    labels, mask = torch.randint(7, (2, 12)), torch.rand(2, 12) < 0.5
    labels[1, 9:], mask[1, 9:] = NO_LABEL, False
    loss, correct = model(waves, lengths, mask, labels)
    features, frames = model.encoder.local_features(waves, lengths)
    features = features.clone()
    features[mask] = model.mask_embedding
    hidden = model.projection(model.encoder.contextualise(features, frames)[-1]).detach().numpy().astype(np.float64)
    centres = model.clusters.detach().numpy().astype(np.float64)
    sums, counts, right = {True: 0.0, False: 0.0}, {True: 0, False: 0}, 0
    for b, count in enumerate(frames.tolist()):
        for t in range(count):
            frame = hidden[b, t] / np.linalg.norm(hidden[b, t])
            cosines = np.array([frame @ c / np.linalg.norm(c) for c in centres]) / 0.1
            masked = bool(mask[b, t])
            sums[masked] += np.log(np.exp(cosines).sum()) - cosines[labels[b, t]]
            counts[masked] += 1
            right += masked and cosines.argmax() == labels[b, t]
    assert float(loss.detach()) == pytest.approx(sums[True] / counts[True] + 0.5 * sums[False] / counts[False], rel=1e-5)
    assert float(correct) == pytest.approx(right / counts[True])


@pytest.mark.parametrize("label", [0, NO_LABEL])
def test_nothing_unmasked_or_nothing_labelled_is_finite(label):
    model = MaskedPredictor(Encoder(SHAPE), clusters=3)
    mask = torch.ones(1, 6, dtype=torch.bool)
    loss, _ = model(torch.randn(1, 2_000), torch.tensor([2_000]), mask, torch.full((1, 6), label))
    assert torch.isfinite(loss)


def test_labels_find_clear_clusters_in_every_voice_and_skip_unreadable_audio(tmp_path):
    """Two phones, three voices far apart: normalised per speaker, the clusters are the phones."""
    manifest = write_corpus(tmp_path, "part", [2.0] * 6, pitch_name=False)
    (tmp_path / "audio" / "part-0005.wav").write_bytes(b"")
    calls = []

    def extract(waveform):
        frames, number = num_frames(len(waveform)), len(calls)
        calls.append(number)
        phones = torch.arange(frames)[:, None] % 2
        return phones * 1.0 + 50.0 * (number % 3) + torch.tensor(np.random.default_rng(number).normal(0, 0.05, (frames, 2)))

    (path,) = make_labels(tmp_path / "labels", {"part": manifest}, extract, 2, 1.0, 0)
    lines = {record["id"]: np.array(record["units"]) for record in read_jsonl(path)}
    assert list(lines) == [f"part-{number:04d}" for number in range(5)]
    first = lines["part-0000"][0]
    assert all((units == np.where(np.arange(len(units)) % 2, 1 - first, first)).all() for units in lines.values())
    assert read_json(tmp_path / "labels" / "labels.json") == {"classes": 2}
    make_labels(tmp_path / "labels", {"part": manifest}, extract, 2, 1.0, 0)
    assert len(calls) == 5 and not list(tmp_path.rglob("features.bin"))  # complete labels are not made again


def test_augmentation_repeats_and_differs_between_epochs(tmp_path):
    cut = next(iter(read_cuts(write_corpus(tmp_path, "part", [1.0], pitch_name=False))))
    wave = noise_batch([16_000]).waveforms[0].numpy()
    made = [pretrain.augment(wave, cut, (0, epoch, cut.id, "view 0")) for epoch in (*range(12), *range(12))]
    assert all(np.array_equal(one, two) for one, two in zip(made[:12], made[12:]))
    changed = [not np.array_equal(one, wave) for one in made[:12]]
    assert any(changed) and all(one.dtype == np.float32 and np.isfinite(one).all() for one in made)
    assert len({one.tobytes() for one, change in zip(made, changed) if change}) == sum(changed)


@pytest.fixture
def context(tmp_path, monkeypatch):
    """An experiment after stage 0, with a further manifest."""
    monkeypatch.setattr(pretrain, "TINY_SHAPE", SHAPE)
    monkeypatch.setattr(pretrain, "CHECKPOINT_EVERY_STEPS", 2)
    part = GeneratedPart(first_speaker=0, speakers=3, utterances=4)  # the test writes its manifest itself
    corpus = CorpusConfig(parts={"pretrain": part}, spin_train=("pretrain",))
    further = write_corpus(tmp_path / "further", "further", SECONDS[:4], pitch_name=False)
    settings = replace(SETTINGS, manifests=(str(further),), augment=True)
    runtime = RuntimeConfig(threads=1, device="cpu")
    config = Config(corpus=corpus, pretrain=settings, spin=SpinConfig(workers=0), runtime=runtime)
    context = Context(config, tmp_path / "exp", tmp_path / "corpus", 2, get_logger("test"))
    prepare_part(context, "pretrain", SECONDS)
    return context


def run(context: Context, name: str = "exp", **changes) -> dict:
    """Weights of a pre-training in the folder `name`."""
    config = replace(context.config, pretrain=replace(context.config.pretrain, **changes))
    context = replace(context, config=config, exp=context.exp.parent / name, checked=set())
    pretrain_encoder(context)
    return load_encoder(context.exp / "pretrain" / "encoder.safetensors").state_dict()


@pytest.mark.parametrize("number", [None, signal.SIGTERM])
def test_an_interrupted_pretraining_ends_with_the_same_weights(context, monkeypatch, number):
    whole = run(context)
    predict, calls = pretrain.predict, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 4 and number is None:  # after the checkpoint of step 2, in the first iteration
            raise KeyboardInterrupt
        if len(calls) == 3 and number is not None:  # between two checkpoints
            os.kill(os.getpid(), number)
        return predict(*arguments)

    monkeypatch.setattr(pretrain, "predict", interrupted)
    with pytest.raises(KeyboardInterrupt if number is None else SystemExit) as ending:
        run(context, "again")
    assert number is None or ending.value.code == 143
    again = run(context, "again")
    assert len(calls) == (4 + (6 - 2) + 4 if number is None else 6 + 4)  # saved steps are not repeated
    assert equal(whole, again)


def test_only_other_settings_rebuild_the_encoder(context):
    path = context.exp / "pretrain" / "encoder.safetensors"
    first, made = run(context), path.stat().st_mtime_ns
    run(context)
    assert path.stat().st_mtime_ns == made
    assert not equal(first, run(context, augment=False))
    save_encoder(context.exp.parent / "init.safetensors", Encoder(SHAPE))
    started = run(context, init=str(context.exp.parent / "init.safetensors"), augment=False)
    assert not equal(started, first)


def test_no_data_and_a_loss_that_is_not_finite_are_errors(context, monkeypatch):
    empty = context.exp.parent / "empty.jsonl"
    write_jsonl(empty, [])
    with pytest.raises(DataError, match="no readable utterance"):
        make_labels(context.exp, {"none": empty}, mfcc, 2, 1.0, 0)
    nothing = (torch.tensor(float("nan"), requires_grad=True), torch.tensor(0.0))
    monkeypatch.setattr(pretrain, "predict", lambda *_: nothing)
    with pytest.raises(TrainingError, match="(?s)iteration 1, step 6.*--set pretrain.learning_rate=0.0005"):
        run(context)
    assert not artifacts.spin_folder(context.exp).exists()
