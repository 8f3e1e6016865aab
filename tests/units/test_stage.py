"""Stage 3's contract: what it writes is read back through lhotse; batches, jobs and kills change nothing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lhotse import CutSet

from spin import artifacts
from spin.asr.readers import open_reader
from spin.config import AsrConfig
from spin.errors import ConfigError, DataError
from spin.models.importers import load_encoder
from spin.models.spin_model import load_model
from spin.runtime.files import read_json, read_jsonl, write_jsonl
from spin.units import shards
from spin.units.kmeans import load_kmeans
from spin.units.stage import extract_units


def products(exp: Path) -> dict[str, bytes]:
    """Everything stage 3 made but TensorBoard's files, with the experiment's own path taken out."""
    files = {}
    for path in sorted((exp / "units").rglob("*")):
        if path.is_file() and path.suffix != ".npz":  # zip files carry times
            content = "\n".join(map(json.dumps, read_jsonl(path))).encode() if path.suffix == ".gz" else path.read_bytes()
            files[str(path.relative_to(exp))] = content.replace(str(exp.resolve()).encode(), b"EXP")
    return files


def test_contract(tmp_path, small_corpus, small_models, make_context):
    context = make_context(tmp_path / "exp", small_corpus)
    extract_units(context)
    exp = context.exp
    encoder, model = load_encoder(small_models[0]), load_model(small_models[1])
    centres = load_kmeans(artifacts.kmeans(exp))
    for part in ("spin_train", "test"):
        before = list(CutSet.from_jsonl_lazy(artifacts.cuts(small_corpus, part)))
        for system in artifacts.SYSTEMS:
            cuts = list(CutSet.from_jsonl_lazy(artifacts.units_cuts(exp, system, part)))
            lines = list(read_jsonl(artifacts.units_lines(exp, system, part)))
            assert [cut.id for cut in cuts] == [cut.id for cut in before] == [line["id"] for line in lines]
            for cut, line in zip(cuts, lines, strict=True):
                hidden, units = cut.load_hidden(), cut.load_units()
                samples = torch.from_numpy(cut.load_audio())
                length = torch.tensor([samples.shape[1]])
                frames = (samples.shape[1] - 400) // 320 + 1
                assert hidden.shape == (frames, 16) and hidden.dtype == np.float16
                assert units.shape == (frames,) and units.dtype == np.int32 and units.tolist() == line["units"]
                source = encoder if system == "baseline" else model.encoder
                assert np.array_equal(hidden, source.layer_output(samples, length, 3)[0].numpy().astype(np.float16))
                alone = model.units(samples, length)[0].numpy() if system == "spin" else centres.assign(hidden)
                assert np.array_equal(units, alone)
                assert cut.supervisions[0].alignment["phone"]
    quality = read_json(artifacts.unit_quality(exp))
    for figures in quality["units"].values():
        assert figures["K"] == 12
        for name in ("pnmi", "phone_purity", "cluster_purity"):
            assert 0 < figures[name] <= 1
        for name in ("abx_within", "abx_across", "abx_units_within", "abx_units_across"):
            assert 0 <= figures[name] <= 100
        assert figures["bitrate"] > 0 and 1 <= figures["perplexity"] <= 12 and 1 <= figures["used_codes"] <= 12
        assert figures["dead_codes"] == 12 - figures["used_codes"] and 0 < figures["deduplicated_share"] <= 1
        assert (
            0 <= figures["border_precision"] <= 1 and figures["border_r_value"] <= 1 and figures["border_over_segmentation"] > -1
        )
        assert 0 <= figures["speaker_nmi"] <= 1 and 0 <= figures["speaker_accuracy"] <= 1
    assert 0 <= quality["speaker"]["spin"]["accuracy"] <= 1 and 0 < quality["speaker"]["chance"] < 1
    with np.load(artifacts.unit_phone_counts(exp), allow_pickle=False) as content:
        assert content["phones"].tolist() == ["SIL", "IY", "AA", "M", "S"]
        frames = sum(len(line["units"]) for line in read_jsonl(artifacts.units_lines(exp, "spin", "test")))
        assert content["counts_baseline"].shape == (5, 12) and content["counts_spin"].sum() == 2 * frames
    assert list(read_jsonl(artifacts.rejects(exp, 3))) == []
    assert list(context.tensorboard.glob("events*"))


def test_every_layer_of_the_parts_of_asr(tmp_path, small_corpus, small_models, make_context):
    one = make_context(tmp_path / "one", small_corpus, corpus={"asr_train": ("test",)})
    extract_units(one)
    context = make_context(tmp_path / "all", small_corpus, corpus={"asr_train": ("test",)}, units={"store_layers": True})
    extract_units(context)
    model = load_model(small_models[1])
    for system in artifacts.SYSTEMS:
        for cut in CutSet.from_jsonl_lazy(artifacts.units_cuts(context.exp, system, "test")):
            layers, hidden = cut.load_custom(artifacts.LAYERS_FIELD), cut.load_hidden()
            assert layers.shape == (len(hidden), 4, 16) and layers.dtype == np.float16
            assert np.array_equal(layers[:, 3], hidden)
            if system == "spin":
                with torch.no_grad():
                    states, _ = model.encoder(torch.from_numpy(cut.load_audio()), torch.tensor([cut.num_samples]))
                for layer, state in enumerate(states):
                    assert np.array_equal(layers[:, layer], state[0].numpy().astype(np.float16))
        others = CutSet.from_jsonl_lazy(artifacts.units_cuts(context.exp, system, "spin_train"))
        assert not any(cut.has_custom(artifacts.LAYERS_FIELD) for cut in others)
    assert read_json(artifacts.unit_quality(context.exp)) == read_json(artifacts.unit_quality(one.exp))


@pytest.mark.parametrize("weighted", [False, True])
def test_features_on_the_fly_are_those_stored(tmp_path, small_corpus, make_context, weighted):
    context = make_context(tmp_path / "exp", small_corpus, units={"store_layers": True})
    extract_units(context)
    asr = AsrConfig(features="on_the_fly", weighted_sum=weighted)
    on_the_fly = dataclasses.replace(context.config, asr=asr)
    stored = dataclasses.replace(context.config, asr=dataclasses.replace(asr, features="stored"))
    for system in artifacts.SYSTEMS:
        computed, read = (open_reader(config, context.exp, system, 0) for config in (on_the_fly, stored))
        for cut in CutSet.from_jsonl_lazy(artifacts.units_cuts(context.exp, system, "test")):
            assert np.array_equal(computed.read(cut), read.read(cut))


def test_jobs_shards_and_kills_change_nothing(tmp_path, small_corpus, make_context, monkeypatch):
    monkeypatch.setattr(shards, "SHARD_UTTERANCES", 6)
    whole = make_context(tmp_path / "a", small_corpus)
    extract_units(whole)
    expected = products(whole.exp)
    # Two processes, other batches.
    other = make_context(tmp_path / "b", small_corpus, runtime={"nj": 2}, units={"batch_seconds": 3.0})
    extract_units(other)
    found = products(other.exp)
    assert set(found) == set(expected) and [n for n in found if found[n] != expected[n]] == []
    # Killed in the second shard of a part, with one array half written, before anything else was made.
    records = artifacts.units_shards(whole.exp, "test")
    (records / "features-00000006-00000012.jsonl").unlink()
    for path in [*records.glob("kmeans-*"), artifacts.kmeans(whole.exp), artifacts.unit_quality(whole.exp)]:
        path.unlink()
    for system in artifacts.SYSTEMS:
        artifacts.units_cuts(whole.exp, system, "test").unlink()
        artifacts.units_lines(whole.exp, system, "test").unlink()
    array = next(artifacts.units_arrays(whole.exp, "spin", "test").rglob("test-1-2.npy"))
    array.write_bytes(array.read_bytes()[:50])
    extract_units(whole)
    assert products(whole.exp) == expected


def strip(corpus: Path, target: Path, change) -> None:
    """A copy of the test part's manifest with `change` applied to each cut; the training part as it is."""
    for part in ("spin_train", "test"):
        cuts = list(shards.read_cuts(artifacts.cuts(corpus, part)))
        write_jsonl(artifacts.cuts(target, part), (cut.to_dict() for cut in (map(change, cuts) if part == "test" else cuts)))


