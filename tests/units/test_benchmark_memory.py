"""Benchmarks of the metrics and of k-means: a fresh process for each size, figures of everything that was made up."""

from __future__ import annotations

import json

import pytest

from spin.units import benchmark_kmeans, benchmark_metrics


@pytest.fixture
def in_this_process(monkeypatch):
    """Starting processes takes seconds, and is tried elsewhere."""
    for module in (benchmark_kmeans, benchmark_metrics):
        monkeypatch.setattr(module, "measured", lambda work, *settings: work(*settings) | {"peak_memory_in_mib": settings[0]})


def test_generated_units_are_as_long_as_asked_and_tell_of_phones():
    made = list(benchmark_metrics.utterances(0.05, 60))
    assert sum(len(units) for _, _, units in made) == 9000
    for _, alignment, units in made:
        assert 0 <= units.min() and units.max() < 60
        ends = [item.start + item.duration for item in alignment]
        assert alignment[0].start == pytest.approx(0) and ends[:-1] == pytest.approx([item.start for item in alignment[1:]])
    result = benchmark_metrics.work(0.05, 60)
    assert result["frames"] == 9000 and 0.3 < result["pnmi"] < 0.9 and result["seconds"] > 0 and result["cpu_seconds"] > 0


def test_command_of_the_metrics(in_this_process, capsys):
    benchmark_metrics.main(["--json", "--hours", "0.02", "0.01", "--k", "50"])
    result = json.loads(capsys.readouterr().out)
    assert result["hours"] == [0.01, 0.02] and result["frames"] == [1800, 3600] and result["K"] == 50
    assert result["ratio"] == 2.0


def test_kmeans(in_this_process, capsys):
    benchmark_kmeans.main(["--json", "--hours", "0.02", "0.01", "--k", "4", "--dim", "8", "--starts", "1"])
    result = json.loads(capsys.readouterr().out)
    assert result["hours"] == [0.01, 0.02] and result["frames"] == [1500, 3750] and result["kmeans_memory_in_mib"] == 512


@pytest.mark.parametrize("main", [benchmark_kmeans.main, benchmark_metrics.main])
@pytest.mark.parametrize("options", [["--hours", "0"], ["--k", "0"], ["--hours", "x"], ["--unknown"]])
def test_bad_options(main, options):
    with pytest.raises(SystemExit):
        main(options)
