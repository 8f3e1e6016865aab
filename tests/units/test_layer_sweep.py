"""The layer sweep: agrees with stage 3, resumes, refuses other data; its table by hand."""

from __future__ import annotations

import pytest

from spin import artifacts
from spin.__main__ import main
from spin.runtime.files import read_json
from spin.tools import layer_sweep
from spin.tools.layer_sweep import spread, to_markdown
from spin.units.metrics import METRICS


def test_spread_by_hand():
    assert spread([1.0, 3.0]) == {"mean": 2.0, "sd": pytest.approx(2**0.5), "values": [1.0, 3.0]}
    assert spread([5.0])["sd"] is None and spread([None, 1.0])["mean"] is None


def test_table_by_hand():
    figures = {"K": spread([8]), "pnmi": spread([0.5, 0.7]), "bitrate": spread([None]), "abx_within": spread([3.0])}
    rows = [{"system": "spin", "layer": None, "K": 8, "seeds": [0, 1], "figures": figures}]
    head, _, row = to_markdown(rows).splitlines()
    assert head == "| system | layer | K | seeds | PNMI | ABX error, same speaker |"
    assert row == "| spin | own | 8 | 2 | 0.600 ± 0.141 | 3.0 |"


@pytest.fixture
def words(tmp_path, finished) -> list[str]:
    """A sweep over a finished stage 3."""
    return ["layer-sweep", "--exp", str(finished.exp), "--output", str(tmp_path / "sweep"), "--seeds", "0"]


def test_the_same_figures_as_stage_3_and_finished_cells_are_kept(tmp_path, finished, words, monkeypatch, capsys):
    assert main([*words, "--layers", "2", "3"]) == 0
    sweep = read_json(tmp_path / "sweep" / "sweep.json")
    rows = {(row["system"], row["layer"]): row for row in sweep["rows"]}
    assert len(rows) == 2 + 2 + 1  # both layers for both systems, and the codebook
    for system, layer in (("baseline", 3), ("spin", None)):
        expected = read_json(artifacts.metrics_in(artifacts.metrics_folder(finished.exp, system)))["units"]
        found = {name: figure["mean"] for name, figure in rows[system, layer]["figures"].items()}
        assert found == expected and list(found) == [metric.name for metric in METRICS]
    assert rows["spin", 2]["figures"] == rows["baseline", 2]["figures"]  # layers that Spin does not train
    table = capsys.readouterr().out
    monkeypatch.setattr(layer_sweep, "measure_cell", lambda cell: pytest.fail("every cell is finished"))
    monkeypatch.setattr(layer_sweep, "extract_features", lambda *_: pytest.fail("all features are finished"))
    assert main([*words, "--layers", "2", "3"]) == 0 and capsys.readouterr().out == table


def test_another_k_of_one_system(tmp_path, words):
    assert main([*words, "--system", "baseline", "--k", "5"]) == 0
    (row,) = read_json(tmp_path / "sweep" / "sweep.json")["rows"]
    assert (row["K"], row["layer"]) == (5, 3)


@pytest.mark.parametrize(
    ("options", "expected"),
    [(["--system", "other"], "baseline spin"), (["--layers", "9"], "1 to 3"), (["--set", "seed=1"], "other data")],
)
def test_errors(words, capsys, options, expected):
    if "--set" in options:
        assert main([*words, "--system", "baseline"]) == 0
        options = [*options, "--system", "baseline"]
    assert main([*words, *options]) == 1
    assert expected in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--k", "1"], ["--layers", "0", "2"], ["--nj", "0"]])
def test_wrong_usage(option):
    with pytest.raises(SystemExit):
        layer_sweep.main(["--exp", "x", "--output", "y", *option])
