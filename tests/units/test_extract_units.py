"""Stage 3's contract: products are read back through lhotse; batches, processes and kills change nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lhotse import CutSet

from spin import artifacts, products
from spin.data.audio import noisy_cut
from spin.data.cuts import read_cuts, write_cuts
from spin.data.store import load_array
from spin.errors import ConfigError, DataError, ResourceError
from spin.models.importers import load_encoder
from spin.objectives.model import load_model
from spin.runtime.context import Context
from spin.runtime.files import read_json, read_jsonl
from spin.systems import systems_of
from spin.units import extraction
from spin.units.extract_units import build_features
from spin.units.extractors import count_shared_layers
from spin.units.kmeans import load_kmeans
from spin.units.metrics import METRICS
from spin.units.units import read_units
from tests.units.conftest import PARTS, extract_units


def run(context: Context) -> Context:
    extract_units(context)
    return context


def test_products_that_are_built_together_share_the_time(tmp_path, small_corpus, make_context, monkeypatch):
    monkeypatch.setattr(extraction, "extract_features", lambda *_: time.sleep(0.5))
    context, begun = make_context(tmp_path / "exp", small_corpus), time.monotonic()
    systems = systems_of(context.config, context.exp)
    build_features(context, systems)
    elapsed = time.monotonic() - begun
    seconds = [products.features(context, system, part).seconds for system in systems for part in PARTS]
    assert len(seconds) == 4 and all(0.1 <= own <= elapsed / 4 + 0.1 for own in seconds)


def content(exp: Path) -> dict[str, bytes]:
    """Everything stage 3 made, without keys, event files and archives with time stamps."""
    files = {}
    for folder in ("features", "units", "metrics"):
        for path in sorted((exp / folder).rglob("*")):
            if path.is_file() and path.suffix != ".npz" and ".key" not in path.name:
                text = "\n".join(map(json.dumps, read_jsonl(path))).encode() if path.suffix == ".gz" else path.read_bytes()
                files[str(path.relative_to(exp))] = text
    return files


def test_contract(finished, small_corpus, small_models):
    exp = finished.exp
    encoder, model = load_encoder(small_models[0]), load_model(small_models[1])
    centres = load_kmeans(artifacts.kmeans(exp, "baseline"))
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
                assert hidden.shape == (frames, 16) and hidden.dtype == np.float16
                assert own.shape == (frames,) and own.dtype == np.int32 and own.tolist() == line["units"]
                reference = encoder if system == "baseline" else model.encoder
                assert np.array_equal(hidden, reference.layer_output(samples, length, 3)[0].numpy().astype(np.float16))
                alone = model.units(samples, length)[0].numpy() if system == "spin" else centres.assign(hidden)
                assert np.array_equal(own, alone)
    assert list(finished.tensorboard.glob("events*"))
    assert not list(exp.rglob("*.partial")) and not list(exp.rglob(extraction.SHARDS))


@pytest.fixture
def copied(tmp_path, finished) -> Context:
    """A copy of a finished stage 3, in another place."""
    exp, corpus = (shutil.copytree(folder, tmp_path / folder.name) for folder in (finished.exp, finished.corpus))
    return dataclasses.replace(finished, exp=exp, corpus=corpus, checked=set())


def test_arrays_through_lhotse_from_a_copied_experiment(copied):
    for cut in read_cuts(artifacts.cuts_in(artifacts.features_folder(copied.exp, "spin", "test"))):
        assert Path(cut.hidden.array.storage_path).is_relative_to(copied.exp)  # not where it was copied from
        assert CutSet.from_cuts([cut])[0].load_hidden().shape[1] == 16


def test_metrics(finished):
    for system in ("baseline", "spin"):
        folder = artifacts.metrics_folder(finished.exp, system)
        measured = read_json(artifacts.metrics_in(folder))
        figures = measured["units"]
        assert list(figures) == [metric.name for metric in METRICS] and measured["parts"] == {"test": figures}
        for name in ("pnmi", "phone_purity", "cluster_purity", "speaker_accuracy", "speaker_nmi", "boundary_precision"):
            assert 0 <= figures[name] <= 1
        for name in ("abx_within", "abx_across", "abx_units_within", "abx_units_across"):
            assert 0 <= figures[name] <= 100
        assert figures["K"] == 12 and figures["bitrate"] > 0 and figures["ngram_perplexity"] >= 1
        assert figures["unit_edit_distance"] is None  # no noisy part
        assert measured["speaker"] == {"accuracy": figures["speaker_accuracy_of_features"], "chance": figures["speaker_chance"]}
        with np.load(artifacts.phone_counts_in(folder), allow_pickle=False) as counts:
            lines = read_jsonl(artifacts.units_lines(artifacts.units_folder(finished.exp, system, "test")))
            assert counts["phones"].tolist() == ["SIL", "IY", "AA", "M", "S"]
            assert counts["counts"].shape == (5, 12) and counts["counts"].sum() == 2 * sum(len(line["units"]) for line in lines)


def test_processes_batches_and_kills_change_nothing(tmp_path, small_corpus, make_context, monkeypatch):
    monkeypatch.setattr(extraction, "SHARD_UTTERANCES", 6)
    expected = content(run(make_context(tmp_path / "a", small_corpus)).exp)
    parallel = make_context(tmp_path / "b", small_corpus, runtime={"nj": 2}, units={"batch_seconds": 3.0})
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


def test_finished_products_are_skipped_and_only_what_changed_is_rebuilt(copied, monkeypatch):
    built = []
    record = contextlib.contextmanager(lambda self, *share: built.append(self.name) or (yield from original(self, *share)))
    original = products.Product.building.__wrapped__
    monkeypatch.setattr(products.Product, "building", record)
    run(copied)
    assert built == []

    def rebuild(**changes) -> list[str]:
        built.clear()
        sections = {name: dataclasses.replace(getattr(copied.config, name), **own) for name, own in changes.items()}
        run(dataclasses.replace(copied, config=dataclasses.replace(copied.config, **sections), checked=set()))
        return built

    assert rebuild(units={"pictures": 2}) == ["TensorBoard of stage 3"]
    assert rebuild(corpus={"max_bad_share": 0.5}, runtime={"nj": 1}) == ["TensorBoard of stage 3"]  # pictures=1 again
    names = rebuild(units={"abx_max_utterances": 4})
    assert names == ["metrics of baseline", "metrics of spin", "TensorBoard of stage 3"]


def test_equal_layers_are_computed_once_and_give_the_same(tmp_path, finished, small_corpus, small_models, make_context):
    """Below the trained layer both encoders are the same; Spin's units still come from its own layer."""
    assert count_shared_layers(load_encoder(small_models[0]), load_model(small_models[1]).encoder) == 2
    lower = content(run(make_context(tmp_path / "exp", small_corpus, units={"layer": 2})).exp)
    own = content(finished.exp)
    assert lower["units/spin/test/units.jsonl"] == own["units/spin/test/units.jsonl"]
    spin, baseline = (f"features/{system}/test/features-00000000.bin" for system in ("spin", "baseline"))
    assert lower[spin] == lower[baseline] != own[baseline]


