"""Sweeps over layers, k-means and variants of units: by hand, and against the figures of stage 3."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spin import artifacts
from spin.__main__ import main
from spin.runtime.files import read_json
from spin.tools.layer_sweep import spread
from spin.units import abx
from spin.units.measure import Utterance
from spin.units.metrics import METRICS
from spin.units.unit_variants import SHOWN, find_centroids, measure_variants, merge_codes
from spin.units.units import smooth


def test_spread_by_hand():
    assert spread([1.0, 3.0]) == {"mean": 2.0, "sd": pytest.approx(2**0.5), "values": [1.0, 3.0]}
    assert spread([5.0])["sd"] is None and spread([None, 1.0])["mean"] is None


@pytest.fixture
def words(tmp_path, finished) -> list[str]:
    """A sweep over a finished stage 3."""
    return ["layer-sweep", "--exp", str(finished.exp), "--output", str(tmp_path / "sweep"), "--seeds", "0"]


def test_the_same_figures_as_stage_3_and_finished_work_is_kept(tmp_path, finished, words, monkeypatch):
    assert main([*words, "--layers", "2", "3", "--k", "12", "12"]) == 0
    sweep = read_json(tmp_path / "sweep" / "sweep.json")
    rows = {(row["system"], row["layer"]): row for row in sweep["rows"]}
    assert len(rows) == 2 + 2 + 1  # both layers for both systems, and the codebook
    for system, layer in (("baseline", 3), ("spin", None)):
        expected = read_json(artifacts.metrics_in(artifacts.metrics_folder(finished.exp, system)))["units"]
        found = {name: figure["mean"] for name, figure in rows[system, layer]["metrics"].items()}
        assert found == expected and list(found) == [metric.name for metric in METRICS]
    assert rows["spin", 2]["metrics"] == rows["baseline", 2]["metrics"]  # layers that Spin does not train
    table = (tmp_path / "sweep" / "sweep.md").read_bytes()
    assert b"| spin | own | 12 | 1 |" in table
    for function in ("extraction.extract_features", "kmeans.train_kmeans", "measure.write_metrics"):
        monkeypatch.setattr(f"spin.units.{function}", lambda *_, **__: pytest.fail("all work is finished"))
    assert main([*words, "--layers", "3", "2", "--k", "12"]) == 0
    assert main([*words, "--layers", "2", "3", "--k", "12"]) == 0 and (tmp_path / "sweep" / "sweep.md").read_bytes() == table


def test_the_seed_changes_kmeans_and_no_sample_of_the_metrics(tmp_path, words, monkeypatch):
    drawn = []
    real = abx.sample_utterances
    monkeypatch.setattr(abx, "sample_utterances", lambda *given: drawn.append(given[-1]) or real(*given))
    assert main([*words, "1", "--system", "baseline", "--set", "units.kmeans_starts=1"]) == 0
    (row,) = read_json(tmp_path / "sweep" / "sweep.json")["rows"]
    assert drawn == [0, 0] and row["seeds"] == [0, 1] and row["layer"] == 3
    assert row["metrics"]["pnmi"]["sd"] > 0 and row["metrics"]["abx_within"]["sd"] == 0


@pytest.mark.parametrize(
    ("options", "expected"),
    [(["--system", "other"], "baseline spin"), (["--layers", "9"], "1 to 3"), (["--k", "1"], "spin.codebook_size")],
)
def test_errors(words, capsys, options, expected):
    assert main([*words, *options]) == 1
    assert expected in capsys.readouterr().err


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


def test_merging_by_hand():
    """Codes 0 and 2 lie near 0, codes 1 and 4 near 10; code 3 has no frame and gets the mean of all frames, 34 / 6."""
    values = {0: 0.0, 1: 10.0, 2: 1.0, 4: 11.0}
    own = [np.array([0, 1, 1]), np.array([2, 4]), np.array([2])]
    features = [np.array([[values[unit] + shift] for unit, shift in zip(units, (0, 0.5, -0.5))]) for units in own]
    utterances = [
        Utterance(str(i), "s", units, 1.0, untruncated_units=units, load_features=lambda i=i: features[i])
        for i, units in enumerate(own)
    ]
    centroids, frames = find_centroids(utterances, 5)
    assert centroids[:, 0].tolist() == pytest.approx([0, 10, 1, 33.5 / 6, 11.5]) and frames.tolist() == [1, 2, 2, 0, 1]
    merged = merge_codes(centroids, frames, 2, seed=0).tolist()
    assert merged[0] == merged[2] != merged[1] == merged[4] and set(merged) == {0, 1}


@pytest.mark.parametrize("system", ["baseline", "spin"])
def test_variants_against_stage_3(finished, system):
    rows = {name: (size, figures) for name, size, figures in measure_variants(finished.exp, system, ["test"], [3, 7], [1, 2, 12])}
    expected = read_json(artifacts.metrics_in(artifacts.metrics_folder(finished.exp, system)))["units"]
    (size, raw), (_, deduplicated) = rows["raw"], rows["deduplicated"]
    assert size == 12 and deduplicated == {name: expected[name] for name in deduplicated}
    frames_per_second = expected["segments_per_second"] / expected["deduplicated_share"]
    assert raw["segments_per_second"] == frames_per_second and 45 < frames_per_second < 50
    assert raw["bitrate"] == pytest.approx(frames_per_second * expected["unit_entropy"])
    assert {name: raw[name] for name in SHOWN} == {name: deduplicated[name] for name in SHOWN}
    names = ("deduplicated", "smoothed over 3 frames", "smoothed over 7 frames")
    rates = [rows[name][1]["segments_per_second"] for name in names]
    assert rates == sorted(rates, reverse=True) and len(set(rates)) == 3
    size, same = rows["merged to K / 1"]  # every code by itself: the same units by other numbers
    assert size == 12 and same == pytest.approx(deduplicated)
    assert rows["merged to K / 2"][0] == 6 and rows["merged to K / 2"][1]["pnmi"] < deduplicated["pnmi"]
    size, one = rows["merged to K / 12"]
    assert size == 1 and one["bitrate"] == 0 and one["boundary_r_value"] == pytest.approx(1 - 1 / math.sqrt(2))


def test_the_command_of_variants(finished, capsys):
    words = ["unit-variants", "--exp", str(finished.exp), "--system", "baseline", "--smooth", "3", "--merge", "4"]
    assert main(words) == 0 and "| baseline | merged to K / 4 |" in capsys.readouterr().out
    assert main([*words, "--part", "absent"]) == 1 and "--stage 3" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--smooth", "4"])
