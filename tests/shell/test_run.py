"""run.sh: stages in order with their interpreters, options passed on as given, failures and signals. The stages are fakes."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = ["0_prepare_data", "1_analyse_pitch", "2_train_spin", "3_extract_units", "4_train_asr", "5_decode_and_report"]
# Prints its name and arguments; $FAIL_IN names the call that fails, $WORK_IN the one that works until a signal.
INTERPRETER = """#!/bin/bash
[[ $* != *"$FAIL_IN"* ]] || exit "$FAIL_WITH"
[[ $* != "-m spin gpus"* ]] || { echo "$GPUS"; exit; }
printf '%s|' NAME "$@"
echo
[[ $* == *"$WORK_IN"* ]] || exit 0
trap 'touch "$SAVED"; exit 143' TERM
while :; do sleep 0.05; done
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """egs/librispeech of a project whose interpreters only print how they were called."""
    root = tmp_path_factory.mktemp("project")
    folder = root / "egs/librispeech"
    folder.mkdir(parents=True)
    shutil.copytree(REPOSITORY / "utils", root / "utils")
    shutil.copy(REPOSITORY / "egs/librispeech/run.sh", folder)
    for name in ("utils", "path.sh"):
        (folder / name).symlink_to(f"../../{name}")
    for name in ("main", "k2"):
        (root / name).write_text(INTERPRETER.replace("NAME", name))
        (root / name).chmod(0o755)
    interpreters = f"export SPIN_PYTHON={root}/main SPIN_K2_PYTHON={root}/k2"
    (root / "path.sh").write_text(f"${{NO_ENVIRONMENT-}}\ntouch {root}/path_was_read\n{interpreters}\n")
    return folder


def start(recipe, *arguments, cwd=None, **variables) -> subprocess.Popen:
    defaults = {"PATH": "/usr/bin:/bin", "FAIL_IN": "no such call", "WORK_IN": "no such call", "FAIL_WITH": "1", "GPUS": "1"}
    return subprocess.Popen(
        [str(recipe / "run.sh"), *arguments], cwd=cwd or recipe, env={**defaults, **variables}, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def run(recipe, *arguments, **options) -> tuple[int, list[list[str]], str]:
    """(status, calls as [interpreter, argument, ...], standard error)."""
    process = start(recipe, *arguments, **options)
    output, errors = process.communicate(timeout=30)
    return process.returncode, [line.split("|")[:-1] for line in output.splitlines() if "|" in line], errors


def test_options_are_checked_first_then_all_stages_run_each_with_its_interpreter(recipe):
    _, calls, _ = run(recipe)
    assert calls[0] == ["main", "-m", "spin", "check-device", "--conf", "conf/mini.yaml", "--stop-stage", "5"]
    assert [call[1] for call in calls[1:]] == [f"local/{name}.py" for name in SCRIPTS]
    assert all((REPOSITORY / call[1]).is_file() for call in calls[1:])
    assert [call[0] for call in calls[1:]] == ["main"] * 4 + ["k2"] * 2
    assert calls[1][2:] == ["--conf", "conf/mini.yaml"]


def test_options_reach_the_stages_unchanged_from_any_folder(recipe, tmp_path):
    given = ["--conf", "conf/other.yaml", "--exp-dir", "exp/x y", "--set", "a.b=7", "--set=name=a=b c|$(touch x)", "", "--force"]
    _, calls, _ = run(recipe, "--stop-stage", "0", *given, cwd=tmp_path)
    assert calls[1][2:4] == ["--conf", "conf/mini.yaml"]
    assert "|".join(calls[1][4:]) == "|".join(given)


@pytest.mark.parametrize("arguments", [("--stage", "1", "--stop-stage", "3"), ("--stage=1", "--stop-stage=3")])
def test_a_range_of_stages_and_torchrun_for_stage_2_on_many_gpus(recipe, arguments):
    _, (_, first, second, third), _ = run(recipe, *arguments, GPUS="4")
    assert second[1:7] == ["-m", "torch.distributed.run", "--nproc-per-node", "4", "--standalone", "local/2_train_spin.py"]
    assert first[1] == "local/1_analyse_pitch.py" and third[1] == "local/3_extract_units.py"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--stage", "abc"], 2, "--stage: expected a stage from 0 to 5, found 'abc'"),
        (["--stage", "6"], 2, "found '6'"),
        (["--stage", "-1"], 2, "found '-1'"),
        (["--stage", "01"], 2, "found '01'"),
        (["--stage="], 2, "found ''"),
        (["--stage", "--force"], 2, "found '--force'"),
        (["--stage", "3", "--stop-stage", "2"], 2, "--stop-stage 2 comes before --stage 3"),
        (["--stage", "2", "--help"], 0, "--stop-stage"),
        (["-h"], 0, "--stop-stage"),
    ],
)
def test_wrong_stages_and_help_end_with_the_usage_and_no_environment(recipe, arguments, status, message):
    marker = recipe.parents[1] / "path_was_read"
    marker.unlink(missing_ok=True)
    process = start(recipe, *arguments)
    outputs = process.communicate(timeout=30)
    said, other = reversed(outputs) if status else outputs
    assert process.returncode == status and message in said and "usage: " in said
    assert other == "" and not marker.exists()


@pytest.mark.parametrize(("call", "status", "count"), [("check-device", 2, 0), ("3_extract", 7, 4), ("gpus", 1, 3)])
def test_a_failure_ends_the_run_with_its_status(recipe, call, status, count):
    code, calls, errors = run(recipe, FAIL_IN=call, FAIL_WITH=str(status))
    assert code == status and len(calls) == count
    if call == "3_extract":
        assert "stage 3 failed with status 7: local/3_extract_units.py" in errors


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_the_shell_alone_reaches_the_stage(recipe, tmp_path, number, status):
    process = start(recipe, WORK_IN="1_analyse", SAVED=str(tmp_path / "saved"))
    while "1_analyse" not in process.stdout.readline():
        assert process.poll() is None
    time.sleep(0.1)  # its trap is set right after the line
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == status and (tmp_path / "saved").exists() and "2_train" not in output
    assert "rerun the same command to resume" in errors


def test_an_environment_that_cannot_be_made_ends_the_run(recipe):
    assert run(recipe, NO_ENVIRONMENT="return 1")[:2] == (1, [])
