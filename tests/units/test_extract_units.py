"""Stage 3's contract: products are read back through lhotse; batches, processes and kills change nothing."""

import dataclasses
import gzip
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from spin import artifacts, products
from spin.data.audio import noisy_cut
from spin.data.cuts import read_cuts, write_cuts
from spin.data.store import load_array
from spin.errors import ConfigError, DataError, ResourceError
from spin.models.importers import load_encoder
from spin.objectives.model import load_model
from spin.runtime.files import read_json, read_jsonl
from spin.runtime.product import Context
from spin.systems import System, systems_of
from spin.units import extraction
from spin.units.extraction import make_batches, to_float16
from spin.units.extractors import count_shared_layers, extract, join_frames, open_extractors
from spin.units.kmeans import assign
from spin.units.metrics import METRICS
from spin.units.units import read_units
from tests.units.conftest import PARTS, extract_units


def run(context: Context) -> Context:
    extract_units(context)
    return context


def content(exp: Path) -> dict[str, bytes]:
    """Everything stage 3 made, without keys, event files and archives with time stamps."""
    files = {}
    for folder in ("features", "units", "metrics"):
        for path in sorted((exp / folder).rglob("*")):
            if path.is_file() and path.suffix != ".npz" and ".key" not in path.name:
                text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
                files[str(path.relative_to(exp))] = text
    return files


def test_contract(finished, small_corpus, small_models):
    exp = finished.exp
    encoder, model = load_encoder(small_models[0]), load_model(small_models[1])
    centres = load_file(artifacts.kmeans(exp, "baseline"))["centres"]
    for part in PARTS:
        before = list(read_cuts(artifacts.cuts(small_corpus, part)))
        for system in ("baseline", "spin"):
            features, units = artifacts.features_folder(exp, system, part), artifacts.units_folder(exp, system, part)
            lines = list(read_jsonl(artifacts.units_lines(units)))
            streams = (read_cuts(artifacts.cuts_in(features)), read_cuts(artifacts.cuts_in(units)), lines, before)
            assert read_json(artifacts.codebook_in(units)) == {"codebook_size": 12}
            for cut, other, line, source in zip(*streams, strict=True):
                hidden, own = load_array(cut, artifacts.HIDDEN_FIELD), load_array(other, artifacts.UNITS_FIELD)
                assert cut.id == other.id == line["id"] == source.id and cut.supervisions == source.supervisions
                samples = torch.from_numpy(cut.load_audio())
                length = torch.tensor([samples.shape[1]])
                frames = (samples.shape[1] - 400) // 320 + 1
                assert hidden.shape == (frames, 24) and hidden.dtype == np.float16
                assert own.shape == (frames,) and own.dtype == np.int32 and own.tolist() == line["units"]
                reference = encoder if system == "baseline" else model.encoder
                with torch.no_grad():
                    alone = reference(samples, length, 3)[0][-1][0].numpy()
                assert np.array_equal(hidden, alone.astype(np.float16))
                alone = model.units(samples, length)[0].numpy() if system == "spin" else assign(centres, hidden)
                assert np.array_equal(own, alone)
    assert list(finished.tensorboard.glob("events*"))
    assert not list(exp.rglob("*.partial")) and not list(exp.rglob(extraction.SHARDS))


def test_metrics(finished):
    for system in ("baseline", "spin"):
        folder = artifacts.metrics_folder(finished.exp, system)
        measured = read_json(artifacts.metrics_in(folder))
        figures = measured["units"]
        assert list(figures) == [metric.name for metric in METRICS] and measured["parts"] == {"test": figures}
        absent = {name for name, value in figures.items() if value is None}
        assert absent == {"character_nmi", "unit_edit_distance"}  # no words, no noisy part
        assert measured["speaker"] == {"accuracy": figures["speaker_accuracy_of_features"], "chance": figures["speaker_chance"]}
        with np.load(artifacts.phone_counts_in(folder), allow_pickle=False) as counts:
            lines = read_jsonl(artifacts.units_lines(artifacts.units_folder(finished.exp, system, "test")))
            assert counts["phones"].tolist() == ["SIL", "IY", "AA", "S"]
            assert counts["counts"].shape == (4, 12) and counts["counts"].sum() == 2 * sum(len(line["units"]) for line in lines)


def test_a_new_metric_is_measured_from_what_is_stored(finished, monkeypatch):
    (system, *_) = systems_of(finished.config, finished.exp)
    assert products.metrics(finished, system).stale_reason() is None
    monkeypatch.setattr("spin.units.metrics.METRICS", (*METRICS, dataclasses.replace(METRICS[0], name="toy")))
    assert products.metrics(finished, system).stale_reason().startswith("metrics changed")
    assert products.units(finished, system, "test").stale_reason() is None


