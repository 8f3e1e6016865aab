"""The decisions of utils/setup_env.sh: what it makes, when it does nothing, which CUDA build it takes, how it fails."""

import shutil
import subprocess

import pytest

from tests.rights import without_privilege
from tests.shell.fake_environment import Sandbox, assert_helpful


@pytest.fixture
def sandbox(tmp_path):
    return Sandbox(tmp_path)


@pytest.fixture
def made(sandbox):
    """A sandbox whose environments are made."""
    result = sandbox.setup()
    assert result.returncode == 0, result.stderr
    sandbox.forget_calls()
    return sandbox


def k2_home(sandbox):
    return (sandbox.root / ".venv/.spin/k2").read_text().strip()


def test_first_run_makes_both_environments_the_second_nothing_and_a_moved_project_its_own(sandbox):
    result = sandbox.setup(FAKE_MIRROR="file:///mirror")
    assert result.returncode == 0 and k2_home(sandbox) == ".venv-k2"
    assert sandbox.calls("main.txt", "(index file:///mirror)") == 2  # pip's index is uv's, too
    assert (sandbox.site(".venv") / "torchaudio").is_dir() and (sandbox.site(".venv-k2") / "k2").is_dir()
    assert (sandbox.site(".venv") / "spin_recipe.pth").read_text().strip() == str(sandbox.root)
    assert "no official wheel" in result.stdout
    named = sandbox.bash('set -eu; . ./path.sh; echo "$SPIN_PYTHON $SPIN_K2_PYTHON $OMP_WAIT_POLICY ${PYTHONPATH%%:*}"').stdout
    root = sandbox.root
    assert named.split() == [f"{root}/.venv/bin/python", f"{root}/.venv-k2/bin/python", "PASSIVE", str(root)]
    sandbox.forget_calls()
    result = sandbox.setup()
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert sandbox.calls("pip") == 0 == sandbox.calls("uv")
    elsewhere = shutil.copytree(root, root.with_name("elsewhere"), symlinks=True)  # a moved project
    assert sandbox.bash("utils/setup_env.sh", cwd=elsewhere).returncode == 0
    assert (elsewhere / ".venv/lib/python3.11/site-packages/spin_recipe.pth").read_text().strip() == str(elsewhere)


# (driver and compute capability of each GPU, CUDA version): no GPU; CUDA 12.4, 12.8 and 13 drivers; V100, A5000, H100, B200
@pytest.mark.parametrize(
    ("gpus", "cuda"),
    [
        ((), "13.0"),
        (("NVIDIA-SMI has failed",), "13.0"),
        (("550.54.14, 8.6",), "12.6"),
        (("535.104.05, 9.0",), "12.6"),
        (("570.86.10, 8.6",), "12.8"),
        (("575.51.03, 10.0",), "12.8"),
        (("580.65.06, 9.0", "580.65.06, 9.0"), "13.0"),
        (("580.65.06, 10.0",), "13.0"),
        (("580.65.06, 7.0",), "12.6"),
        (("580.65.06, 9.0", "580.65.06, 7.0"), "12.6"),
        (("595.10, 12.0",), "13.0"),
    ],
)
def test_the_driver_and_the_gpus_choose_the_build_of_torch_and_k2(sandbox, gpus, cuda):
    if gpus:
        sandbox.add_gpus(*gpus)
    assert sandbox.setup(FAKE_OFFICIAL="1").returncode == 0
    backend = f"--torch-backend cu{cuda.replace('.', '')}"
    assert sandbox.calls(backend, "main.txt") == (0 if cuda == "13.0" else 2)  # a dry run, then the installation
    assert sandbox.calls("--torch-backend", "main.txt") == sandbox.calls(backend, "main.txt")
    assert f"+cuda{cuda}.torch2.11.0" in (sandbox.root / ".env-lock/k2-official.txt").read_text()


def test_another_driver_makes_the_environment_again_once_the_packages_were_found(made):
    made.add_gpus("550.54.14, 8.6")
    assert_helpful(made.setup(FAKE_FAILS="main.txt"), "uv could not install")
    assert (made.site(".venv") / "torch").is_dir()  # nothing was deleted
    result = made.setup()
    assert result.returncode == 0 and "for CUDA 12.6" in result.stdout and made.calls("uv venv") == 2
    assert made.setup().stdout == ""
    assert made.setup(SPIN_CUDA="13.0").returncode == 0 and made.calls("uv venv") == 4


def test_a_driver_that_is_too_old_and_an_unknown_version_are_rejected(sandbox):
    assert_helpful(sandbox.setup(SPIN_CUDA="11.8"), "SPIN_CUDA", "12.6, 12.8 or 13.0")
    sandbox.add_gpus("470.82.01, 8.0")
    assert_helpful(sandbox.setup(), "470.82.01", "525 or newer", "--device cpu")
    assert sandbox.setup(SPIN_CUDA="13.0").returncode == 0


def test_official_k2_goes_into_the_main_environment_if_it_can_be_imported(sandbox):
    result = sandbox.setup(FAKE_OFFICIAL="1", FAKE_K2_BROKEN="1")
    assert result.returncode == 0 and "not usable: broken" in result.stdout
    assert not (sandbox.site(".venv") / "k2").exists() and k2_home(sandbox) == ".venv-k2"
    assert sandbox.setup("--rebuild", FAKE_OFFICIAL="1").returncode == 0 and k2_home(sandbox) == ".venv"
    assert sandbox.bash('. ./path.sh; [[ $SPIN_K2_PYTHON == "$SPIN_PYTHON" ]]').returncode == 0


