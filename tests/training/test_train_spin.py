"""Stage 2 as a whole, on stage 1's real product: any number of loader workers gives the same model, and the model loads."""

import dataclasses
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from spin import artifacts
from spin.config import RSpinConfig, RuntimeConfig
from spin.config_io import dump_config
from spin.errors import DataError
from spin.models.encoder import Encoder
from spin.models.weights import save_encoder
from spin.objectives.model import load_model
from spin.runtime import seeding
from spin.runtime.checkpoints import read_checkpoint
from spin.runtime.files import read_jsonl, write_jsonl
from spin.runtime.logs import get_logger
from spin.runtime.product import Context
from tests.data.synthetic import prepare_part
from tests.training.tiny_training import SHAPE, equal, make_config

MOST_FILES, MOST_LINES = 50, 5700  # that stage 2 loads of this package; lower them when it needs less
LOCAL = Path(__file__).resolve().parents[2] / "local"
train_spin = runpy.run_path(str(LOCAL / "2_train_spin.py"))["train_spin"]


def make_context(folder: Path, name: str, stage: int = 2, **changes) -> Context:
    spin = {"max_steps": 4, "valid_every_steps": 2, "codebook_size": 8}
    objective = {key: changes.pop(key) for key in ("objective", "rspin", "seed") if key in changes}
    config = make_config(**(spin | changes))
    encoder = dataclasses.replace(config.encoder, source=str(folder / "encoder.safetensors"))
    runtime = RuntimeConfig(nj=2, device="cpu", threads=1)
    config = dataclasses.replace(config, encoder=encoder, runtime=runtime, **objective)
    return Context(config, folder / name, folder / "corpus", stage, get_logger("test"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with corpus/ after stage 1, and a small encoder."""
    folder = tmp_path_factory.mktemp("stage")
    seeding.seed_torch("tiny encoder")
    save_encoder(folder / "encoder.safetensors", Encoder(SHAPE))
    context = make_context(folder, "stage0", stage=0)
    seconds = {"spin_train": [0.8, *(1.0 + 0.1 * index for index in range(12))], "valid": [1.0, 1.5, 2.0, 1.2]}
    for part, lengths in seconds.items():
        prepare_part(context, part, lengths)
    runpy.run_path(str(LOCAL / "1_analyse_pitch.py"))["analyse_pitch"](dataclasses.replace(context, stage=1))
    return folder


@pytest.fixture(scope="module")
def model(folder) -> Path:
    """The model of a finished stage, trained with two loader workers."""
    train_spin(context := make_context(folder, "workers", workers=2))
    return artifacts.spin_model(context.exp)


def test_model_rejects_and_history(model):
    units = load_model(model).units(torch.randn(2, 16_000), torch.tensor([16_000, 8_000]))
    assert [len(row) for row in units] == [49, 24] and int(torch.cat(units).max()) < 8
    rejected = list(read_jsonl(artifacts.rejects(model.parent, "train_spin")))
    assert [record["id"] for record in rejected] == ["spin_train-0000"] and "too short" in rejected[0]["reason"]
    history = list(read_jsonl(artifacts.history_in(model.parent)))
    assert [record["step"] for record in history] == [2, 4]
    assert all(record["pnmi"] is None and record["perplexity"] >= 1 for record in history)  # no phone alignment here


def test_the_command_without_workers_trains_the_same_model_and_loads_what_it_needs(folder, model):
    """The modules of spin that stage 2 loads, without those of perturbation; `pytest -s` prints them."""
    config = make_context(folder, "command", workers=0).config
    corpus = dataclasses.replace(config.corpus, data_dir=str(folder), name="corpus")
    (folder / "conf.yaml").write_text(dump_config(dataclasses.replace(config, corpus=corpus)))
    files = "*(getattr(module, '__file__', None) for module in sys.modules.values())"
    code = f"import runpy, sys; del sys.argv[0]; runpy.run_path(sys.argv[0], run_name='__main__'); print('loaded:', {files})"
    words = [LOCAL / "2_train_spin.py", "--conf", folder / "conf.yaml", "--exp-dir", folder / "command"]
    result = subprocess.run([sys.executable, "-c", code, *words], cwd=LOCAL.parent, capture_output=True, text=True, check=True)
    assert artifacts.spin_model(folder / "command").read_bytes() == model.read_bytes()
    package = str(LOCAL.with_name("spin"))
    paths = (Path(name) for name in result.stdout.split("loaded:")[1].split() if name.startswith(package))
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in paths if path.parent.name != "perturbation"}
    print(lines)
    assert 0 < len(lines) <= MOST_FILES and sum(lines.values()) <= MOST_LINES


def test_an_interrupted_stage_resumes_from_its_partial_folder(folder, model, monkeypatch):
    from spin.training import monitor

    context, report = make_context(folder, "interrupted", checkpoint_every_steps=1), monitor.Monitor.report

    def interrupt(self, waited):
        report(self, waited)
        if any((context.exp / "spin.partial" / "checkpoints").glob("step-*3.safetensors")):
            raise KeyboardInterrupt

    monkeypatch.setattr(monitor.Monitor, "report", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_spin(context)
    assert not artifacts.spin_folder(context.exp).exists()
    monkeypatch.undo()
    train_spin(context)
    assert equal(*(load_model(path).state_dict() for path in (artifacts.spin_model(context.exp), model)))


def test_rspin_trains_on_frame_labels_and_noise(folder):
    labels = folder / "labels"
    labels.mkdir()
    (labels / "labels.json").write_text(json.dumps({"classes": 5}))
    units = {index: [(place // 4 + index) % 5 for place in range(45 + 5 * index)] for index in range(13)}
    write_jsonl(labels / "spin_train.jsonl", ({"id": f"spin_train-{index:04d}", "units": row} for index, row in units.items()))
    context = make_context(folder, "rspin", objective="rspin", rspin=RSpinConfig(labels=str(labels)))
    train_spin(context)
    path = artifacts.spin_model(context.exp)
    assert load_model(path).codebook_size == 8
    trained = read_checkpoint(path.parent / "checkpoints" / "step-000000004.safetensors")[1]["trained"]
    assert trained["objective.classifier.weight"].shape == (5, SHAPE.dim)
    with pytest.raises(DataError, match="labels.json"):
        train_spin(make_context(folder, "nolabels", objective="rspin", rspin=RSpinConfig(labels=str(folder / "corpus"))))
