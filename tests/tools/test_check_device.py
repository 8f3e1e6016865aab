"""check-device: what is checked for which options, and what an unusable torch or k2 leads to."""

import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from spin.errors import ConfigError
from spin.runtime import devices
from spin.tools import check_device

CONF = Path(__file__).parents[2] / "egs/librispeech/conf/tiny.yaml"


@pytest.fixture
def checked(monkeypatch, tmp_path):
    """Names of what was checked, on a machine with an NVIDIA driver."""
    names = []
    monkeypatch.setattr(check_device, "DRIVER", tmp_path)
    monkeypatch.setattr(devices, "resolve_device", lambda name: names.append(f"torch on {name}"))
    answer = SimpleNamespace(returncode=3)
    monkeypatch.setattr(check_device.subprocess, "run", lambda words, check: names.append(f"k2 by {words[0]}") or answer)
    monkeypatch.setenv("SPIN_K2_PYTHON", "k2_python")
    return names


@pytest.mark.parametrize(
    ("driver", "options", "expected"),
    [
        (".", ["--stop-stage", "5"], ["torch on auto", "k2 by k2_python"]),
        (".", ["--stop-stage", "3"], ["torch on auto"]),
        (".", ["--stop-stage", "3", "--device", "cuda"], ["torch on cuda"]),
        (".", ["--stop-stage", "5", "--device", "cpu"], []),
        (".", ["--stop-stage", "5", "--set", "runtime.device=cpu"], []),
        ("nothing", [], []),
        ("nothing", ["--stop-stage", "0", "--device", "cuda"], ["torch on cuda"]),
    ],
)
def test_a_gpu_is_tried_for_the_stages_that_run_where_it_may_be_used(checked, monkeypatch, tmp_path, driver, options, expected):
    monkeypatch.setattr(check_device, "DRIVER", tmp_path / driver)
    status = 3 if "k2 by k2_python" in expected else 0  # that of k2's interpreter
    assert check_device.main(["--conf", str(CONF), *options]) == status and checked == expected


def test_a_gpu_that_torch_cannot_use_is_an_error(monkeypatch, tmp_path):
    """As with a CUDA 12 driver and a torch for CUDA 13: the driver is there, torch sees no GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (tmp_path / "version").write_text("NVRM version: 550.54.15\n")
    for module in (check_device, devices):
        monkeypatch.setattr(module, "DRIVER", tmp_path / "version")
    with pytest.raises(ConfigError, match="cannot use a GPU"):
        check_device.main(["--conf", str(CONF), "--stop-stage", "0"])


OPTIONS = ["--nowhere", "--stop_stage", "stray", "--", "-x", "--device=gpu", "--nj=no", "--set=x", "--set=spin.max_step=1"]


@pytest.mark.parametrize("option", OPTIONS)
def test_wrong_options_end_before_any_check(checked, option):
    with pytest.raises((SystemExit, ConfigError)):
        check_device.main(["--conf", str(CONF), option])
    assert checked == []


@pytest.mark.parametrize(("options", "number"), [([], 1), (["--gpus", "3"], 3), (["--set", "runtime.gpus=2"], 2)])
def test_the_number_of_gpus_comes_from_the_configuration(capsys, options, number):
    check_device.print_gpus(["--conf", str(CONF), *options])
    assert capsys.readouterr().out == f"{number}\n"


def test_k2_computes_the_loss_and_the_path_on_the_cpu():
    pytest.importorskip("k2")
    check_device.check_k2("cpu")


@pytest.mark.parametrize("outcome", [RuntimeError("no kernel image is available"), (0.5, [1, -1]), (check_device.CTC_LOSS, [1])])
def test_a_k2_that_fails_or_computes_something_else_is_an_error(monkeypatch, outcome):
    monkeypatch.setitem(sys.modules, "k2", SimpleNamespace(__version__="1.0"))
    monkeypatch.setattr(check_device, "_run_k2", mock.Mock(side_effect=[outcome]))
    with pytest.raises(ConfigError, match="(?s)k2 1.0 on cpu.*damaged k2.*remedy: utils/setup_env.sh --rebuild"):
        check_device.check_k2("cpu")
