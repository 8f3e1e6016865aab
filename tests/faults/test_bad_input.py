"""Every kind of bad input through the stage scripts: a named reject or an error with a remedy, and nothing else lost."""

from __future__ import annotations

import pytest

from tests.faults import bad_configurations, bad_corpora
from tests.faults.run_case import try_checkpoints, try_configuration, try_corpus, try_products, try_utterances
from tests.faults.stage_server import StageServer, privileged


@pytest.fixture(scope="module")
def server():
    with StageServer() as running:
        yield running


@pytest.fixture(autouse=True)
def modes_mean_something():
    if privileged():
        pytest.skip("this user reads every file, whatever its mode")


def test_bad_utterances(server, tmp_path):
    wrong = [f"{tried.name}: {tried.wrong}" for tried in try_utterances(tmp_path / "all", server) if tried.wrong]
    assert wrong == []


@pytest.mark.parametrize("kind", bad_configurations.KINDS, ids=lambda kind: kind.name)
def test_bad_configurations(kind, server, tmp_path):
    assert try_configuration(tmp_path, server, kind).wrong == ""


def corpora():
    """What ends well takes a whole stage, seconds each."""
    return [pytest.param(kind, id=kind.name, marks=[] if kind.expected else pytest.mark.slow) for kind in bad_corpora.KINDS]


@pytest.mark.parametrize("kind", corpora())
def test_bad_corpora(kind, server, tmp_path):
    assert try_corpus(tmp_path, server, kind).wrong == ""


@pytest.mark.slow
def test_bad_checkpoints(tmp_path):
    wrong = [f"{tried.name}: {tried.wrong}" for tried in try_checkpoints(tmp_path) if tried.wrong]
    assert wrong == []


@pytest.mark.slow
def test_damaged_products(tmp_path):
    wrong = [f"{tried.name}: {tried.wrong}" for tried in try_products(tmp_path) if tried.wrong]
    assert wrong == []
