"""n-gram models of units: perplexity by hand and against kaldingram's own evaluation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kaldingram.ppl import compute_ppl

from spin.__main__ import main
from spin.errors import DataError
from spin.runtime.files import write_text
from spin.units.measure import EvaluationSet, Utterance
from spin.units.unit_lm import Predictability, load_unit_lm, score, train_unit_lm

K = 6
BY_HAND = """\\data\\
ngram 1=4
ngram 2=2

\\1-grams:
-99.0\t<s>\t-0.5
-0.3\t0\t-0.2
-0.6\t1
-0.7\t</s>

\\2-grams:
-0.1\t<s> 0
-0.4\t0 1

\\end\\
"""


def markov(seed: int, utterances: int) -> list[list[int]]:
    """Units that mostly go up by one: something that an n-gram can learn."""
    random = np.random.default_rng(seed)
    steps = [random.choice([1, 1, 1, 2, 3], size=int(random.integers(1, 40))) for _ in range(utterances)]
    return [(np.cumsum(one) % (K - 1)).tolist() for one in steps]


@pytest.fixture(scope="module", params=[2, 3, 4])
def model(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("lm") / "units.arpa"
    train_unit_lm([*markov(0, 60), []], K, request.param, path)
    return load_unit_lm(path)


def test_by_hand(tmp_path):
    """1 </s> backs off, and 1 has no weight of its own; <s> 1 and 0 </s> back off with the weights of <s> and 0."""
    write_text(tmp_path / "x.arpa", BY_HAND)
    model, unit = load_unit_lm(tmp_path / "x.arpa"), math.log2(10)
    assert score(model, [[0, 1]]) == (pytest.approx((0.1 + 0.4 + 0.7) * unit), 3)
    assert score(model, [[1]]) == (pytest.approx((0.5 + 0.6 + 0.7) * unit), 2)
    assert score(model, [[0, 1], [0]]) == (pytest.approx((1.2 + 0.1 + 0.2 + 0.7) * unit), 5)


def test_perplexity_is_that_of_kaldingram(model):
    held_out = markov(1, 30)
    theirs = compute_ppl(model, [" ".join(map(str, units)) for units in held_out])
    bits, events = score(model, held_out)
    assert 2 ** (bits / events) == pytest.approx(theirs["ppl"], rel=1e-6)
    assert 1 < theirs["ppl"] < K  # it learnt something, and unseen units did not cost everything


def test_long_utterances_are_scored(model):
    assert score(model, [[0, 1] * 3000])[0] > 0  # kaldingram's own scorer recurses over the whole history


def test_random_units_are_as_hard_as_their_number_and_regular_ones_are_easy():
    random = np.random.default_rng(0)
    noise, cycle = Predictability(EvaluationSet(K)), Predictability(EvaluationSet(K))
    for number in range(100):
        steps = random.integers(1, K, 200)  # never 0: deduplication leaves every unit
        noise.add(Utterance(str(number), "s", np.cumsum(steps) % K, 4.0))
        cycle.add(Utterance(str(number), "s", np.arange(200) % K, 4.0))
    figures = noise.figures()
    assert figures["ngram_perplexity"] == pytest.approx(K - 1, rel=0.05)
    assert figures["ngram_bitrate"] == pytest.approx(math.log2(K - 1) * 50, rel=0.05)
    assert cycle.figures()["ngram_perplexity"] < 1.5


def test_bad_units(tmp_path):
    for bad in ([[0, K]], [[-1]]):
        with pytest.raises(DataError, match="another codebook"):
            train_unit_lm(bad, K, 2, tmp_path / "x.arpa")
    with pytest.raises(DataError, match="none"):
        train_unit_lm([[]], K, 2, tmp_path / "x.arpa")
    assert not list(tmp_path.iterdir())
    nothing = Predictability(EvaluationSet(3))
    nothing.add(Utterance("one", "s", np.array([1, 2]), 0.04))
    assert all(math.isnan(value) for value in nothing.figures().values())


def test_the_command(tmp_path, unit_experiment, capsys):
    words = ["unit-lm", "--exp", str(unit_experiment), "--output", str(tmp_path / "units.arpa")]
    perplexities = {}
    for system in ("baseline", "spin"):
        assert main([*words, "--system", system, "--order", "2"]) == 0
        perplexities[system] = float(capsys.readouterr().out.split("perplexity ")[1].split(",")[0])
    assert perplexities["spin"] < perplexities["baseline"] and load_unit_lm(tmp_path / "units.arpa").order() == 2
    assert main([*words, "--train-part", "absent"]) == 1 and "--stage 3" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*words, "--order", "9"])