def without_alignment(cut):
    cut.supervisions[0].alignment = None
    return cut


def test_no_alignment_at_all_is_null_and_said(tmp_path, small_corpus, make_context, caplog):
    strip(small_corpus, tmp_path / "corpus", without_alignment)
    context = make_context(tmp_path / "exp", tmp_path / "corpus")
    with caplog.at_level("WARNING"):
        context.log.propagate = True
        context.log.parent.propagate = True
        extract_units(context)
    quality = read_json(artifacts.unit_quality(context.exp))
    for figures in quality["units"].values():
        assert [figures[name] for name in ("pnmi", "phone_purity", "cluster_purity", "abx_within", "abx_across")] == [None] * 5
        assert figures["bitrate"] > 0
    assert "15 test utterance(s) have no phone alignment" in caplog.text and "not measured" in caplog.text


@pytest.fixture
def damaged(tmp_path, small_corpus):
    """A corpus whose test part has a cut-off file and a file that is too short."""

    def change(cut):
        path = Path(cut.recording.sources[0].source)
        if cut.id in ("test-0-1", "test-2-2"):
            copy = tmp_path / path.name
            copy.write_bytes(path.read_bytes()[:20] if cut.id == "test-0-1" else path.read_bytes())
            cut.recording.sources[0].source = str(copy)
        if cut.id == "test-2-2":
            cut.duration = 0.02
        return cut

    strip(small_corpus, tmp_path / "corpus", change)
    return tmp_path / "corpus"