@pytest.mark.parametrize(
    ("damage", "again"),
    [
        ("rm .venv/bin/python", ".venv"),
        ("rm .venv/.spin/stamp", ".venv"),
        ("echo 3.10 >.venv/bin/python.version", ".venv"),
        ("rm -r .venv", ".venv"),
        ("rm -r .venv-k2", ".venv-k2"),
        ("rm .venv/.spin/k2", ""),
    ],
)
def test_damage_is_noticed_and_only_what_is_damaged_is_made_again(made, damage, again):
    assert made.bash(damage).returncode == 0
    result = made.setup()
    assert result.returncode == 0, result.stderr
    assert f"{again}: new" in result.stdout if again else result.stdout.count(": new") == 0
    assert made.calls("uv venv") == bool(again)
    assert made.setup().stdout == ""


def test_changed_requirements_and_tests_are_added_in_place_and_rebuild_makes_everything_again(made):
    (made.root / ".venv/kept").touch()
    with open(made.root / "requirements/main.txt", "a") as stream:
        stream.write("another==1.0\n")
    result = made.setup()
    assert result.returncode == 0 and ".venv: updating it" in result.stdout
    assert (made.site(".venv") / "another").is_dir() and (made.root / ".venv/kept").exists()
    assert made.calls("k2.txt") == 0
    assert made.setup("--test").returncode == 0
    assert (made.site(".venv") / "pytest").is_dir() and (made.site(".venv-k2") / "pytest").is_dir()
    assert made.setup("--test").stdout == "" == made.setup().stdout and made.calls("uv venv") == 0
    assert made.setup("--rebuild").returncode == 0 and made.calls("uv venv") == 2


def test_a_link_to_the_environment_of_another_checkout_is_removed(made):
    elsewhere, stamp = made.root.with_name("elsewhere"), made.root / ".venv/.spin/stamp"
    before = stamp.read_text()
    shutil.copytree(made.root, elsewhere, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    (elsewhere / ".venv").symlink_to(made.root / ".venv")
    assert made.bash("utils/setup_env.sh", cwd=elsewhere).returncode == 0
    assert stamp.read_text() == before and not (elsewhere / ".venv").is_symlink()


def test_an_empty_folder_is_used_even_through_a_link_and_one_of_another_program_is_renamed(sandbox):
    large_disk = sandbox.root.parent / "large_disk"
    for folder in (large_disk, sandbox.root / ".venv-k2"):
        folder.mkdir()
    (sandbox.root / ".venv").symlink_to(large_disk)
    (sandbox.root / ".venv-k2/precious").touch()
    result = sandbox.setup()
    assert result.returncode == 0 and result.stdout.count("renamed to") == 1
    assert len(list(sandbox.root.glob(".venv-k2.old-*/precious"))) == 1
    assert (large_disk / "bin/python").exists() and (sandbox.root / ".venv").is_symlink()


@pytest.mark.parametrize(
    ("versions", "official", "chosen"),
    [
        ({"python3.11": "3.11", "python3": "3.12"}, "", "3.11"),
        ({"python3.11": "3.9", "python3.10": "3.10"}, "", "3.10"),
        ({"python3.11": "3.9", "python3": "3.13"}, "1", "3.13"),
    ],
)
def test_the_first_suitable_python_is_taken_unless_one_is_named(sandbox, versions, official, chosen):
    for name, version in versions.items():
        sandbox.add_python(name, version)
    assert sandbox.setup(FAKE_OFFICIAL=official).returncode == 0
    assert (sandbox.root / ".venv/bin/python.version").read_text().strip() == chosen
    other = str(sandbox.add_python("other", "3.10"))
    assert sandbox.setup(FAKE_OFFICIAL=official, SPIN_BASE_PYTHON=other).returncode == 0
    assert (sandbox.root / ".venv/bin/python.version").read_text().strip() == "3.10"


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"SPIN_BASE_PYTHON": "/nowhere/python"}, ["/nowhere/python does not run"]),
        ({"SPIN_BASE_PYTHON": "python3"}, ["is Python 3.9", "3.11 or 3.10"]),
        ({"SPIN_BASE_PYTHON": "python3.13"}, ["is Python 3.14"]),
        ({"SPIN_BASE_PYTHON": "python3.12"}, ["no official wheel", "Python 3.11"]),
        ({"FAKE_NO_VENV": "1"}, ["python3.11 (3.11) has no venv or ensurepip module", "python3 is Python 3.9"]),
        ({"FAKE_NO_NETWORK": "1"}, ["package index", "no route"]),
        ({"FAKE_FAILS": "main.txt"}, ["uv could not install main.txt", "No space left on device"]),
    ],
)
def test_failures_say_what_to_do_and_the_next_run_succeeds(sandbox, variables, words):
    sandbox.add_python("python3.12", "3.12")
    sandbox.add_python("python3.13", "3.14")
    assert_helpful(sandbox.setup(**variables), *words)
    assert sandbox.setup().returncode == 0


def test_two_at_once_do_the_work_once(sandbox):
    start = {"cwd": sandbox.root, "env": sandbox.environment(FAKE_SLOW="0.5"), "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(["utils/setup_env.sh"], **start) for _ in range(2)]
    outputs = [process.communicate(timeout=60)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("waiting for another set-up" in output for output in outputs) == 1 == sandbox.calls("uv venv", "/.venv ")


def test_a_reader_runs_complete_environments_and_learns_whom_to_ask_otherwise(made):
    before = tuple(without_privilege())
    made.bash("chmod -R a-w .")
    try:
        result = made.bash(". ./path.sh && [[ -x $SPIN_K2_PYTHON ]]", before=before)
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
        result = made.bash("utils/setup_env.sh --test", before=before)
        assert_helpful(result, "cannot write there", "to run utils/setup_env.sh --test")
        assert "Permission denied" not in result.stderr
    finally:
        made.bash("chmod -R u+w .")
