"""n-gram models of units: probabilities that sum to 1, perplexity by hand and against kaldingram's own evaluation."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kaldingram.ppl import compute_ppl
from kaldingram.prune import ArpaParser

from spin import artifacts
from spin.__main__ import main
from spin.config import Config, CorpusConfig, SpinConfig
from spin.errors import DataError
from spin.runtime.files import write_jsonl, write_text
from spin.runtime.settings import dump_config
from spin.units.unit_lm import BEGIN, END, NEVER, UnitLm, train_unit_lm

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
    assert train_unit_lm([*markov(0, 60), []], K, request.param, path) == 60
    return UnitLm(path), path


def test_by_hand(tmp_path):
    write_text(tmp_path / "x.arpa", BY_HAND)
    lm = UnitLm(tmp_path / "x.arpa")
    # <s> 0 is there; 0 1 is there; 1 </s> backs off, 1 has no weight of its own
    assert lm.utterance_bits([0, 1]) == pytest.approx((0.1 + 0.4 + 0.7) * math.log2(10))
    # <s> 1 and 0 </s> back off with the weights of <s> and 0
    assert lm.utterance_bits([1]) == pytest.approx((0.5 + 0.6 + 0.7) * math.log2(10))
    assert lm.utterance_bits([0]) == pytest.approx((0.1 + 0.2 + 0.7) * math.log2(10))
    figures = lm.held_out([([0, 1], 0.5), ([0], 0.3)])
    assert figures.perplexity == pytest.approx(10 ** ((1.2 + 1.0) / 5))
    assert figures.bits_per_second == pytest.approx(2.2 * math.log2(10) / 0.8)
    assert lm.log10("9", ()) == NEVER
    with pytest.raises(DataError, match="unit 9"):
        lm.held_out([([9], 1.0)])


def test_nothing_is_no_number(model):
    figures = model[0].held_out([])
    assert math.isnan(figures.perplexity) and math.isnan(figures.bits_per_second)


@given(st.lists(st.integers(0, K - 1), max_size=6), st.booleans())
def test_probabilities_sum_to_one_after_any_history(model, history, begins):
    lm = model[0]
    words = (*((BEGIN,) if begins else ()), *map(str, history))
    total = sum(10.0 ** lm.log10(word, words) for word in (*map(str, range(K)), END))
    assert total == pytest.approx(1.0, abs=2e-5)


def test_perplexity_is_that_of_kaldingram(model):
    lm, path = model
    held_out = markov(1, 30)
    theirs = compute_ppl(ArpaParser().loadf(str(path))[0], [" ".join(map(str, units)) for units in held_out])
    ours = lm.held_out((units, len(units) * 0.02) for units in held_out)
    assert ours.perplexity == pytest.approx(theirs["ppl"], rel=1e-6)
    assert 1 < ours.perplexity < K  # it learnt something, and units that were never seen have not cost everything


def test_random_units_are_as_hard_as_their_number(tmp_path):
    random = np.random.default_rng(0)
    train, test = ([random.integers(0, K, 200).tolist() for _ in range(50)] for _ in range(2))
    train_unit_lm(train, K, 2, tmp_path / "x.arpa")
    figures = UnitLm(tmp_path / "x.arpa").held_out((units, 4.0) for units in test)
    assert figures.perplexity == pytest.approx(K, rel=0.03)


def test_bad_units_and_files(tmp_path):
    for bad in ([[0, K]], [[-1]]):
        with pytest.raises(DataError, match="another codebook"):
            train_unit_lm(bad, K, 2, tmp_path / "x.arpa")
    with pytest.raises(DataError, match="none"):
        train_unit_lm([[]], K, 2, tmp_path / "x.arpa")
    assert not list(tmp_path.iterdir())
    contents = ("", "hello", "\\x-grams:\n", BY_HAND.replace("0 1", "01"), BY_HAND.replace("-0.6", "much"), BY_HAND[:-30] + "1")
    for content in contents:
        write_text(tmp_path / "bad.arpa", content)
        with pytest.raises(DataError, match=r"bad\.arpa"):
            UnitLm(tmp_path / "bad.arpa")
    with pytest.raises(DataError, match=r"none\.arpa"):
        UnitLm(tmp_path / "none.arpa")


@pytest.fixture
def exp(tmp_path):
    """Units of both systems: the baseline's are noise, Spin's are predictable."""
    corpus = CorpusConfig(name="small", spin_train=("train",), asr_train=("train",), valid=(), test=("test",))
    write_text(
        artifacts.config_file(tmp_path / "exp"), dump_config(Config(name="x", corpus=corpus, spin=SpinConfig(codebook_size=K)))
    )
    for number, part in enumerate(("train", "test")):
        random = np.random.default_rng(number)
        noise = [random.integers(0, K, 30).tolist() for _ in range(30)]
        for system, lines in (("baseline", noise), ("spin", markov(number, 30))):
            records = [{"id": str(i), "units": [unit for unit in units for _ in range(2)]} for i, units in enumerate(lines)]
            path = artifacts.units_lines(tmp_path / "exp", system, part)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_jsonl(path, records)
    return tmp_path / "exp"


def test_the_command(tmp_path, exp, capsys):
    words = ["unit-lm", "--exp", str(exp), "--output", str(tmp_path / "lm"), "--order", "2", "3"]
    assert main(words) == 0
    report = json.loads((tmp_path / "lm" / "unit_lm.json").read_text())
    systems = report["systems"]
    assert systems["spin"]["2"]["perplexity"] < systems["baseline"]["2"]["perplexity"]
    assert systems["baseline"]["3"]["test_utterances"] == 30 and report["deduplicated"]
    assert 0 < systems["spin"]["2"]["units_per_second"] <= 25.001  # two frames a unit
    assert main([*words, "--frames"]) == 0
    frames = json.loads((tmp_path / "lm" / "unit_lm.json").read_text())["systems"]
    assert frames["spin"]["2"]["units_per_second"] == pytest.approx(50)
    assert "perplexity" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--train-part", "nothing"], "no part of this experiment"),
        (["--test-part", "train"], "to train and to test on"),
    ],
)
def test_errors_of_the_command(tmp_path, exp, capsys, options, words):
    assert main(["unit-lm", "--exp", str(exp), "--output", str(tmp_path / "lm"), *options]) == 1
    assert words in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["unit-lm", "--exp", str(exp), "--output", "x", "--order", "9"])
