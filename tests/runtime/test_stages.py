"""Stages: done, skipped, done again with the reason, gone on with after a kill, never mixed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from spin import artifacts
from spin.runtime.aside import Aside
from spin.runtime.files import read_json
from spin.runtime.locks import folder_lock
from spin.runtime.options import canonical_command, parse_arguments

ROOT = Path(__file__).resolve().parents[2]
WORK = """
import os, signal
from spin import artifacts
from spin.errors import DataError

def work(context):
    products = {"0": context.corpus / "audio", "1": context.corpus / "pitch", "2": context.exp / "spin"}
    product = products[context.tensorboard.name[0]]
    mode = os.environ.get("MODE")
    if mode == "refuse":
        (product / "half").mkdir(parents=True)
        raise DataError("the input", found="a typo", remedy="look")
    if mode == "kill before":
        os.kill(os.getpid(), signal.SIGKILL)
    context.begin()
    product.mkdir(parents=True, exist_ok=True)
    seen = sorted(path.name for path in product.iterdir())
    (product / f"file{len(seen)}").write_text("x")
    print("FOUND", seen)
    if mode == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "fail":
        raise DataError("utterance u1", found="nothing", remedy="look")
    if mode == "crash":
        raise ZeroDivisionError
"""


@pytest.fixture
def run(tmp_path):
    (tmp_path / "fake_work.py").write_text(WORK)
    (tmp_path / "conf.yaml").write_text("name: t\n")

    def run_one(stage: int, *options: str, mode: str = "", code: int = 0) -> str:
        script = (
            f"import sys; from spin.runtime.stages import run_stage; run_stage({stage}, sys.argv[1:], 'fake_work:work', 'help')"
        )
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}", "MODE": mode}
        done = subprocess.run(
            [sys.executable, "-c", script, "--conf", "conf.yaml", *options],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run_one


def mark(tmp_path, stage):
    folder = tmp_path / "data" / "mini" if stage < 2 else tmp_path / "exp" / "t"
    return artifacts.done_mark(folder, stage)


def test_done_stage_is_skipped_and_forced(run, tmp_path):
    assert "stage 0 (prepare_data) done in" in run(0)
    first = read_json(mark(tmp_path, 0))
    out = run(0)
    assert "skipped; --force does it again" in out and "FOUND" not in out
    assert "FOUND []" in run(0, "--force")  # products of the run before are gone
    assert read_json(mark(tmp_path, 0))["run"] != first["run"]
    assert (tmp_path / "exp" / "t" / "config.yaml").exists()


def test_changed_configuration_is_the_reason_and_what_has_no_effect_is_none(run):
    run(0)
    run(1)
    run(2)
    assert "skipped" in run(2, "--set", "spin.workers=7", "--nj", "1")
    out = run(2, "--set", "spin.max_steps=7")
    assert "spin.max_steps changed from 5000 to 7" in out and "FOUND []" in out


def test_a_stage_made_again_makes_the_next_ones_again(run):
    for stage in (0, 1, 2):
        run(stage)
    run(1, "--force")
    assert "the stage before it was done again" in run(2)


def test_a_missing_or_outdated_earlier_stage_stops_a_later_one(run):
    out = run(2, code=1)
    assert "stage 0 (prepare_data): not done yet" in out and "--stage 0" in out
    run(0)
    run(1)
    out = run(2, "--set", "perturbation.pitch_floor_in_hz=60", code=1)
    assert "perturbation.pitch_floor_in_hz changed" in out and "--stage 1" in out


def test_killed_stage_goes_on_and_a_changed_one_starts_afresh(run, tmp_path):
    for stage in (0, 1):
        run(stage)
    run(2, mode="kill", code=-signal.SIGKILL)
    assert not mark(tmp_path, 2).exists()
    out = run(2)
    assert "going on from what it left" in out and "FOUND ['file0']" in out
    run(2, "--force", mode="kill", code=-signal.SIGKILL)
    assert "FOUND []" in run(2, "--set", "seed=3")


def test_failure_has_status_1_its_remedy_and_no_traceback(run, tmp_path):
    out = run(0, mode="fail", code=1)
    assert "utterance u1" in out and "remedy: look" in out and "Traceback" not in out
    assert not mark(tmp_path, 0).exists()
    run(0, mode="crash", code=1)
    assert not mark(tmp_path, 0).exists()


def test_bad_configuration_has_status_1(run):
    assert "spin.max_step (from --set spin.max_step=1)" in run(0, "--set", "spin.max_step=1", code=1)


def test_command_of_the_report_is_the_same_for_all_folders():
    one = parse_arguments(["--conf", "c.yaml", "--set", "spin.max_steps=3", "--exp-dir", "a", "--nj", "3"], "")
    two = parse_arguments(["--conf", "c.yaml", "--set", "spin.max_steps=3", "--set", "corpus.data_dir=b", "--device", "cpu"], "")
    assert (
        canonical_command(one)
        == canonical_command(two)
        == "./run.sh --conf c.yaml --set spin.max_steps=3 --stage 0 --stop-stage 5"
    )


def everything(folder: Path) -> dict[str, bytes]:
    """What lies below a folder, without logs and locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and not {"log", ".lock", ".readers"} & set(path.parts))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_run_that_fails_before_it_begins_leaves_what_was_there(run, tmp_path):
    """A typo in a later command must not cost finished work: products, marks, curves and configuration stay."""
    for stage in (0, 1, 2):
        run(stage)
    curves = tmp_path / "exp" / "t" / "tensorboard" / artifacts.tensorboard(Path(), 2).name
    curves.mkdir(parents=True)
    (curves / "events").write_text("x")
    before = everything(tmp_path)
    for options in (("--set", "seed=5"), ("--force",)):
        out = run(2, *options, mode="refuse", code=1)
        assert "a typo" in out and "what was there before is put back" in out
        assert everything(tmp_path) == before
    assert "skipped" in run(2)
    run(0, "--set", "corpus.max_bad_share=0.5", mode="refuse", code=1)
    assert everything(tmp_path) == before
    assert "FOUND []" in run(2, "--set", "seed=5")
    assert not (curves / "events").exists() and not list(tmp_path.rglob(".old_stage*"))


