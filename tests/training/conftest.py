"""A small corpus and one whole training on it."""

import pytest

from tests.training.tiny_training import make_corpus, make_training, weights


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="session")
def unbroken(corpus, tmp_path_factory):
    """(folder, final weights) of a training that nothing interrupts. Read-only."""
    folder = tmp_path_factory.mktemp("unbroken")
    training = make_training(corpus, folder)
    training.run()
    return folder, weights(training)
