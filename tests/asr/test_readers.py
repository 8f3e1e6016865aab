"""Features from the encoder itself: the same trainings as from stored ones, the same numbers in both environments, bad audio."""

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
from lhotse import CutSet, NumpyFilesWriter, Recording

from spin import artifacts
from spin.asr.decoding_stage import decode
from spin.asr.readers import EncoderReader, open_reader
from spin.asr.training_stage import train_asr
from spin.config import Config
from spin.errors import ConfigError, DataError
from spin.models.encoder import Encoder, EncoderShape
from spin.models.importers import load_encoder
from spin.models.spin_model import SpinModel, save_model
from spin.models.storage import save_encoder
from spin.runtime.checkpoints import read_checkpoint
from spin.runtime.files import read_json, read_jsonl
from spin.runtime.settings import load_config

SHAPE = EncoderShape(conv_channels=(8,) * 7, dim=16, layers=3, heads=2, ffn_dim=32, pos_conv_taps=8, pos_conv_groups=2)
REPOSITORY = Path(__file__).resolve().parents[2]


@torch.no_grad()
def store(exp: Path, system: str, part: str, encoder: Encoder) -> None:
    """Gives every cut of a part noise as audio and what stage 3 would have stored of it."""
    path, cuts = artifacts.units_cuts(exp, system, part), []
    with NumpyFilesWriter(str(artifacts.units_arrays(exp, system, part))) as writer:
        for number, cut in enumerate(CutSet.from_file(path)):
            wave = exp / "audio" / f"{cut.id}.wav"
            if not wave.exists():
                wave.parent.mkdir(exist_ok=True)
                noise = np.random.default_rng([number, len(part)]).normal(size=round(cut.duration * artifacts.SAMPLE_RATE))
                soundfile.write(wave, 0.1 * noise, artifacts.SAMPLE_RATE, subtype="FLOAT")
            cut.recording = Recording.from_file(wave, recording_id=cut.id)
            states, _ = encoder(torch.from_numpy(cut.load_audio()), torch.tensor([cut.num_samples]))
            layers = torch.stack([state[0] for state in states], dim=1).numpy().astype(np.float16)
            for name, array in ((artifacts.HIDDEN_FIELD, layers[:, 2]), (artifacts.LAYERS_FIELD, layers)):
                key, shift = f"{part}-{number}-{name}", artifacts.FRAME_SHIFT_IN_S
                cut = cut.with_custom(name, writer.store_array(key, array, frame_shift=shift, temporal_dim=0, start=0.0))
            cuts.append(cut)
    CutSet.from_cuts(cuts).to_file(path)


@pytest.fixture
def heard(work_folder) -> Path:
    """An experiment with audio, an encoder of three layers and a Spin model, and what stage 3 stores of them."""
    exp, units = work_folder / "exp", work_folder / "exp" / "units"
    target = units.resolve()
    units.unlink()
    shutil.copytree(target, units)
    torch.manual_seed(0)
    encoder = Encoder(SHAPE).eval()
    save_encoder(work_folder / "encoder.safetensors", encoder)
    changed = Encoder(SHAPE).eval()
    artifacts.spin_model(exp).parent.mkdir()
    save_model(artifacts.spin_model(exp), SpinModel.create(changed, 2, 12, 8, seed=0))
    for system, one in zip(artifacts.SYSTEMS, (encoder, changed)):
        for part in ("train", "dev", "eval"):
            store(exp, system, part, one)
    return work_folder


def configured(folder: Path, tools, **asr) -> Config:
    config = tools.config(max_steps=6, valid_every_steps=3, checkpoint_every_steps=3, **asr)
    encoder = dataclasses.replace(config.encoder, source=str(folder / "encoder.safetensors"), layer=2)
    return dataclasses.replace(config, encoder=encoder)


