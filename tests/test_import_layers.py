"""The order of the rooms: a room imports only rooms below it, and rooms that run with k2 import nothing that is missing there."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
# From the ground floor up; the rooms of a floor may not import each other.
ORDER = """config config_io setting_types artifacts errors figures
< runtime < systems < product_keys < products < data.store < data.cuts < data.audio
< corpus < perturbation < models < objectives < data < units < training < asr < report < tools __main__"""
FLOORS = [rooms.split() for rooms in ORDER.split("<")]
# Light modules that lower rooms may ask: the fingerprint of a part, the table of metrics, and whether a source is a Spin model.
EXCEPTIONS = {("products", "spin.corpus.registry"), ("products", "spin.units.metrics"), ("systems", "spin.models.importers")}
# These also run with torch 1.13.1, without torchaudio.
K2_ROOMS = ("runtime", "figures", "systems", "product_keys", "products", "asr", "report", "models")
NOT_WITH_K2 = ("numba", "sklearn", "spin.training", "spin.perturbation")
WITH_TORCHAUDIO = "transformers_layout.py"  # says so where it is missing
SOURCES = sorted({*(REPOSITORY / "spin").rglob("*.py")} - {REPOSITORY / "spin" / "__init__.py"})


def room(module: str) -> str:
    """The room of a module below spin, as ORDER names it."""
    names = module.split(".")[1:] or ["__init__"]
    pair = ".".join(names[:2])
    return pair if pair in ORDER.split() else names[0]


def floor(name: str) -> int:
    found = [number for number, rooms in enumerate(FLOORS) if name in rooms]
    assert found, f"spin.{name} has no floor in ORDER"
    return found[0]


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it; `from spin import errors` counts as spin.errors."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"spin.{alias.name}" for alias in node.names} if node.module == "spin" else {node.module}
    return found


def imports_any(path: Path, *parents: str) -> bool:
    return any(module == parent or module.startswith(parent + ".") for module in imports(path) for parent in parents)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_go_down(path):
    here = room(".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"))
    for module in imports(path):
        there = room(module) if module.startswith("spin.") else here
        if there not in ("__version__", here) and (here, module) not in EXCEPTIONS:
            low, high = floor(there), floor(here)
            assert low < high or low == high == 0, f"{path} imports {module}, which is not below it"
    # Praat is GPL: an oracle of the tests, and the reference that the benchmark measures against where it is installed.
    assert not imports_any(path, "local", "tests", *(() if here == "tools" else ("parselmouth",)))
    if here in K2_ROOMS:
        assert not imports_any(path, *NOT_WITH_K2, *(() if path.name == WITH_TORCHAUDIO else ("torchaudio",)))


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    return set(result.stdout.split())


def test_the_package_and_a_stage_that_only_skips_are_light():
    heavy = {"torch", "torchaudio", "lhotse", "numba", "k2", "scipy", "sklearn", "matplotlib"}
    package = "import spin, spin.units.metrics; assert spin.__version__; assert 'load_model' in dir(spin)"
    assert not modules_after(package) & (heavy | {"numpy"})
    corpora = "spin.corpus.generated, spin.corpus.librispeech"  # asked for the fingerprints of parts
    source = "from spin.models.importers import is_model_source; assert not is_model_source('mini')"
    assert not modules_after(f"import spin.runtime.stage, spin.products, {corpora}; {source}") & heavy
