"""Inputs of a recogniser: stored features, units as they are, deduplicated or as pieces."""

import numpy as np
import pytest

from spin import artifacts
from spin.asr import inputs
from spin.asr.inputs import MASK, InputReader, UnitInventory, count_units, measure_features
from spin.config import AsrConfig
from spin.data.cuts import read_cuts
from spin.data.store import load_array
from spin.runtime.files import read_json
from tests.asr.tiny_asr import cuts_of, decode_all, make_config, train_all, write_arrays

UNITS = [3, 3, 0, 0, 3, 1, 1, 1]


def test_reader_keeps_within_its_bound(made_corpus):
    cuts = list(cuts_of(made_corpus, "train"))[:3]
    reader = InputReader(max_bytes=load_array(cuts[0], artifacts.HIDDEN_FIELD).nbytes)
    assert reader.read(cuts[0]) is reader.read(cuts[0])
    assert reader.read(cuts[1]) is not reader.read(cuts[1])
    assert np.array_equal(reader.read(cuts[2]), load_array(cuts[2], artifacts.HIDDEN_FIELD))
    assert reader.length(cuts[2]) == len(reader.read(cuts[2]))


def test_statistics_by_hand(made_corpus, monkeypatch):
    cuts = list(cuts_of(made_corpus, "train"))
    statistics = measure_features(cuts, len(cuts))
    frames = np.concatenate([load_array(cut, artifacts.HIDDEN_FIELD) for cut in cuts]).astype(np.float64)
    np.testing.assert_allclose(statistics.mean, frames.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(statistics.deviation, frames.std(axis=0), rtol=1e-4)
    monkeypatch.setattr(inputs, "STATISTICS_UTTERANCES", 20)
    assert not np.array_equal(measure_features(cuts, len(cuts)).mean, statistics.mean)


# Units
def cut_with_units(made_corpus, tmp_path, units):
    cut = next(iter(cuts_of(made_corpus, "eval", "units")))
    write_arrays(tmp_path, artifacts.UNITS_FIELD, [cut], [np.array(units, dtype=np.int32)])
    return next(iter(read_cuts(artifacts.cuts_in(tmp_path))))


@pytest.mark.parametrize(
    ("unit_input", "symbols"),
    [
        ("raw", [4, 4, 1, 1, 4, 2, 2, 2, MASK]),
        ("smoothed", [4, 4, 4, 1, 1, 2, 2, 2, 2]),
        ("deduplicated", [4, 4, 1, 1, 4, 4, 2, 2, MASK, MASK]),
    ],
)
def test_symbols_by_hand(made_corpus, tmp_path, unit_input, symbols):
    """Unit u is symbol u + 1; a unit that training never saw is masked."""
    cut = cut_with_units(made_corpus, tmp_path, [*UNITS, 7])
    reader = InputReader(UnitInventory(unit_input, 4))
    assert reader.read(cut).tolist() == symbols and reader.length(cut) == len(symbols)
    assert UnitInventory(unit_input, 4).symbols == 5


def test_pieces_join_units(made_corpus, tmp_path):
    training = [cut_with_units(made_corpus, tmp_path, UNITS) for _ in range(4)]
    inventory = count_units(training, AsrConfig(unit_input="pieces", unit_pieces=10))
    assert inventory.codebook_size == 4
    reader = InputReader(inventory)
    symbols = reader.read(training[0])
    assert 1 <= len(symbols) // 4 < 4 and (symbols > MASK).all() and symbols.max() < inventory.symbols
    assert np.array_equal(symbols, symbols[::4].repeat(4))
    units = inventory.load_pieces().units
    assert sum((units[piece] for piece in symbols[::4]), []) == [3, 0, 3, 1]
    unseen = cut_with_units(made_corpus, tmp_path, [3, 3, 9, 0])
    assert sum((units[piece] for piece in reader.read(unseen)[::4]), []) == [3, 0]


@pytest.mark.parametrize("unit_input", ["deduplicated", "pieces"])
def test_recognisers_on_joined_units(work_folder, unit_input):
    config = make_config({"inputs": ("units",), "unit_input": unit_input, "unit_pieces": 12, "max_steps": 20, "model": "blstm"})
    train_all(work_folder, config)
    scores = read_json(artifacts.scores(decode_all(work_folder, config).exp))
    assert scores["asr"] == {} and 0 <= scores["asr_from_units"]["baseline"]["eval"]["hlg"]["wer"] <= 100
