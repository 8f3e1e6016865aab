"""Made-up runs of two and of five systems."""

import dataclasses

import pytest

from spin.config import Config, RuntimeConfig
from tests.report.made_up_run import SYSTEMS, make_material, make_report


@pytest.fixture(scope="session")
def config():
    return Config(runtime=RuntimeConfig(device="cpu"))


@pytest.fixture
def report(tmp_path, config):
    return make_report(tmp_path / "exp", config)


@pytest.fixture(scope="session")
def five(tmp_path_factory, config):
    """(report, pictures, tables) of five systems, made once for the tests that only look at them."""
    systems = [{"name": name, "source": name} if "_" in name else name for name in SYSTEMS]
    return make_material(tmp_path_factory.mktemp("five"), dataclasses.replace(config, systems=tuple(systems)), SYSTEMS)