def trained(folder: Path, tools, **asr) -> tuple:
    """Weights, history and scores of stages 4 and 5."""
    context = tools.context(folder, configured(folder, tools, **asr))
    train_asr(context)
    decode(context)
    found = []
    for system in artifacts.SYSTEMS:
        weights = read_checkpoint(artifacts.asr_model(context.exp, system, 0))[1]["model"]
        found.append({name: weight.tolist() for name, weight in weights.items()})
        found.append(list(read_jsonl(artifacts.asr_history(context.exp, system, 0))))
        shutil.rmtree(artifacts.asr_folder(context.exp, system))
    return found, read_json(artifacts.scores(context.exp))


@pytest.mark.parametrize("weighted", [False, True])
def test_stored_and_on_the_fly_give_the_same_recogniser(heard, tools, weighted):
    stored = trained(heard, tools, weighted_sum=weighted)
    on_the_fly = trained(heard, tools, weighted_sum=weighted, features="on_the_fly", feature_cache_in_mib=0)
    assert stored == on_the_fly
    weights, history = stored[0][:2]
    assert ("layer_sum.weights" in weights) == weighted
    if weighted:
        shares = history[-1]["layer_weights"]
        assert len(shares) == 4 and sum(shares) == pytest.approx(1.0, abs=1e-5)
        assert len({round(share, 4) for share in shares}) > 1  # they have learned


def test_a_layer_of_its_own_and_all(heard):
    encoder = load_encoder(heard / "encoder.safetensors")
    cut = next(iter(CutSet.from_file(artifacts.units_cuts(heard / "exp", "baseline", "eval"))))
    device = torch.device("cpu")
    every = EncoderReader(0, encoder, None, device).read(cut)
    assert every.shape[1:] == (4, 16) and every.dtype == np.float16
    for layer in (1, 2, 3):
        assert np.array_equal(EncoderReader(0, encoder, layer, device).read(cut), every[:, layer])
    assert np.array_equal(every, cut.load_custom(artifacts.LAYERS_FIELD))


def test_the_number_of_threads_has_no_say(heard, tools):
    cut = next(iter(CutSet.from_file(artifacts.units_cuts(heard / "exp", "baseline", "eval"))))
    reader = open_reader(configured(heard, tools, features="on_the_fly"), heard / "exp", "baseline", 0)
    seen, before = [], torch.get_num_threads()
    reader._encoder.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    torch.set_num_threads(2)
    try:
        reader.read(cut)
        assert seen == [1] and torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_audio_that_is_gone_or_another_is_an_error(heard, tools):
    cut = next(iter(CutSet.from_file(artifacts.units_cuts(heard / "exp", "baseline", "eval"))))
    reader = open_reader(configured(heard, tools, features="on_the_fly"), heard / "exp", "baseline", 0)
    longer = cut.with_custom(artifacts.HIDDEN_FIELD, dataclasses.replace(cut.hidden, array=_shorter(cut.hidden.array)))
    with pytest.raises(DataError, match="as in stage 3"):
        reader.read(longer)
    (heard / "exp" / "audio" / f"{cut.id}.wav").unlink()
    with pytest.raises(DataError, match=f"audio of {cut.id}"):
        reader.read(cut)


def _shorter(array):
    return dataclasses.replace(array, shape=[array.shape[0] - 1, *array.shape[1:]])


def test_what_is_not_stored_is_an_error(made_corpus, tools):
    cut = next(iter(CutSet.from_file(artifacts.units_cuts(made_corpus / "exp", "baseline", "eval"))))
    with pytest.raises(DataError, match="no field 'layers'"):
        open_reader(tools.config(weighted_sum=True), made_corpus / "exp", "baseline", 0).read(cut)
    with pytest.raises(ConfigError, match="units.store_layers=true"):
        load_config(None, ["asr.weighted_sum=true"])
    with pytest.raises(ConfigError, match="official_padding"):
        load_config(None, ["asr.features=on_the_fly", "encoder.official_padding=true"])
    assert load_config(None, ["asr.weighted_sum=true", "asr.features=on_the_fly"]).asr.weighted_sum


def test_both_environments_compute_the_same(tmp_path):
    """Stages 0 to 3 and stages 4 and 5 may have different versions of torch."""
    beside = REPOSITORY / ".venv" / "bin" / "python"
    python = os.environ.get("SPIN_PYTHON") or str(beside)
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
