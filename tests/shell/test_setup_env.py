"""The decisions of utils/setup_env.sh: what it makes, when it does nothing, what it notices, how it fails."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from tests.shell.stand_ins import Sandbox, assert_helpful


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)


@pytest.fixture(scope="module")
def made_template(tmp_path_factory):
    sandbox = Sandbox(tmp_path_factory.mktemp("made"))
    result = sandbox.setup()
    assert result.returncode == 0, result.stderr
    return sandbox, result


@pytest.fixture
def made(made_template):
    """A sandbox whose environments are made; each test gets it as the first run left it."""
    sandbox, _ = made_template
    kept = sandbox.root.parent / "kept"
    if not kept.exists():
        shutil.copytree(sandbox.root, kept, symlinks=True)
    shutil.rmtree(sandbox.root)
    shutil.copytree(kept, sandbox.root, symlinks=True)
    sandbox.forget_calls()
    return sandbox


def test_first_run_makes_both_environments(made_template):
    sandbox, result = made_template
    assert (sandbox.root / ".venv/.spin/k2").read_text().strip() == ".venv-k2"
    assert (sandbox.site(".venv") / "torchaudio").is_dir()
    assert (sandbox.site(".venv-k2") / "k2").is_dir()
    assert "official wheel for torch 2.11 is not to be had" in result.stdout
    assert not list((sandbox.root / ".env-lock").glob("scratch.*"))


def test_second_run_does_nothing_in_under_a_second(made):
    seconds = []
    for _ in range(3):  # the best of three: the machine may be busy with something else
        begun = time.monotonic()
        result = made.setup()
        seconds.append(time.monotonic() - begun)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert min(seconds) < 1.0
    assert made.calls("pip") == 0 and made.calls("check_environment") == 0


def test_path_names_both_interpreters(made):
    result = made.bash('set -eu; . ./path.sh; echo "$SPIN_PYTHON $SPIN_K2_PYTHON $OMP_WAIT_POLICY ${PYTHONPATH%%:*}"')
    root = made.root
    assert result.stdout.split() == [f"{root}/.venv/bin/python", f"{root}/.venv-k2/bin/python", "PASSIVE", str(root)]


def test_official_k2_goes_into_the_main_environment(sandbox):
    assert sandbox.setup(FAKE_OFFICIAL="1").returncode == 0
    assert not (sandbox.root / ".venv-k2").exists()
    assert sandbox.bash('. ./path.sh; [[ $SPIN_K2_PYTHON == "$SPIN_PYTHON" ]]').returncode == 0


def test_official_k2_that_does_not_work_is_replaced(sandbox):
    result = sandbox.setup(FAKE_OFFICIAL="1", FAKE_K2_BROKEN="1")
    assert "does not work here" in result.stdout
    assert not (sandbox.site(".venv") / "k2").exists() and (sandbox.root / ".venv-k2").exists()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("rm -r .venv/lib/python3.11/site-packages/torch", "torch is gone"),
        ("rm -r .venv/lib/python3.11/site-packages/numba/part", "numba/part is gone"),
        ("rm -r .venv/lib/python3.11/site-packages/lhotse.dist-info", "lhotse.dist-info is gone"),
        ("rm .venv/bin/python", "interpreter does not run"),
        ("rm .venv/.spin/stamp; rm -r .venv/lib/python3.11/site-packages/lhotse", "not finished"),
        ("echo 3.10.1 > .venv/bin/python.version", "its Python was 3.11.7 and is now 3.10.1"),
        ("rm -r .venv-k2", "not made yet"),
        ("rm -r .venv-k2/lib/python3.11/site-packages/k2", "k2 is gone"),
    ],
)
def test_damage_is_noticed_and_repaired(made, damage, reason):
    assert made.bash(damage).returncode == 0
    result = made.setup()
    assert result.returncode == 0, result.stderr
    assert reason in result.stdout
    assert (made.site(".venv") / "torch/part").is_dir() and (made.site(".venv-k2") / "k2/part").is_dir()
    assert made.setup().stdout == ""


def test_only_the_damaged_environment_is_made_again(made):
    shutil.rmtree(made.root / ".venv-k2")
    made.setup()
    assert made.calls("requirements/main.txt") == 0
    assert made.calls("-r " + str(made.root / "requirements/k2.txt")) == 1


def test_choice_of_k2_that_was_cut_off_is_made_good(made):
    (made.root / ".venv/.spin/k2").unlink()
    shutil.rmtree(made.root / ".venv-k2")
    assert made.setup(FAKE_OFFICIAL="1").returncode == 0
    assert (made.root / ".venv/.spin/k2").read_text().strip() == ".venv"


def test_changed_requirements_that_are_met_cost_no_installation(made):
    with open(made.root / "requirements/main.txt", "a") as stream:
        stream.write("# a remark\n")
    result = made.setup()
    assert "requirements" in result.stdout and "taken as it is" in result.stdout
    assert made.calls("pip") == 0


def test_changed_requirements_that_are_not_met_make_it_again(made):
    with open(made.root / "requirements/main.txt", "a") as stream:
        stream.write("another==1.0\n")
    assert made.setup().returncode == 0
    assert (made.site(".venv") / "another").is_dir()


def test_a_moved_project_is_looked_at_again(made):
    elsewhere = made.root.with_name("elsewhere")
    shutil.rmtree(elsewhere, ignore_errors=True)
    shutil.copytree(made.root, elsewhere, symlinks=True)
    result = made.bash("utils/setup_env.sh", cwd=elsewhere)
    assert "its place" in result.stdout
    assert (elsewhere / ".venv/lib/python3.11/site-packages/spin_recipe.pth").read_text().strip() == str(elsewhere)


def test_what_something_else_made_is_moved_aside_not_deleted(sandbox):
    (sandbox.root / ".venv").mkdir()
    (sandbox.root / ".venv/precious").touch()
    result = sandbox.setup()
    assert result.returncode == 0 and "moved to" in result.stdout
    assert len(list(sandbox.root.glob(".venv.aside-*/precious"))) == 1


def test_an_empty_folder_is_used_even_through_a_link(sandbox):
    large_disk = sandbox.root.parent / "large_disk"
    large_disk.mkdir()
    (sandbox.root / ".venv").symlink_to(large_disk)
    assert sandbox.setup().returncode == 0
    assert (large_disk / "bin/python").exists() and (sandbox.root / ".venv").is_symlink()


def test_tests_are_added_once(made):
    assert made.setup("--test").returncode == 0
    assert (made.site(".venv") / "pytest").is_dir() and (made.site(".venv-k2") / "pytest").is_dir()
    assert made.setup("--test").stdout == "" and made.setup().stdout == ""


def test_rebuild_makes_everything_again(made):
    assert made.setup("--rebuild").returncode == 0
    assert made.calls("-r " + str(made.root / "requirements/main.txt")) == 1
    assert made.calls("-r " + str(made.root / "requirements/k2.txt")) == 1


def test_check_reports_and_changes_nothing(made):
    assert made.setup("--check").returncode == 0
    shutil.rmtree(made.site(".venv") / "torch")
    result = made.setup("--check")
    assert result.returncode == 1 and "torch is missing" in result.stderr
    assert not (made.site(".venv") / "torch").exists()


@pytest.mark.parametrize(("first", "other"), [("3.9.2", "3.10"), ("3.12.1", "3.11"), ("3.14.0", "3.11")])
def test_the_first_python_that_will_do_is_taken(sandbox, first, other):
    sandbox.add_python("python3", first)
    sandbox.add_python(f"python{other}", f"{other}.4")
    assert sandbox.setup().returncode == 0
    assert (sandbox.root / ".venv/.spin/python").read_text().strip() == f"{other}.4"


def test_newer_python_will_do_where_the_official_k2_is(sandbox):
    sandbox.add_python("python3", "3.13.0")
    assert sandbox.setup(FAKE_OFFICIAL="1").returncode == 0
    assert (sandbox.root / ".venv/.spin/python").read_text().strip() == "3.13.0"


def test_named_python_replaces_another_version(made):
    other = made.add_python("python3.10", "3.10.4")
    result = made.setup(SPIN_BASE_PYTHON=str(other))
    assert "SPIN_BASE_PYTHON is 3.10.4" in result.stdout
    assert (made.root / ".venv/.spin/python").read_text().strip() == "3.10.4"


@pytest.mark.parametrize("version", ["3.9.1", "3.14.0", "2.7.18"])
def test_unsupported_python_is_refused(sandbox, version):
    python = sandbox.add_python("other", version)
    assert_helpful(sandbox.setup(SPIN_BASE_PYTHON=str(python)), f"is Python {version}", "3.10 or 3.11")
    assert not (sandbox.root / ".venv").exists()


def test_newer_python_without_official_k2_is_refused(sandbox):
    python = sandbox.add_python("other", "3.12.1")
    assert_helpful(sandbox.setup(SPIN_BASE_PYTHON=str(python)), "only the official k2 wheel", "python3.11")


def test_python_that_does_not_exist_is_refused(sandbox):
    assert_helpful(sandbox.setup(SPIN_BASE_PYTHON="/nowhere/python"), "/nowhere/python does not run")


def test_python_without_venv_is_refused(sandbox):
    assert_helpful(sandbox.setup(FAKE_NO_VENV="1"), "venv or ensurepip module is missing")


def test_no_network_is_said_before_anything_is_deleted(made):
    with open(made.root / "requirements/main.txt", "a") as stream:
        stream.write("another==1.0\n")
    assert_helpful(made.setup(FAKE_NO_NETWORK="1"), "package index", "no route")
    assert (made.site(".venv") / "torch").is_dir()


def test_a_mirror_without_our_torch_is_said(sandbox):
    assert_helpful(sandbox.setup(FAKE_TORCHES="2.14.1, 12.11.0, 2.11.01"), "does not find the torch", "2.14.1")


def test_too_little_disk_is_said(sandbox):
    sandbox.set_free_disk(gib=3)
    assert_helpful(sandbox.setup(), "disk space", "3 GiB free", "at least 10 GiB")
    assert sandbox.calls("pip install") == 0


def test_pip_failure_shows_its_last_words_and_the_next_run_goes_on(sandbox):
    assert_helpful(sandbox.setup(FAKE_PIP_FAILS="1"), "No space left on device")
    assert sandbox.setup().returncode == 0


def test_two_at_once_do_the_work_once(sandbox):
    variables = sandbox.environment(FAKE_SLOW="0.5")
    start = {"cwd": sandbox.root, "env": variables, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(["utils/setup_env.sh"], **start) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("waiting for it" in output for output in outputs) == 1
    assert sandbox.calls("-r " + str(sandbox.root / "requirements/main.txt")) == 1