def test_processes_batches_and_kills_change_nothing(tmp_path, small_corpus, make_context, monkeypatch):
    monkeypatch.setattr(extraction, "SHARD_UTTERANCES", 6)
    expected = content(run(make_context(tmp_path / "a", small_corpus)).exp)
    parallel = make_context(tmp_path / "b", small_corpus, "runtime.nj=2", "units.batch_seconds=3.0")
    assert content(run(parallel).exp) == expected
    killed = make_context(tmp_path / "c", small_corpus)
    done = []

    def die(job):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(job)
        return real(job)

    real = extraction.extract_shard
    monkeypatch.setattr("spin.units.extraction.extract_shard", die)
    with pytest.raises(KeyboardInterrupt):
        run(killed)
    partial = killed.exp / "features" / "baseline" / "spin_train.partial"
    assert len(list((partial / extraction.SHARDS).iterdir())) == 2
    (partial / "features-00000000.bin").touch()  # of a finished shard: must not be opened again
    monkeypatch.setattr("spin.units.extraction.extract_shard", lambda job: done.append(job) or real(job))
    assert content(run(killed).exp) == expected
    assert len(done) == 5  # 2 shards of spin_train and 3 of test, each once


def test_equal_layers_are_computed_once_and_give_the_same(tmp_path, finished, small_corpus, small_models, make_context):
    """Below the trained layer both encoders are the same; Spin's units still come from its own layer."""
    assert count_shared_layers(load_encoder(small_models[0]), load_model(small_models[1]).encoder) == 2
    lower = content(run(make_context(tmp_path / "exp", small_corpus, "units.layer=2")).exp)
    own = content(finished.exp)
    assert lower["units/spin/test/units.jsonl"] == own["units/spin/test/units.jsonl"]
    spin, baseline = (f"features/{system}/test/features-00000000.bin" for system in ("spin", "baseline"))
    assert lower[spin] == lower[baseline] != own[baseline]


def test_a_filterbank_is_a_system(tmp_path, small_corpus, make_context):
    context = run(make_context(tmp_path / "exp", small_corpus, "systems=[fbank,baseline]"))
    folders = [artifacts.features_folder(context.exp, system, "test") for system in ("fbank", "baseline")]
    for fbank, other in zip(*(read_cuts(artifacts.cuts_in(folder)) for folder in folders), strict=True):
        features = load_array(fbank, artifacts.HIDDEN_FIELD)
        assert features.dtype == np.float16 and features.shape == (len(load_array(other, artifacts.HIDDEN_FIELD)), 160)
    assert systems_of(context.config, context.exp)[0].kind == "fbank"
    assert read_json(artifacts.metrics_in(artifacts.metrics_folder(context.exp, "fbank")))["units"]["K"] == 12


def copy_corpus(corpus: Path, target: Path, change) -> Path:
    """The manifests with `change` applied to each cut of the test part."""
    for part in PARTS:
        cuts = read_cuts(artifacts.cuts(corpus, part))
        write_cuts(artifacts.cuts(target, part), map(change, cuts) if part == "test" else cuts)
    return target


def test_no_alignment_at_all_is_null_and_logged(tmp_path, small_corpus, make_context, caplog):
    def without_alignment(cut):
        cut.supervisions[0].alignment = None
        return cut

    context = make_context(tmp_path / "exp", copy_corpus(small_corpus, tmp_path / "corpus", without_alignment))
    with caplog.at_level("WARNING"):
        context.log.propagate = context.log.parent.propagate = True
        run(context)
    for system in ("baseline", "spin"):
        folder = artifacts.metrics_folder(context.exp, system)
        figures = read_json(artifacts.metrics_in(folder))["units"]
        missing = ("pnmi", "phone_purity", "cluster_purity", "abx_within", "abx_across", "boundary_f1")
        assert [figures[name] for name in missing] == [None] * 6 and figures["bitrate"] > 0
        assert not artifacts.phone_counts_in(folder).exists()
    assert "without 15 unaligned test utterance(s)" in caplog.text


def test_bad_utterances_stop_the_stage_or_are_listed_and_left_out(tmp_path, small_corpus, make_context, monkeypatch):
    def change(cut):
        if cut.id == "test-0001":
            cut.recording.sources[0].source = str(tmp_path / "gone.wav")
        if cut.id == "test-0007":
            cut.duration = 0.02
        return cut

    damaged = copy_corpus(small_corpus, tmp_path / "corpus", change)
    context = make_context(tmp_path / "exp", damaged, "corpus.max_bad_share=0.01")
    with pytest.raises(DataError, match="2 of 15 utterances"):
        run(context)
    assert not artifacts.metrics_folder(context.exp, "spin").exists()
    monkeypatch.setattr("spin.units.extraction.extract_shard", lambda job: pytest.fail("the shards are finished"))
    config = dataclasses.replace(context.config, corpus=dataclasses.replace(context.config.corpus, max_bad_share=0.2))
    run(dataclasses.replace(context, config=config))
    assert artifacts.metrics_folder(context.exp, "spin").exists()
    for system in ("baseline", "spin"):
        folder = artifacts.features_folder(context.exp, system, "test")
        rejected = {record["id"]: record["reason"] for record in read_jsonl(artifacts.rejects(folder, "test"))}
        assert set(rejected) == {"test-0001", "test-0007"}
        assert rejected["test-0001"].startswith("unreadable audio") and rejected["test-0007"].startswith("too short: 320 samples")
        names = [name for name, _ in read_units(artifacts.units_lines(artifacts.units_folder(context.exp, system, "test")))]
        assert len(names) == 13 and not set(names) & set(rejected)