def test_bad_utterances_are_named_and_left_out(tmp_path, damaged, make_context):
    context = make_context(tmp_path / "exp", damaged)
    extract_units(context)
    rejected = {record["id"]: record["reason"] for record in read_jsonl(artifacts.rejects(context.exp, 3))}
    assert set(rejected) == {"test-0-1", "test-2-2"}
    assert rejected["test-0-1"].startswith("unreadable audio") and rejected["test-2-2"].startswith("too short: 320 samples")
    for system in artifacts.SYSTEMS:
        names = [record["id"] for record in read_jsonl(artifacts.units_lines(context.exp, system, "test"))]
        assert len(names) == 13 and not set(names) & set(rejected)


def test_too_many_bad_utterances_stop_the_stage(tmp_path, damaged, make_context):
    context = make_context(tmp_path / "exp", damaged, corpus={"max_bad_share": 0.01})
    with pytest.raises(DataError, match="2 of 25 utterances"):
        extract_units(context)
    assert not artifacts.unit_quality(context.exp).exists()


def test_a_layer_that_is_not_there_and_a_missing_manifest(tmp_path, small_corpus, make_context):
    with pytest.raises(ConfigError, match="units.layer"):
        extract_units(make_context(tmp_path / "a", small_corpus, units={"layer": 9}))
    with pytest.raises(DataError, match="cuts_nowhere"):
        extract_units(make_context(tmp_path / "b", small_corpus, corpus={"test": ("nowhere",)}))


def test_another_layer_for_features(tmp_path, small_corpus, small_models, make_context):
    """Below the trained layer both encoders are the same; Spin's units still come from its own layer."""
    context = make_context(tmp_path / "exp", small_corpus, units={"layer": 2})
    extract_units(context)
    model = load_model(small_models[1])
    streams = [shards.read_cuts(artifacts.units_cuts(context.exp, system, "test")) for system in artifacts.SYSTEMS]
    for baseline, spin in zip(*streams, strict=True):
        assert np.array_equal(baseline.load_hidden(), spin.load_hidden())
        samples = torch.from_numpy(spin.load_audio())
        assert np.array_equal(spin.load_units(), model.units(samples, torch.tensor([samples.shape[1]]))[0].numpy())
