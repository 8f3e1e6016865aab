"""Options of run.sh: strict, and passed on to the stages as given. The stages are stand-ins that print their arguments."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPTS = ["0_prepare_data", "1_analyse_pitch", "2_train_spin", "3_extract_units", "4_train_asr", "5_decode_and_report"]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """egs/librispeech of a project whose interpreters only say what they were called with."""
    root = tmp_path_factory.mktemp("project")
    folder = root / "egs/librispeech"
    (folder / "conf").mkdir(parents=True)
    shutil.copytree(REPOSITORY / "utils", root / "utils")
    shutil.copy(REPOSITORY / "egs/librispeech/run.sh", folder)
    for name in ("utils", "path.sh"):
        (folder / name).symlink_to(f"../../{name}")
    for name in ("mini", "other"):
        (folder / f"conf/{name}.yaml").touch()
    for name in ("main", "k2"):
        (root / name).write_text(
            f'#!/bin/sh\ncase "$1" in *"$FAIL_IN"*) exit "$FAIL_WITH";; esac\nprintf "%s|" {name} "$@"\necho\n'
        )
        (root / name).chmod(0o755)
    (root / "path.sh").write_text(f"touch {root}/path_was_read\nexport SPIN_PYTHON={root}/main SPIN_K2_PYTHON={root}/k2\n")
    return folder


def run(recipe, *arguments, cwd=None, fail_in="nothing", fail_with=1, **variables):
    return subprocess.run(
        [str(recipe / "run.sh"), *arguments],
        cwd=cwd or recipe,
        env={"PATH": "/usr/bin:/bin", "FAIL_IN": fail_in, "FAIL_WITH": str(fail_with), **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
    )


def calls(result):
    """The calls of the stand-ins: lists of interpreter, script, arguments."""
    return [line.split("|")[:-1] for line in result.stdout.splitlines() if "|" in line]


def test_all_stages_in_order_each_with_its_interpreter(recipe):
    found = calls(run(recipe))
    assert [call[1] for call in found] == [f"local/{name}.py" for name in SCRIPTS]
    assert [call[0] for call in found] == ["main"] * 4 + ["k2"] * 2
    assert found[0][2:] == ["--conf", "conf/mini.yaml"]


@pytest.mark.parametrize("arguments", [("--stage", "2", "--stop-stage", "3"), ("--stage=2", "--stop-stage=3")])
def test_a_range_of_stages(recipe, arguments):
    assert [call[1] for call in calls(run(recipe, *arguments))] == ["local/2_train_spin.py", "local/3_extract_units.py"]


def test_options_reach_the_stages_unchanged(recipe):
    given = [
        "--conf",
        "conf/other.yaml",
        "--corpus-dir",
        "/a b/c",
        "--exp-dir",
        "exp/x y",
        "--nj",
        "3",
        "--gpus",
        "1",
        "--device",
        "cpu",
    ]
    result = run(recipe, "--stop-stage", "0", *given, "--set", "spin.max_steps=7", "--set=name=a=b c", "--force")
    assert calls(result)[0][2:] == [*given, "--set=spin.max_steps=7", "--set=name=a=b c", "--force"]


def test_many_gpus_start_torchrun_for_stage_2_only(recipe):
    found = calls(run(recipe, "--stage", "1", "--stop-stage", "3", "--gpus", "4"))
    assert found[1][1:6] == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
    assert found[1][6] == "local/2_train_spin.py" and found[0][1] == "local/1_analyse_pitch.py"


def test_paths_are_taken_from_where_the_caller_stands(recipe, tmp_path):
    (tmp_path / "mine.yaml").touch()
    result = run(recipe, "--stop-stage", "0", "--conf", "mine.yaml", "--corpus-dir", "corpus", cwd=tmp_path)
    assert calls(result)[0][2:] == ["--conf", f"{tmp_path}/mine.yaml", "--corpus-dir", f"{tmp_path}/corpus"]


@pytest.mark.parametrize("cwd", [None, "elsewhere"])
def test_a_tilde_is_the_home_folder(recipe, tmp_path, cwd):
    """Bash expands `--exp-dir ~/x`, but not `--exp-dir=~/x`; a folder called ~ is nobody's wish."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine.yaml").touch()
    place = tmp_path / cwd if cwd else None
    options = ("--conf=~/mine.yaml", "--exp-dir=~/a b", "--corpus-dir", "~")
    result = run(recipe, "--stop-stage", "0", *options, cwd=place, HOME=str(tmp_path))
    assert calls(result)[0][2:] == [
        "--conf",
        f"{tmp_path}/mine.yaml",
        "--corpus-dir",
        str(tmp_path),
        "--exp-dir",
        f"{tmp_path}/a b",
    ]
    user = pwd.getpwuid(os.getuid())
    for given, meant in ((f"~{user.pw_name}/x", f"{user.pw_dir}/x"), ("./~", "./~"), ("~no-one/x", "~no-one/x"), ("a~", "a~")):
        result = run(recipe, "--stop-stage", "0", f"--exp-dir={given}")
        assert calls(result)[0][-2:] == ["--exp-dir", meant], result.stderr


