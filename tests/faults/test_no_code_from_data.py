"""Nothing read from data is ever run, and no shell is built from names: no such call stands anywhere; versions are pinned."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from spin.runtime.config_io import _StrictLoader

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("spin", "local", "utils") for path in (ROOT / folder).rglob("*.py"))
SCRIPTS = sorted([*ROOT.glob("*.sh"), *(ROOT / "utils").glob("*.sh"), *(ROOT / "egs").glob("*/*.sh"), ROOT / ".ci" / "run"])
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))
FORBIDDEN = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open", "dill.load", "joblib.load",
    "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "eval", "exec", "compile", "__import__", "os.system", "os.popen",
    "subprocess.getoutput", "subprocess.getstatusoutput", "tempfile.mktemp", "torch.hub.load", "shutil.unpack_archive",
}  # fmt: skip
TORCH_LOAD = {"spin/models/safe_load.py"}
# call -> keyword that it must have, and its value (None: any)
NEEDED = {
    "torch.load": ("weights_only", "True"),
    "yaml.load": ("Loader", "_StrictLoader"),  # a SafeLoader, checked below
    "extractall": ("filter", "'data'"),
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """(dotted name as written, call); the names that modules are imported under are those of the modules."""
    imported = {
        (alias.asname or alias.name): f"{node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            yield imported.get(name, name), node


def problems(source: str) -> list[str]:
    """What is forbidden in a source text, with its lines."""
    found = []
    for name, call in calls(ast.parse(source)):
        keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name in FORBIDDEN:
            found.append(f"{call.lineno}: {name}")
        if keywords.get("shell", "False") != "False":
            found.append(f"{call.lineno}: {name} with a shell")
        if keywords.get("allow_pickle", "False") != "False":
            found.append(f"{call.lineno}: {name} with pickles")
        keyword, value = NEEDED.get(name) or NEEDED.get(name.rsplit(".", 1)[-1]) or (None, None)
        if keyword and keywords.get(keyword) != value:
            found.append(f"{call.lineno}: {name} without {keyword}={value}")
    return found


def test_no_forbidden_call():
    found = {str(path.relative_to(ROOT)): problems(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize(
    "source",
    ["import pickle\npickle.load(f)", "from pickle import loads\nloads(b)", "import torch\ntorch.load(p)", "eval(x)", "exec('1')",
     "torch.load(p, weights_only=False)", "import yaml\nyaml.load(f, Loader=yaml.Loader)", "import os\nos.system(name)",
     "import subprocess\nsubprocess.run(f'ls {x}', shell=True)", "import tarfile\ntarfile.open(p).extractall(d)",
     "import numpy\nnumpy.load(p, allow_pickle=True)"],
)  # fmt: skip
def test_the_test_sees_what_it_must(source):
    assert len(problems(source)) == 1


@pytest.mark.parametrize(
    "source",
    ["torch.load(p, map_location='cpu', weights_only=True)", "yaml.load(t, Loader=_StrictLoader)", "yaml.safe_load(t)",
     "re.compile('x')", "model.eval()", "subprocess.run(['ls', x])", "tar.extractall(d, filter='data')"],
)  # fmt: skip
def test_what_is_allowed(source):
    assert problems(source) == []


def test_who_reads_files_of_torch_and_how():
    """torch.load stands only where torch is 2.6 or later; no list of classes is open to pickles; YAML is read by a SafeLoader."""
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in SOURCES}
    assert {name for name, text in texts.items() if re.search(r"torch\.load\(", text.split('"""', 2)[-1])} == TORCH_LOAD
    assert {name for name, text in texts.items() if "Unpickler)" in text} == set()
    assert issubclass(_StrictLoader, yaml.SafeLoader)


def test_no_script_evaluates_text():
    for path in SCRIPTS:
        assert not re.search(r"^\s*(eval\b|bash -c \")", path.read_text(encoding="utf-8"), re.MULTILINE), path


def test_every_requirement_is_pinned():
    """name==version, a wheel by its address with a checksum or an exact version in its name, another list, or an option."""
    pinned = re.compile(r"(-r|-c|--|[A-Za-z0-9_.\[\]-]+==[^*\s;]+|[A-Za-z0-9_.-]+ @ https://|https://)")
    for path in REQUIREMENTS:
        lines = [re.sub(r"(^| )#.*", "", line).strip() for line in path.read_text(encoding="utf-8").splitlines()]
        assert lines and all(pinned.match(line) for line in lines if line), path
