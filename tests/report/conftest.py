"""Made-up runs of two and of five systems."""

from __future__ import annotations

import dataclasses

import pytest

from spin.config import Config
from spin.report.collect import Material
from spin.report.page import draw
from spin.runtime.context import Context
from tests.report.made_up_run import SYSTEMS, make_context, make_material


@pytest.fixture(scope="session")
def config() -> Config:
    base = Config()
    return dataclasses.replace(base, runtime=dataclasses.replace(base.runtime, device="cpu"))


@pytest.fixture
def context(tmp_path, config) -> Context:
    return make_context(tmp_path / "exp", config)


@pytest.fixture
def material(tmp_path, config) -> Material:
    return make_material(tmp_path / "exp", config)


@pytest.fixture
def report(material) -> dict:
    return material.report


@pytest.fixture(scope="session")
def five(tmp_path_factory, config):
    """(material of five systems, its pictures), drawn once for the tests that only look at them."""
    systems = [name if name in ("baseline", "spin", "fbank") else {"name": name, "source": name} for name in SYSTEMS]
    config = dataclasses.replace(config, systems=tuple(systems))
    made = make_material(tmp_path_factory.mktemp("five") / "exp", config, SYSTEMS)
    return made, draw(made)
