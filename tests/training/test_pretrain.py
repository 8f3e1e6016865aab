"""Masked-prediction pre-training: masks, batches, labels, the loss against an oracle, resume to the bit."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from spin import artifacts
from spin.config import Config, CorpusConfig, PretrainConfig, RuntimeConfig
from spin.errors import DataError, TrainingError
from spin.models.encoder import Encoder
from spin.models.importers import load_encoder
from spin.models.shape import EncoderShape
from spin.runtime.files import write_jsonl
from spin.runtime.locks import folder_lock
from spin.training import pretrain_stage
from spin.training.masked_prediction import MaskedPredictor, draw_mask
from spin.training.pretrain_data import MaskedBatches, plan_epoch
from spin.training.pretrain_labels import FeatureFile, Utterance, frame_count, make_labels, mfcc

ROOT = Path(__file__).resolve().parents[2]
SHAPE = EncoderShape(conv_channels=(8,) * 7, dim=16, layers=2, heads=2, ffn_dim=32, pos_conv_taps=8, pos_conv_groups=2)
SETTINGS = PretrainConfig(batch_seconds=4, max_samples=16_000, clusters=(5, 4), steps=(6, 4), label_layer=1, warmup_steps=2,
                          checkpoint_every_steps=2, log_every_steps=2, kmeans_hours=0.01)  # fmt: skip


@given(st.integers(1, 300), st.floats(0.0, 0.5), st.integers(1, 20), st.integers(0, 1000))
def test_masks_are_spans(frames, probability, length, seed):
    mask = draw_mask(np.random.default_rng(seed), frames, probability, length)
    assert mask.shape == (frames,) and mask.any()
    starts = np.flatnonzero(mask & ~np.concatenate([[False], mask[:-1]]))
    stops = np.flatnonzero(~mask & np.concatenate([[False], mask[:-1]]))
    for start, stop in zip(starts, [*stops, frames]):  # a run is shorter than a span only where the utterance ends
        assert stop - start >= min(length, frames - start)


def test_share_of_masked_frames():
    mask = draw_mask(np.random.default_rng(0), 200_000, 0.08, 10)
    assert mask.mean() == pytest.approx(1 - 0.92**10, abs=0.01)


@given(st.lists(st.integers(8_000, 60_000), min_size=1, max_size=60), st.integers(0, 5))
def test_an_epoch_holds_every_utterance_once_within_the_budget(samples, epoch):
    samples = np.array(samples)
    batches = plan_epoch(samples, SETTINGS, 0, 0, epoch)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(samples)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * np.minimum(samples[batch], SETTINGS.max_samples).max() <= 4 * 16_000


def test_epochs_differ_and_repeat():
    samples = np.arange(8_000, 12_000, 50)
    one, two = plan_epoch(samples, SETTINGS, 0, 0, 0), plan_epoch(samples, SETTINGS, 0, 0, 1)
    assert [b.tolist() for b in one] != [b.tolist() for b in two]
    assert [b.tolist() for b in one] == [b.tolist() for b in plan_epoch(samples, SETTINGS, 0, 0, 0)]


def test_frames_of_mfcc_and_encoder_agree():
    encoder = Encoder(SHAPE).eval()
    for samples in (400, 719, 720, 8_000, 12_345):
        wave = torch.randn(samples)
        hidden, lengths = encoder(wave[None], torch.tensor([samples]))
        assert frame_count(samples) == int(lengths[0]) == hidden[0].shape[1] == len(mfcc(wave))


def test_loss_equals_a_slow_oracle():
    torch.manual_seed(0)
    model = MaskedPredictor(Encoder(SHAPE), clusters=7, unmasked_weight=0.5, dim=6).eval()
    waves = torch.randn(2, 4_000)
    labels = torch.randint(7, (2, 12))
    mask = torch.rand(2, 12) < 0.5
    loss, correct = model(waves, mask, labels)
    features, lengths = model.encoder.local_features(waves, torch.tensor([4_000, 4_000]))
    features = features.clone()
    features[mask] = model.mask_embedding
    hidden = model.projection(model.encoder.contextualise(features, lengths)[-1]).detach().numpy().astype(np.float64)
    centres = model.clusters.detach().numpy().astype(np.float64)
    sums, counts, right = {True: 0.0, False: 0.0}, {True: 0, False: 0}, 0
    for b in range(2):
        for t in range(12):
            frame = hidden[b, t] / np.linalg.norm(hidden[b, t])
            cosines = np.array([frame @ c / np.linalg.norm(c) for c in centres]) / 0.1
            masked = bool(mask[b, t])
            sums[masked] += np.log(np.exp(cosines).sum()) - cosines[labels[b, t]]
            counts[masked] += 1
            right += masked and cosines.argmax() == labels[b, t]
    assert float(loss.detach()) == pytest.approx(sums[True] / counts[True] + 0.5 * sums[False] / counts[False], rel=1e-5)
    assert float(correct) == pytest.approx(right / counts[True])


def test_everything_masked_is_no_division_by_nothing():
    model = MaskedPredictor(Encoder(SHAPE), clusters=3, unmasked_weight=1.0)
    loss, _ = model(torch.randn(1, 2_000), torch.ones(1, 6, dtype=torch.bool), torch.zeros(1, 6, dtype=torch.int64))
    assert torch.isfinite(loss)


def test_speakers_are_normalised_each_by_itself(tmp_path):
    utterances = [Utterance(f"u{i}", "ab"[i % 2], "", 400 + 320 * 49) for i in range(6)]
    store = FeatureFile(tmp_path / "f.npy", utterances, 3)
    random = np.random.default_rng(0)
    store.fill(random.normal((5.0, -20.0)[i % 2], (1.0, 4.0)[i % 2], (50, 3)).astype(np.float32) for i in range(6))
    store.normalise_speakers()
    for speaker in (0, 1):
        frames = np.concatenate([store.frames[50 * i : 50 * i + 50] for i in range(speaker, 6, 2)]).astype(np.float64)
        assert np.allclose(frames.mean(0), 0, atol=0.01) and np.allclose(frames.std(0), 1, atol=0.01)


def test_labels_find_clear_clusters_whatever_the_voice(tmp_path):
    """Two phones, two voices far apart: normalised, the clusters are the phones; not normalised, they are the voices."""
    utterances = [Utterance(f"u{i}", "ab"[i % 2], "", 400 + 320 * 99) for i in range(8)]
    phones = np.arange(100) % 2

    def features(chosen):
        for i, _ in enumerate(chosen):
            yield (phones[:, None] * 1.0 + 50.0 * (i % 2) + np.random.default_rng(i).normal(0, 0.05, (100, 2))).astype(np.float32)

    for normalised in (True, False):
        path = make_labels(tmp_path / str(normalised), utterances, features, 2, 2, 1.0, normalised, 0)
        labels = np.load(path)["labels"].reshape(8, 100)
        agree = np.mean([[labels[i][phones == p].mean().round() == labels[i][phones == p] for p in (0, 1)] for i in range(8)])
        assert agree == 1.0
        assert (len(set(labels[:, 0])) == 1) is normalised  # one label for phone 0 in every voice, or one for each voice
    assert not list(tmp_path.rglob("features.npy"))


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrain_stage, "TINY_SHAPE", SHAPE)
    random, cuts = np.random.default_rng(0), []
    for i in range(12):
        samples = int(random.integers(10_000, 24_000))
        path = tmp_path / f"u{i}.wav"
        soundfile.write(path, random.normal(0, 0.1, samples).astype(np.float32), 16_000)
        cuts.append(_cut(f"u{i}", f"s{i % 3}", path, samples))
    write_jsonl(artifacts.cuts(tmp_path, "pretrain"), cuts)
    config = Config(corpus=CorpusConfig(), pretrain=SETTINGS, runtime=RuntimeConfig(threads=1, device="cpu"))
    return SimpleNamespace(config=config, exp=tmp_path / "exp", corpus=tmp_path, log=logging.getLogger("test"), force=False)


def _cut(identity, speaker, path, samples):
    from lhotse import MonoCut, Recording, SupervisionSegment
    from lhotse.audio import AudioSource

    recording = Recording(identity, [AudioSource("file", [0], str(path))], 16_000, samples, samples / 16_000, channel_ids=[0])
    supervision = SupervisionSegment(identity, identity, 0.0, samples / 16_000, speaker=speaker, text="A")
    return MonoCut(identity, 0.0, samples / 16_000, 0, supervisions=[supervision], recording=recording).to_dict()


def test_a_cut_off_pretraining_ends_in_the_same_weights(context, tmp_path, monkeypatch):
    whole = load_encoder(pretrain_stage.pretrain(context)).state_dict()
    context.exp = tmp_path / "exp2"
    update, calls = pretrain_stage._update, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 4:  # after the checkpoint of step 2, in the middle of the first iteration
            raise KeyboardInterrupt
        return update(*arguments)

    monkeypatch.setattr(pretrain_stage, "_update", dies)
    with pytest.raises(KeyboardInterrupt):
        pretrain_stage.pretrain(context)
    again = load_encoder(pretrain_stage.pretrain(context)).state_dict()
    assert len(calls) == 4 + (6 - 2) + 4  # steps 0 and 1 are not done again
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_pretraining_ends_in_the_same_weights(context, tmp_path, monkeypatch, number, status):
    whole = load_encoder(pretrain_stage.pretrain(context)).state_dict()
    context.exp = tmp_path / "exp2"
    update, calls = pretrain_stage._update, []

    def stopped(*arguments):
        calls.append(1)
        if len(calls) == 3:  # between two checkpoints
            os.kill(os.getpid(), number)
        return update(*arguments)

    monkeypatch.setattr(pretrain_stage, "_update", stopped)
    with pytest.raises(SystemExit) as ending:
        pretrain_stage.pretrain(context)
    assert ending.value.code == status
    again = load_encoder(pretrain_stage.pretrain(context)).state_dict()
    assert len(calls) == 6 + 4  # the third step is not done again
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_other_settings_are_refused_and_force_begins_anew(context):
    path = pretrain_stage.pretrain(context)
    first = load_encoder(path).state_dict()
    context.config = replace(context.config, pretrain=replace(SETTINGS, workers=0, log_every_steps=1))
    pretrain_stage.pretrain(context)  # what changes no weight is no difference
    context.config = replace(context.config, seed=99)
    with pytest.raises(DataError, match="(?s)seed changed from 0 to 99.*--force"):
        pretrain_stage.pretrain(context)
    assert all(torch.equal(first[name], weight) for name, weight in load_encoder(path).state_dict().items())
    context.force = True
    other = load_encoder(pretrain_stage.pretrain(context)).state_dict()
    assert not all(torch.equal(first[name], other[name]) for name in first)
    (path.parent / "made_from.json").unlink()
    context.force = False
    with pytest.raises(DataError, match="unknown settings"):
        pretrain_stage.pretrain(context)


def test_the_script_keeps_a_log_and_names_who_changes_the_corpus(tmp_path):
    corpus = tmp_path / "data" / "c"
    command = [sys.executable, "local/pretrain_encoder.py", "--conf", "egs/librispeech/conf/pretrain_mini.yaml"]
    command += ["--exp-dir", str(tmp_path / "exp"), "--set", f"corpus.data_dir={tmp_path / 'data'}", "--set", "corpus.name=c"]

    def said() -> str:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
        return done.stdout + done.stderr

    with folder_lock(corpus):
        assert f"process {os.getpid()}" in said()
    assert "pre-training failed" in said()  # there is no manifest
    assert any("pre-training failed" in log.read_text() for log in artifacts.log_folder(tmp_path / "exp").glob("pretrain.*.log"))


def test_batches_do_not_depend_on_where_the_loader_starts(context):
    utterances = pretrain_stage.read_utterances(context.corpus, ("pretrain",), 8_000)
    offsets = np.concatenate([[0], np.cumsum([u.frames for u in utterances])])
    labels = np.arange(offsets[-1])
    whole = MaskedBatches(utterances, labels, offsets, SETTINGS, 0, 0, 0, 8)
    rest = MaskedBatches(utterances, labels, offsets, SETTINGS, 0, 0, 5, 8)
    assert len(whole) == 8 and len(rest) == 3
    for one, two in zip([whole[5], whole[6], whole[7]], [rest[0], rest[1], rest[2]]):
        assert all(torch.equal(a, b) for a, b in zip(one, two))
    for waves, mask, numbers in (whole[i] for i in range(8)):
        assert mask.shape == numbers.shape == (len(waves), frame_count(waves.shape[1]))
        assert torch.equal(numbers[:, 1:] - numbers[:, :-1], torch.ones_like(numbers[:, 1:]))  # a slice of one utterance's labels


def test_no_data_and_a_loss_that_is_no_number_are_errors(context, monkeypatch):
    with pytest.raises(DataError, match="parts none"):
        empty = replace(context.config, pretrain=replace(SETTINGS, parts=("none",)))
        write_jsonl(artifacts.cuts(context.corpus, "none"), [])
        pretrain_stage.pretrain(SimpleNamespace(**{**vars(context), "config": empty}))
    nothing = (torch.tensor(float("nan")), torch.tensor(0.0))
    monkeypatch.setattr(pretrain_stage, "_update", lambda *_: nothing)
    with pytest.raises(TrainingError, match="iteration 1, step 2"):
        pretrain_stage.pretrain(context)