def test_gpus_in_the_configuration_are_a_number_or_the_stage_refuses_them(recipe):
    overrides = ("runtime.gpus=BASH_VERSINFO[$(touch canary;echo 0)]", "runtime.gpus=two")
    for override in overrides:
        result = run(recipe, "--stage", "2", "--stop-stage", "2", "--set", override)
        assert calls(result) == [["main", "local/2_train_spin.py", "--conf", "conf/mini.yaml", f"--set={override}"]]
        assert result.stderr == ""
    assert not list(recipe.parents[1].rglob("canary"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stage", "abc"], "--stage takes a whole number from 0 to 5, not 'abc'"),
        (["--stage", "6"], "not '6'"),
        (["--stage", "-1"], "not '-1'"),
        (["--stage", "01"], "not '01'"),
        (["--stage", "1.5"], "not '1.5'"),
        (["--stage="], "not ''"),
        (["--stage"], "--stage needs a value"),
        (["--stage", "--force"], "--stage needs a value"),
        (["--stage", "3", "--stop-stage", "2"], "--stop-stage 2 comes before --stage 3"),
        (["--nj", "0"], "--nj takes a whole number from 1"),
        (["--nj", "99999999999999999999"], "--nj takes a whole number"),
        (["--device", "gpu"], "--device takes one of auto|cpu|cuda"),
        (["--device", "cpu|cuda"], "--device takes one of auto|cpu|cuda"),
        (["--conf", "conf/nowhere.yaml"], "no file 'conf/nowhere.yaml'"),
        (["--exp-dir", ""], "--exp-dir is empty"),
        (["--set", "spin.max_steps"], "SECTION.KEY=VALUE, not 'spin.max_steps'"),
        (["--set"], "--set needs a value"),
        (["--force=no"], "--force takes no value"),
        (["--forced"], "unknown option --forced"),
        (["--stop_stage", "3"], "unknown option --stop_stage"),
        (["--home", "/tmp"], "unknown option --home"),
        (["stray"], "stray word 'stray'"),
        (["--stage", "1", "2"], "stray word '2'"),
        (["--"], "stray word '--'"),
        (["-x"], "stray word '-x'"),
        ([""], "stray word ''"),
    ],
)
def test_wrong_options_end_with_the_usage_and_status_2(recipe, arguments, message):
    marker = recipe.parents[1] / "path_was_read"
    marker.unlink(missing_ok=True)
    result = run(recipe, *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.splitlines()[-1].startswith("usage: ")
    assert calls(result) == [] and not marker.exists()


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_names_every_option_and_makes_no_environment(recipe, flag):
    marker = recipe.parents[1] / "path_was_read"
    marker.unlink(missing_ok=True)
    result = run(recipe, "--stage", "2", flag)
    assert (result.returncode, result.stderr) == (0, "")
    for option in ("stage", "stop-stage", "conf", "corpus-dir", "exp-dir", "nj", "gpus", "device", "set", "force"):
        assert f"--{option}" in result.stdout
    assert not marker.exists()


def test_a_failing_stage_ends_the_run_with_its_status(recipe):
    result = run(recipe, fail_in="3_extract", fail_with=7)
    assert result.returncode == 7
    assert "stage 3 failed with status 7: local/3_extract_units.py" in result.stderr
    assert len(calls(result)) == 3


def test_an_interrupted_stage_says_how_to_go_on(recipe):
    result = run(recipe, fail_in="0_prepare", fail_with=130)
    assert result.returncode == 130 and "goes on from there" in result.stderr


def test_an_environment_that_cannot_be_made_ends_the_run(recipe, tmp_path):
    project = tmp_path / "project"
    shutil.copytree(recipe.parents[1], project, symlinks=True)
    (project / "path.sh").write_text("return 1\n")
    result = run(project / "egs/librispeech")
    assert result.returncode == 1 and calls(result) == []
