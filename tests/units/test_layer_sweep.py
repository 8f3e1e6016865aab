"""The layer sweep: agrees with stage 3, resumes, refuses other data; the smoothing by hand and against an oracle."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin import artifacts
from spin.__main__ import main
from spin.data.cuts import read_cuts, write_cuts
from spin.runtime.config_io import dump_config
from spin.runtime.files import read_json, write_text
from spin.tools import layer_sweep
from spin.tools.layer_sweep import smooth, spread, to_markdown
from spin.units.extract_units import build_features, build_kmeans, build_metrics, build_units
from spin.units.metrics import METRICS


def test_smoothing_by_hand():
    assert smooth(np.array([1, 1, 2, 1, 1]), 3).tolist() == [1] * 5
    assert smooth(np.array([1, 2, 3]), 3).tolist() == [1, 2, 3]  # ties keep the frame's own unit
    assert smooth(np.array([5, 4, 0, 0, 4, 4]), 5).tolist() == [5, 0, 0, 4, 4, 4]
    assert smooth(np.zeros(0, int), 5).tolist() == []


@given(st.lists(st.integers(0, 3), max_size=25), st.sampled_from([1, 3, 5]))
def test_smoothing_equals_slow_oracle(units, width):
    expected = []
    for frame, own in enumerate(units):
        counts = Counter(units[max(0, frame - width // 2) : frame + width // 2 + 1])
        best = max(counts.values())
        expected.append(own if counts[own] == best else min(unit for unit, count in counts.items() if count == best))
    assert smooth(np.array(units, dtype=int), width).tolist() == expected


def test_spread_by_hand():
    assert spread([1.0, 3.0]) == {"mean": 2.0, "sd": pytest.approx(2**0.5), "values": [1.0, 3.0]}
    assert spread([5.0])["sd"] is None and spread([None, 1.0])["mean"] is None


def test_table_by_hand():
    figures = {"K": spread([8]), "pnmi": spread([0.5, 0.7]), "bitrate": spread([None]), "abx_within": spread([3.0])}
    rows = [{"system": "spin", "layer": None, "K": 8, "smoothing": 1, "seeds": [0, 1], "figures": figures}]
    head, _, row = to_markdown(rows).splitlines()
    assert head == "| system | layer | K | smoothing | seeds | PNMI | ABX error, same speaker |"
    assert row == "| spin | own | 8 | 1 | 2 | 0.600 ± 0.141 | 3.0 |"


@pytest.fixture
def experiment(tmp_path, small_corpus, make_context):
    """The context of a finished stage 3 without pictures, and the words of a sweep over it."""
    context = make_context(tmp_path / "exp", small_corpus, corpus={"data_dir": str(tmp_path / "data")})
    systems = layer_sweep.systems_of(context.config, context.exp)
    build_features(context, systems)
    build_kmeans(context, systems[0])
    for system in systems:
        build_units(context, system)
        build_metrics(context, system)
    for part in ("spin_train", "test"):
        write_cuts(artifacts.cuts(tmp_path / "data" / "small", part), read_cuts(artifacts.cuts(context.corpus, part)))
    write_text(artifacts.config_file(context.exp), dump_config(context.config))
    return context, ["layer-sweep", "--exp", str(context.exp), "--output", str(tmp_path / "sweep"), "--seeds", "0"]


def test_the_same_figures_as_stage_3_and_finished_cells_are_kept(tmp_path, experiment, monkeypatch, capsys):
    context, words = experiment
    assert main([*words, "--layers", "2", "3", "--smoothing", "1", "3"]) == 0
    sweep = read_json(tmp_path / "sweep" / "sweep.json")
    rows = {(row["system"], row["layer"], row["smoothing"]): row for row in sweep["rows"]}
    assert len(rows) == 2 * (2 + 2 + 1)  # two smoothings of both layers for both systems, and of the codebook
    for system, layer in (("baseline", 3), ("spin", None)):
        expected = read_json(artifacts.metrics_in(artifacts.metrics_folder(context.exp, system)))["units"]
        found = {name: figure["mean"] for name, figure in rows[system, layer, 1]["figures"].items()}
        assert found == expected and list(found) == [metric.name for metric in METRICS]
    smoothed = (rows["spin", None, width]["figures"]["segments_per_second"]["mean"] for width in (1, 3))
    assert next(smoothed) > next(smoothed)
    assert rows["spin", 2, 1]["figures"] == rows["baseline", 2, 1]["figures"]  # layers that Spin does not train
    table = capsys.readouterr().out
    monkeypatch.setattr(layer_sweep, "measure_cell", lambda cell: pytest.fail("every cell is finished"))
    monkeypatch.setattr(layer_sweep, "extract_features", lambda *_: pytest.fail("all features are finished"))
    assert main([*words, "--layers", "2", "3", "--smoothing", "1", "3"]) == 0 and capsys.readouterr().out == table


def test_few_metrics_of_one_system(tmp_path, experiment):
    _, words = experiment
    assert main([*words, "--system", "baseline", "--k", "5", "--metrics", "pnmi", "used_codes"]) == 0
    (row,) = json.loads((tmp_path / "sweep" / "sweep.json").read_text())["rows"]
    assert (row["K"], row["layer"]) == (5, 3) and set(row["figures"]) == {"pnmi", "used_codes"}


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--system", "other"], "baseline spin"), (["--layers", "9"], "1 to 3"), (["--set", "seed=1"], "other data")],
)
def test_errors(experiment, capsys, options, words):
    _, command = experiment
    if "--set" in options:
        assert main([*command, "--system", "baseline", "--metrics", "pnmi"]) == 0
        options = [*options, "--system", "baseline"]
    assert main([*command, *options]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--smoothing", "2"], ["--k", "1"], ["--metrics", "other"], ["--nj", "0"]])
def test_wrong_usage(option):
    with pytest.raises(SystemExit):
        layer_sweep.main(["--exp", "x", "--output", "y", *option])
