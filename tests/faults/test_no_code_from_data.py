"""Nothing read from data is ever run, and no shell is built from names; versions are pinned.

Most of it are rules of ruff (S in pyproject.toml), which utils/test.sh runs; here is what ruff does not know.
"""

import re
from pathlib import Path

import pytest
import yaml

from spin.config_io import _StrictLoader

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("spin", "local", "utils") for path in (ROOT / folder).rglob("*.py"))
SCRIPTS = sorted([*ROOT.glob("*.sh"), *(ROOT / "utils").glob("*.sh"), *(ROOT / "egs").glob("*/*.sh"), ROOT / ".ci" / "run"])
UNSAFE = re.compile(
    r"torch\.load\((?![^)]*weights_only=True)|torch\.hub\.load\(|joblib\.load\(|allow_pickle=True|unpack_archive\(|__import__\(|"
    r"yaml\.(?:unsafe_load|full_load|load_all)|(?<![.\w])compile\(|Unpickler\)"
)
BY_US = (
    "torch.load(p)", "torch.load(p, weights_only=False)", "numpy.load(p, allow_pickle=True)", "yaml.unsafe_load(f)",
    "compile(x)", "__import__(x)", "joblib.load(p)", "torch.hub.load(x)", "shutil.unpack_archive(p)",
)  # fmt: skip


def test_the_pattern_sees_what_it_must():
    assert all(UNSAFE.search(line) for line in BY_US)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_runs_what_it_reads(path):
    assert not UNSAFE.search(path.read_text(encoding="utf-8"))


def test_no_script_evaluates_text_and_yaml_is_read_by_a_safe_loader():
    for path in SCRIPTS:
        assert not re.search(r"^\s*(eval\b|bash -c \")", path.read_text(encoding="utf-8"), re.MULTILINE), path
    assert issubclass(_StrictLoader, yaml.SafeLoader)


def test_every_requirement_is_pinned():
    """name==version, a wheel by its address with a checksum or an exact version in its name, another list, or an option."""
    pinned = re.compile(r"(-r|-c|--|[A-Za-z0-9_.\[\]-]+==[^*\s;]+|[A-Za-z0-9_.-]+ @ https://|https://)")
    for path in (ROOT / "requirements").glob("*.txt"):
        lines = [re.sub(r"(^| )#.*", "", line).strip() for line in path.read_text(encoding="utf-8").splitlines()]
        assert lines and all(pinned.match(line) for line in lines if line), path
