"""utils/setup_env.sh and path.sh for another user than the owner of the project: one who may read it, but not write to it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess

import pytest

from tests.rights import without_privilege
from tests.shell.stand_ins import Sandbox, assert_helpful


@pytest.fixture
def made(tmp_path):
    """A sandbox whose environments are made."""
    sandbox = Sandbox(tmp_path)
    result = sandbox.setup()
    assert result.returncode == 0, result.stderr
    return sandbox


@contextlib.contextmanager
def nobody_may_write(sandbox):
    everything = [sandbox.root, *(path for path in sandbox.root.rglob("*") if not path.is_symlink())]
    modes = {path: path.stat().st_mode for path in everything}
    try:
        for path, mode in modes.items():
            path.chmod(mode & ~0o222)
        yield
    finally:
        for path, mode in modes.items():
            if path.exists():
                path.chmod(mode)


def another_user(sandbox, command):
    """A command of one who may only read."""
    with nobody_may_write(sandbox):
        return subprocess.run(
            [*without_privilege(), "bash", "-c", command],
            cwd=sandbox.root,
            env=sandbox.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )


def test_who_may_only_read_runs_in_environments_that_are_whole(made):
    result = another_user(made, '. ./path.sh && [[ -x $SPIN_K2_PYTHON ]] && utils/setup_env.sh && "$SPIN_PYTHON" -c "1"')
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    result = another_user(made, "utils/setup_env.sh --check")
    assert result.returncode == 0 and result.stdout.count(": whole") == 2 and not result.stderr


@pytest.mark.parametrize(
    ("damage", "arguments", "reason"),
    [
        ("chmod a-x .venv/bin/python", "", ".venv: its Python interpreter does not run"),
        ("rm -r .venv-k2", "", ".venv-k2: not made yet"),
        ("rm -r .venv-k2/lib/python3.11/site-packages/k2", "", "k2 is gone"),
        ("rm -r .venv .venv-k2 .env-lock", "", ".venv: not made yet"),
        ("rm .venv/.spin/k2", "", "k2 has no place yet"),
        ("true", "--test", "--test adds what the tests need"),
        ("true", "--rebuild", "--rebuild makes them again"),
    ],
)
def test_who_may_only_read_is_told_what_is_wrong_and_who_can_mend_it(made, damage, arguments, reason):
    assert made.bash(damage).returncode == 0
    result = another_user(made, f"utils/setup_env.sh {arguments}")
    assert_helpful(result, reason, "no right to write to", f"setup_env.sh {arguments}".strip())
    assert "Permission denied" not in result.stderr and "line " not in result.stderr
    assert made.setup(*arguments.split()).returncode == 0  # its owner


def test_only_the_environments_themselves_need_to_be_writable(made):
    shutil.rmtree(made.site(".venv") / "torch")
    with nobody_may_write(made):
        for name in (".venv", ".venv-k2", ".env-lock"):
            made.bash(f"chmod -R u+w {name}")
        result = subprocess.run(
            [*without_privilege(), "utils/setup_env.sh"], cwd=made.root, env=made.environment(), capture_output=True, text=True
        )
    assert result.returncode == 0, result.stderr