def test_a_run_killed_before_it_begins_leaves_what_was_there(run, tmp_path):
    for stage in (0, 1, 2):
        run(stage)
    before = everything(tmp_path)
    run(2, "--set", "seed=5", mode="kill before", code=-signal.SIGKILL)
    assert list(tmp_path.rglob(".old_stage2"))
    out = run(2)  # as it was: nothing is to be done
    assert "put back" in out and "skipped" in out and "FOUND" not in out
    kept = everything(tmp_path)
    kept["exp/t/config.yaml"] = before["exp/t/config.yaml"]  # of the killed run until the next one
    assert kept == before
    run(2, "--set", "seed=5", mode="kill before", code=-signal.SIGKILL)
    assert "going on" in run(2, "--set", "seed=5", mode="refuse", code=1)
    assert "skipped" in run(2)


def test_work_that_was_cut_off_comes_back_too(run, tmp_path):
    """Days of a training that was killed are not lost to a typo in the command that was to go on with it."""
    for stage in (0, 1):
        run(stage)
    run(2, mode="kill", code=-signal.SIGKILL)
    run(2, "--set", "seed=5", mode="refuse", code=1)
    out = run(2)
    assert "going on from what it left" in out and "FOUND ['file0']" in out


@pytest.mark.parametrize("calls", range(1, 9))
def test_a_kill_while_things_are_moved_loses_nothing(tmp_path, monkeypatch, calls):
    """Every single step of setting aside and of putting back may be the last."""
    for name in ("spin/checkpoints/a", "spin/model", "rejects_stage2.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    artifacts.done_mark(tmp_path, 2).parent.mkdir()
    artifacts.done_mark(tmp_path, 2).write_text("done")
    before = everything(tmp_path)
    aside, left = Aside(tmp_path, 2, tmp_path / "tensorboard"), [calls]
    rename = Path.rename

    def counted(self, target):
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", counted)
    with contextlib.suppress(KeyboardInterrupt):
        aside.take()
        (tmp_path / "spin").mkdir()  # of the new run
        (tmp_path / "spin" / "new").touch()
        aside.give_back()
    left[0] = 0
    aside.sweep()
    if aside.holds:
        aside.give_back()
    assert everything(tmp_path) == before


def test_files_of_somebody_else_are_refused(run, tmp_path):
    for stage in (0, 1):
        run(stage)
    exp = tmp_path / "checkout"
    (exp / "spin").mkdir(parents=True)
    (exp / "spin" / "__init__.py").write_text("mine")
    out = run(2, "--exp-dir", "checkout", code=1)
    assert "spin, not made by this recipe" in out and "another --exp-dir" in out
    assert (exp / "spin" / "__init__.py").read_text() == "mine" and not (exp / "config.yaml").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("of another program")
    assert "config.yaml, not made" in run(2, "--exp-dir", "mine", code=1)
    speech = tmp_path / "speech" / "mine"
    (speech / "audio").mkdir(parents=True)
    (speech / "audio" / "a.flac").write_text("mine")
    out = run(0, "--set", "corpus.data_dir=speech", "--set", "corpus.name=mine", code=1)
    assert "audio, not made" in out and (speech / "audio" / "a.flac").exists()
    out = run(0, "--set", "corpus.data_dir=data", "--set", "corpus.name=mini", "--corpus-dir", "data/mini", "--force", code=1)
    assert "the folder of the recordings" in out


def test_a_product_that_is_gone_is_made_again(run, tmp_path):
    for stage in (0, 1, 2):
        run(stage)
    shutil.rmtree(tmp_path / "data" / "mini" / "audio")
    assert "audio is gone" in run(2, code=1)
    assert "audio is gone" in run(0)
    run(1)
    assert "the stage before it was done again" in run(2)


def test_a_rank_without_torchrun_is_none(run, monkeypatch, tmp_path):
    """Pods and job managers leave RANK in the environment."""
    for number in ("1", "zero"):
        monkeypatch.setenv("RANK", number)
        run(0, "--force")
        assert mark(tmp_path, 0).exists()
        mark(tmp_path, 0).unlink()


def test_stages_of_the_corpus_keep_out_of_an_experiment_at_work(run, tmp_path):
    run(0)
    run(1)
    before = everything(tmp_path)
    with folder_lock(tmp_path / "exp" / "t"):
        assert "another run at work" in run(0, "--set", "corpus.name=other", code=1)
    assert everything(tmp_path / "exp") == {name[4:]: data for name, data in before.items() if name.startswith("exp/")}