def test_a_filterbank_is_a_system(tmp_path, small_corpus, make_context):
    context = run(make_context(tmp_path / "exp", small_corpus, systems=("fbank", "baseline")))
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
    assert "15 test utterance(s) have no phone alignment" in caplog.text and "not measured" in caplog.text


def test_bad_utterances_stop_the_stage_or_are_listed_and_left_out(tmp_path, small_corpus, make_context, monkeypatch):
    """A truncated file, and an utterance that is too short."""

    def change(cut):
        path = Path(cut.recording.sources[0].source)
        if cut.id in ("test-0-1", "test-2-2"):
            copy = tmp_path / path.name
            copy.write_bytes(path.read_bytes()[:20] if cut.id == "test-0-1" else path.read_bytes())
            cut.recording.sources[0].source = str(copy)
        if cut.id == "test-2-2":
            cut.duration = 0.02
        return cut

    damaged = copy_corpus(small_corpus, tmp_path / "corpus", change)
    context = make_context(tmp_path / "exp", damaged, corpus={"max_bad_share": 0.01})
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
        assert set(rejected) == {"test-0-1", "test-2-2"}
        assert rejected["test-0-1"].startswith("unreadable audio") and rejected["test-2-2"].startswith("too short: 320 samples")
        names = [name for name, _ in read_units(artifacts.units_lines(artifacts.units_folder(context.exp, system, "test")))]
        assert len(names) == 13 and not set(names) & set(rejected)


def test_a_layer_that_the_encoder_does_not_have_and_a_missing_manifest(tmp_path, small_corpus, make_context):
    with pytest.raises(ConfigError, match=r"units.layer"):
        run(make_context(tmp_path / "a", small_corpus, units={"layer": 9}))
    context = make_context(tmp_path / "b", small_corpus)
    artifacts.cuts(context.corpus, "test").unlink()
    with pytest.raises(DataError, match="manifest of test"):
        run(context)


def test_too_small_a_disk_is_an_error_before_the_work(tmp_path, small_corpus, make_context, monkeypatch):
    """25 utterances of about 1.1 s, two systems of 16 dimensions: about 100 KiB."""
    monkeypatch.setattr("spin.units.extraction.extract_shard", lambda job: pytest.fail("no work without space"))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=50 * 2**10))
    with pytest.raises(ResourceError, match="free disk space"):
        run(make_context(tmp_path / "exp", small_corpus))


def test_noisy_parts_get_every_metric(tmp_path, small_corpus, make_context):
    context = make_context(tmp_path / "exp", small_corpus)
    noise = dataclasses.replace(context.config.noise, test_kinds=("gaussian",), test_snrs_in_db=(0.0,))
    context = dataclasses.replace(context, config=dataclasses.replace(context.config, noise=noise))
    (part,) = products.noisy_parts(context.config)

    with products.manifest(context, part).building() as path:
        cuts = read_cuts(artifacts.cuts(context.corpus, "test"))
        write_cuts(path, (noisy_cut(cut, "gaussian", 0.0, 0) for cut in cuts))
    run(context)
    measured = read_json(artifacts.metrics_in(artifacts.metrics_folder(context.exp, "spin")))
    assert list(measured["parts"]) == ["test", part]
    assert 0 < measured["parts"][part]["unit_edit_distance"] and measured["parts"][part]["pnmi"] is not None
    assert measured["parts"]["test"] == measured["units"]
