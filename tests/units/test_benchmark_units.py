"""python -m spin benchmark units: runs, names its reference, and its two systems share the layers below the top two."""

import json

import torch

from spin.__main__ import main
from spin.tools.benchmark_units import make_extractors


def test_the_command(small_models, capsys):
    words = ["--encoder", str(small_models[0]), "--seconds", "5", "--device", "cpu", "--json"]
    assert main(["benchmark", "units", *words]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ratio"] > 0 and result["reference"] and result["device"] == "cpu" and result["audio_seconds"] >= 5


def test_the_systems_differ_in_the_top_layers_only(small_models):
    _, after = make_extractors(str(small_models[0]), torch.device("cpu")).values()
    assert after.shared == 1
