"""The table over layers, K and seeds: stage 3's figures where both measure the same, finished cells kept, shared layers once."""

from __future__ import annotations

import json

import pytest
import torch

from spin import artifacts
from spin.errors import ConfigError, DataError
from spin.models.encoder import Encoder
from spin.models.spin_model import SpinModel
from spin.runtime.files import read_json, write_text
from spin.runtime.settings import dump_config
from spin.units import table_cells, table_cli, table_features
from spin.units.stage import extract_units
from spin.units.table import markdown, spread
from tests.units.conftest import SHAPE


@pytest.fixture
def experiment(make_context, small_corpus, tmp_path):
    """(folder with config.yaml and Spin model, options that every command here has)."""
    context = make_context(tmp_path / "exp", small_corpus)
    write_text(artifacts.config_file(context.exp), dump_config(context.config))
    options = ["--exp", str(context.exp), "--output", str(tmp_path / "table"), "--data-dir", str(small_corpus.parent)]
    return context, options


def by_row(folder) -> dict:
    found = read_json(folder / table_cli.JSON_FILE)
    return {(row["system"], row["layer"], row["K"]): row for row in found["rows"]}


def test_equals_stage_3_and_keeps_what_is_done(experiment, tmp_path, monkeypatch, capsys):
    context, options = experiment
    extract_units(context)
    quality = read_json(artifacts.unit_quality(context.exp))
    options += ["--layers", "2", "3", "--k", "6", "12", "--abx"]
    table_cli.main([*options, "--seeds", str(context.config.seed), "7"])
    rows = by_row(tmp_path / "table")
    assert set(rows) == {("spin", 3, 12)} | {(s, l, k) for s in ("kmeans", "kmeans-on-spin") for l in (2, 3) for k in (6, 12)}
    for row, system in ((rows["kmeans", 3, 12], "baseline"), (rows["spin", 3, 12], "spin")):
        stage, speaker = quality["units"][system], quality["speaker"][system]
        for key in ("pnmi", "cluster_purity", "bitrate", "border_r_value", "speaker_nmi", "abx_units_across", "speaker_accuracy"):
            assert row["figures"][key]["values"][0] == pytest.approx(stage[key], abs=1e-9), key
        assert row["figures"]["speaker_accuracy_of_features"]["values"][0] == pytest.approx(speaker["accuracy"])
        assert row["figures"]["abx_features_across"]["values"][0] == pytest.approx(stage["abx_across"], abs=1e-9)
    assert rows["kmeans", 3, 12]["seeds"] == [context.config.seed, 7] and rows["kmeans", 3, 12]["figures"]["pnmi"]["sd"] >= 0
    assert rows["kmeans", 2, 6]["figures"] == rows["kmeans-on-spin", 2, 6]["figures"]  # Spin changed layer 3 only
    assert "| kmeans | 2 | 6 | 2 |" in capsys.readouterr().out
    assert len(list((tmp_path / "table" / "features").iterdir())) == 4  # layers 2, 3, Spin's 3, the codebook

    measured = []
    monkeypatch.setattr(table_cli, "measure_any", lambda cell: (measured.append(cell), table_cells.measure_any(cell)))
    monkeypatch.setattr(table_features, "compute", lambda job: pytest.fail("features are computed again"))
    table_cli.main([*options, "--seeds", str(context.config.seed), "7", "8"])
    assert sorted((cell.layer, cell.clusters, cell.seed) for cell in measured) == sorted(
        [(2, 6, 8), (2, 12, 8), (3, 6, 8), (3, 6, 8), (3, 12, 8), (3, 12, 8)]
    )
    assert by_row(tmp_path / "table")["spin", 3, 12] == rows["spin", 3, 12]


def test_other_settings_are_measured_again(experiment, tmp_path):
    _, options = experiment
    options += ["--systems", "spin"]
    table_cli.main(options)
    whole = by_row(tmp_path / "table")["spin", 3, 12]["figures"]
    table_cli.main([*options, "--first-seconds", "0.4"])
    first = by_row(tmp_path / "table")["spin", 3, 12]["figures"]
    assert "abx_units_across" not in whole and whole["pnmi"]["values"] != first["pnmi"]["values"]
    assert whole["pnmi"]["sd"] is None


def test_bad_requests(experiment, tmp_path):
    _, options = experiment
    with pytest.raises(ConfigError, match="layer 4"):
        table_cli.main([*options, "--layers", "4"])
    with pytest.raises(DataError, match="k-means"):
        table_cli.main([*options, "--k", "100000", "--systems", "kmeans"])
    with pytest.raises(DataError, match="cuts_none"):
        table_cli.main([*options, "--test-part", "none"])
    for wrong in (["--layers", "-1"], ["--k", "1"], ["--seeds", "-1"], ["--nj", "0"], ["--first-seconds", "nan"]):
        with pytest.raises(SystemExit):
            table_cli.parse_arguments([*options, *wrong])


def test_digests_name_what_gives_a_layer():
    torch.manual_seed(0)
    model = SpinModel.create(Encoder(SHAPE), 3, 12, 8, seed=0)
    before, units = table_features.layer_digests(model.encoder), table_features.codebook_digest(model)
    with torch.no_grad():
        model.encoder.layers[1].ffn_in.weight.add_(1e-3)
    after = table_features.layer_digests(model.encoder)
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False, False]
    assert len(set(before)) == 4 and table_features.codebook_digest(model) != units
    assert table_features.layer_digests(model.encoder, True)[0] != before[0]


def test_spread_by_hand():
    assert spread([1.0, 3.0]) == {"mean": 2.0, "sd": pytest.approx(2**0.5), "values": [1.0, 3.0]}
    assert spread([2.0])["sd"] is None and spread([2.0, None])["mean"] is None
    row = {"system": "a", "layer": 1, "K": 2, "seeds": [0, 1], "figures": {"pnmi": spread([0.5, 0.7]), "bitrate": spread([None])}}
    table = markdown([json.loads(json.dumps(row))]).splitlines()
    assert table[0] == "| system | layer | K | seeds | PNMI | bit/s |"
    assert table[2] == "| a | 1 | 2 | 2 | 0.600 \u00b1 0.141 | \u2014 |"