def test_too_small_a_disk_is_an_error_before_the_work(tmp_path, small_corpus, make_context, monkeypatch):
    """25 utterances of about 1.6 s, two systems of 24 dimensions: about 190 KiB."""
    monkeypatch.setattr("spin.units.extraction.extract_shard", lambda job: pytest.fail("no work without space"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=50 * 2**10))
    with pytest.raises(ResourceError, match="free disk space"):
        run(make_context(tmp_path / "exp", small_corpus))


def test_noisy_parts_get_every_metric(tmp_path, small_corpus, make_context):
    context = make_context(tmp_path / "exp", small_corpus, "noise.test_kinds=[gaussian]", "noise.test_snrs_in_db=[0.0]")
    (part,) = products.noisy_parts(context.config)
    with products.manifest(context, part).building() as path:
        cuts = read_cuts(artifacts.cuts(context.corpus, "test"))
        write_cuts(path, (noisy_cut(cut, "gaussian", 0.0, 0) for cut in cuts))
    run(context)
    measured = read_json(artifacts.metrics_in(artifacts.metrics_folder(context.exp, "spin")))
    assert list(measured["parts"]) == ["test", part]
    assert 0 < measured["parts"][part]["unit_edit_distance"] and measured["parts"][part]["pnmi"] is not None
    assert measured["parts"]["test"] == measured["units"]


@given(st.lists(st.floats(0.1, 30.0), max_size=40), st.floats(5.0, 60.0))
def test_batches_hold_every_cut_once_within_the_bound(durations, batch_seconds):
    cuts = [SimpleNamespace(id=str(number), duration=duration) for number, duration in enumerate(durations)]
    batches = make_batches(cuts, batch_seconds)
    assert sorted(cut.id for batch in batches for cut in batch) == sorted(cut.id for cut in cuts)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(cut.duration for cut in batch) <= batch_seconds


@pytest.mark.parametrize("official_padding", [False, True])
def test_several_layers_in_one_pass(small_models, official_padding):
    """Each utterance alone, or with official padding the batch as one; a model without its codebook; layers of one pass."""
    encoder, model = map(str, small_models)
    layers = [System(f"layer{layer}", "encoder", encoder, layer) for layer in (3, 1)] + [System("model", "encoder", model, 2)]
    extractors = open_extractors(tuple(layers), official_padding, "cpu")
    random = np.random.default_rng(0)
    waveforms = [random.normal(size=size).astype(np.float32) for size in (8000, 5000)]
    results = extract(extractors, waveforms, torch.device("cpu"))
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(waveform) for waveform in waveforms], batch_first=True)
    for system, source in zip(layers, (load_encoder(encoder), load_encoder(encoder), load_model(model).encoder), strict=True):
        source.official_padding = official_padding
        for row, samples in enumerate((8000, 5000)):
            batch = (padded, [8000, 5000]) if official_padding else (padded[row, None, :samples], [samples])
            with torch.no_grad():
                hidden, frames = source(batch[0], torch.tensor(batch[1]), system.layer)
            features, units = results[row][system]
            own = row if official_padding else 0
            assert np.array_equal(features, hidden[-1][own, : frames[own]].numpy()) and units is None
    assert [extractors[system].shared for system in layers] == [None, 3, 2]
    with pytest.raises(ConfigError, match="(?s)units.layer.*1 to 3"):
        open_extractors((System("baseline", "encoder", encoder, 4),), official_padding, "cpu")


def test_frames_are_joined_and_stored_as_float16():
    """Three frames of 10 ms make two of 20 ms with the last one repeated, or one without it."""
    frames = np.array([[1.0], [2.0], [3.0]], np.float32)
    assert join_frames(frames, 2).tolist() == [[1, 2], [3, 3]] and join_frames(frames, 1).tolist() == [[1, 2]]
    assert join_frames(frames, 2).dtype == np.float16
    assert to_float16("u", np.array([65_504.0])).tolist() == [65_504.0]
    for value in (70_000.0, np.nan):
        with pytest.raises(DataError, match="finite values below 65,504"):
            to_float16("u", np.array([value]))
