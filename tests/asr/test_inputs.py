"""Inputs of a recogniser: stored features, features from the encoder itself, units as they are, deduplicated or as pieces."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lhotse import Recording

from spin import artifacts, products
from spin.asr import inputs
from spin.asr.batches import open_cuts
from spin.asr.inputs import MASK, InputReader, UnitInventory, UnitReader, count_units, measure_features, open_reader
from spin.config import AsrConfig, Config, EncoderConfig
from spin.data.cuts import read_cuts
from spin.data.store import load_array
from spin.errors import DataError
from spin.models.architecture import EncoderShape
from spin.models.encoder import Encoder
from spin.models.importers import load_encoder
from spin.models.safetensors_io import save_encoder
from spin.runtime.checkpoints import read_checkpoint
from spin.runtime.files import read_json, read_jsonl
from tests.asr.tiny_asr import decode_all, make_config, make_context, publish, run_stage_4, system_of, write_arrays

SHAPE = EncoderShape(conv_channels=(8,) * 7, dim=16, layers=3, heads=2, ffn_dim=32, pos_conv_taps=8, pos_conv_groups=2)
REPOSITORY = Path(__file__).resolve().parents[2]
UNITS = [3, 3, 0, 0, 3, 1, 1, 1]


def cuts_of(folder: Path, part: str, source: str = "features"):
    return open_cuts(folder / "exp", "baseline", source, [part])


def test_reader_keeps_within_its_bound(made_corpus):
    cuts = list(cuts_of(made_corpus, "train"))[:3]
    reader = InputReader(load_array(cuts[0], artifacts.HIDDEN_FIELD).nbytes)
    assert reader.read(cuts[0]) is reader.read(cuts[0])
    assert reader.read(cuts[1]) is not reader.read(cuts[1])
    assert np.array_equal(reader.read(cuts[2]), load_array(cuts[2], artifacts.HIDDEN_FIELD))
    assert reader.length(cuts[2]) == len(reader.read(cuts[2]))


def test_lost_or_changed_features_are_named(made_corpus):
    cut = next(iter(cuts_of(made_corpus, "train")))
    array = getattr(cut, artifacts.HIDDEN_FIELD)
    lost = dataclasses.replace(array, array=dataclasses.replace(array.array, storage_path="nowhere"))
    with pytest.raises(DataError, match="nowhere"):
        InputReader().read(cut.with_custom(artifacts.HIDDEN_FIELD, lost))
    with pytest.raises(DataError, match=cut.id):
        InputReader().read(_claim_one_frame_less(cut))


def _claim_one_frame_less(cut):
    array = getattr(cut, artifacts.HIDDEN_FIELD)
    shorter = dataclasses.replace(array.array, shape=[array.shape[0] - 1, *array.shape[1:]])
    return cut.with_custom(artifacts.HIDDEN_FIELD, dataclasses.replace(array, array=shorter))


def test_statistics_by_hand(made_corpus, monkeypatch):
    cuts = list(cuts_of(made_corpus, "train"))
    statistics = measure_features(cuts, InputReader(), len(cuts))
    frames = np.concatenate([load_array(cut, artifacts.HIDDEN_FIELD) for cut in cuts]).astype(np.float64)
    np.testing.assert_allclose(statistics.mean, frames.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(statistics.deviation, frames.std(axis=0), rtol=1e-4)
    monkeypatch.setattr(inputs, "STATISTICS_UTTERANCES", 20)
    assert not np.array_equal(measure_features(cuts, InputReader(), len(cuts)).mean, statistics.mean)
    with pytest.raises(DataError, match="no frame"):
        measure_features([], InputReader(), 0)


# Units
def cut_with_units(made_corpus, tmp_path, units):
    cut = next(iter(cuts_of(made_corpus, "eval", "units")))
    write_arrays(tmp_path, artifacts.UNITS_FIELD, [cut], [np.array(units, dtype=np.int32)])
    return next(iter(read_cuts(artifacts.cuts_in(tmp_path))))


@pytest.mark.parametrize(
    ("unit_input", "symbols"), [("raw", [4, 4, 1, 1, 4, 2, 2, 2, MASK]), ("deduplicated", [4, 4, 1, 1, 4, 4, 2, 2, MASK, MASK])]
)
def test_symbols_by_hand(made_corpus, tmp_path, unit_input, symbols):
    """Unit u is symbol u + 1; a unit that training never saw is masked."""
    cut = cut_with_units(made_corpus, tmp_path, [*UNITS, 7])
    reader = UnitReader(UnitInventory(unit_input, 4))
    assert reader.read(cut).tolist() == symbols and reader.length(cut) == len(symbols)
    assert UnitInventory(unit_input, 4).symbols == 5


def test_pieces_join_units(made_corpus, tmp_path):
    training = [cut_with_units(made_corpus, tmp_path, UNITS) for _ in range(4)]
    inventory = count_units(training, AsrConfig(unit_input="pieces", unit_pieces=10))
    assert inventory.codebook_size == 4
    reader = UnitReader(inventory)
    symbols = reader.read(training[0])
    assert 1 <= len(symbols) // 4 < 4 and (symbols > MASK).all() and symbols.max() < inventory.symbols
    assert np.array_equal(symbols, symbols[::4].repeat(4))
    units = inventory.load_pieces().units
    assert sum((units[piece] for piece in symbols[::4]), []) == [3, 0, 3, 1]
    unseen = cut_with_units(made_corpus, tmp_path, [3, 3, 9, 0])
    assert sum((units[piece] for piece in reader.load(unseen)[::4]), []) == [3, 0]
    inventory.save(tmp_path)
    assert UnitInventory.load(tmp_path) == inventory
    with pytest.raises(DataError, match="no unit"):
        count_units([], AsrConfig())


@pytest.mark.parametrize("unit_input", ["deduplicated", "pieces"])
def test_recognisers_on_joined_units(work_folder, unit_input):
    config = make_config({"inputs": ("units",), "unit_input": unit_input, "unit_pieces": 12, "max_steps": 20, "model": "blstm"})
    run_stage_4(make_context(work_folder, config))
    context = decode_all(work_folder, config)
    scores = read_json(artifacts.scores(context.exp))
    assert scores["asr"] == {} and 0 <= scores["asr_from_units"]["baseline"]["eval"]["hlg"]["wer"] <= 100


# Features from the encoder
@torch.no_grad()
def store_features(context, part: str, encoder: Encoder, layer: int) -> None:
    """Gives every cut of a part noise as audio, and the features that stage 3 stores of it."""
    system, cuts, arrays = system_of(context, "baseline"), [], []
    for number, cut in enumerate(read_cuts(artifacts.cuts(context.corpus, part))):
        wave = context.exp.parent / "audio" / f"{cut.id}.wav"
        wave.parent.mkdir(exist_ok=True)
        noise = np.random.default_rng([number, len(part)]).normal(size=round(cut.duration * artifacts.SAMPLE_RATE))
        soundfile.write(wave, 0.1 * noise, artifacts.SAMPLE_RATE, subtype="FLOAT")
        cut.recording = Recording.from_file(wave, recording_id=cut.id)
        states, _ = encoder(torch.from_numpy(cut.load_audio()), torch.tensor([cut.num_samples]))
        arrays.append(states[layer][0].numpy().astype(np.float16))
        cuts.append(cut)
    publish(products.features(context, system, part), write_arrays, artifacts.HIDDEN_FIELD, cuts, arrays)


def encoder_config(folder: Path, **asr) -> Config:
    given = {"max_steps": 6, "valid_every_steps": 3, "checkpoint_every_steps": 3, **asr}
    return make_config(given, encoder=EncoderConfig(source=str(folder / "encoder.safetensors"), layer=2), systems=("baseline",))


@pytest.fixture
def with_audio(work_folder) -> Path:
    """An experiment with audio, an encoder of three layers, and the features of layer 2."""
    torch.manual_seed(0)
    encoder = Encoder(SHAPE).eval()
    save_encoder(work_folder / "encoder.safetensors", encoder)
    for part in ("train", "dev", "eval"):
        store_features(make_context(work_folder, encoder_config(work_folder), stage=3), part, encoder, 2)
    return work_folder


def train_and_decode(folder: Path, **asr) -> tuple:
    """Weights, history and scores of stages 4 and 5."""
    config = encoder_config(folder, **asr)
    run_stage_4(make_context(folder, config))
    context = decode_all(folder, config)
    recogniser = artifacts.recogniser_folder(context.exp, "baseline", "features", 0)
    weights = read_checkpoint(artifacts.asr_model_in(recogniser))[1]["model"]
    history = list(read_jsonl(artifacts.history_in(recogniser)))
    scores = read_json(artifacts.scores(context.exp))
    shutil.rmtree(recogniser)
    return {name: weight.tolist() for name, weight in weights.items()}, history, scores


def test_stored_and_on_the_fly_give_the_same_recogniser(with_audio):
    assert train_and_decode(with_audio) == train_and_decode(with_audio, features="on_the_fly")
    weights, history, _ = train_and_decode(with_audio, features="on_the_fly", weighted_sum=True)
    assert "front.layer_weights" in weights
    shares = history[-1]["layer_weights"]
    assert len(shares) == 4 and sum(shares) == pytest.approx(1.0, abs=1e-5)
    assert len({round(share, 4) for share in shares}) > 1  # they have changed


@torch.no_grad()
def test_one_layer_and_all_in_any_number_of_threads(with_audio):
    encoder = load_encoder(with_audio / "encoder.safetensors")
    cut = next(iter(cuts_of(with_audio, "eval")))
    config = encoder_config(with_audio, features="on_the_fly", weighted_sum=True)
    system = system_of(make_context(with_audio, config), "baseline")
    torch.set_num_threads(2)
    try:
        every = open_reader(config, system, "features").read(cut)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert every.shape[1:] == (4, 16) and every.dtype == np.float16
    states, _ = encoder(torch.from_numpy(cut.load_audio()), torch.tensor([cut.num_samples]))
    assert np.array_equal(every, torch.stack([state[0] for state in states], dim=1).half().numpy())
    one = open_reader(encoder_config(with_audio, features="on_the_fly"), system, "features").read(cut)
    assert np.array_equal(one, every[:, 2]) and np.array_equal(one, load_array(cut, artifacts.HIDDEN_FIELD))


def test_lost_or_changed_audio_is_an_error(with_audio):
    cut = next(iter(cuts_of(with_audio, "eval")))
    config = encoder_config(with_audio, features="on_the_fly")
    reader = open_reader(config, system_of(make_context(with_audio, config), "baseline"), "features")
    with pytest.raises(DataError, match="as in stage 3"):
        reader.read(_claim_one_frame_less(cut))
    (with_audio / "audio" / f"{cut.id}.wav").unlink()
    with pytest.raises(DataError, match=f"audio of {cut.id}"):
        reader.read(cut)


def test_both_environments_compute_the_same(tmp_path):
    """Stages 0 to 3 and stages 4 and 5 may have different versions of torch."""
    python = os.environ.get("SPIN_PYTHON") or str(REPOSITORY / ".venv" / "bin" / "python")
    if not Path(python).exists():
        pytest.skip("no environment of stages 0 to 3 here (SPIN_PYTHON)")
    code = (
        "import numpy, sys, torch, spin; waves = torch.from_numpy(numpy.load(sys.argv[1]));"
        "states, _ = spin.load_encoder('mini')(waves, torch.tensor([16000, 9000]));"
        "numpy.save(sys.argv[2], torch.stack(states).detach().numpy())"
    )
    waves = np.random.default_rng(0).normal(size=(2, 16000)).astype(np.float32)
    np.save(tmp_path / "waves.npy", waves)
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    command = [python, "-c", code, str(tmp_path / "waves.npy"), str(tmp_path / "states.npy")]
    subprocess.run(command, env=environment, check=True, timeout=300)
    theirs = np.load(tmp_path / "states.npy")
    states, _ = load_encoder("mini")(torch.from_numpy(waves), torch.tensor([16000, 9000]))
    ours = torch.stack(states).detach().numpy()
    for row, frames in enumerate((49, 27)):
        np.testing.assert_allclose(ours[:, row, :frames], theirs[:, row, :frames], rtol=1e-4, atol=1e-4)
