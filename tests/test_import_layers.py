"""The order of the rooms: a room imports only rooms below it, and rooms that run with k2 import nothing that is missing there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
# From the ground floor up; rooms of one line may not import each other.
ORDER = (
    ("config", "setting_types", "artifacts", "errors"),
    ("runtime",),
    ("systems",),
    ("product_keys",),
    ("products",),
    ("data.store",),
    ("data.cuts",),
    ("data.audio",),
    ("corpus",),
    ("perturbation",),
    ("models",),
    ("objectives",),
    ("data",),
    ("units",),
    ("training",),
    ("asr",),
    ("report",),
    ("tools", "__main__"),
)
# Light modules that lower rooms may ask: the fingerprint of a corpus part, and whether a source is a Spin model.
EXCEPTIONS = {("products", "spin.corpus.registry"), ("systems", "spin.models.published")}
# These also run with torch 1.13.1, without torchaudio.
K2_ROOMS = ("runtime", "systems", "product_keys", "products", "asr", "report", "models")
NOT_WITH_K2 = ("torchaudio", "numba", "sklearn", "spin.training", "spin.perturbation")
WITH_TORCHAUDIO = "torchaudio_bundles.py"  # says so where it is missing
SOURCES = sorted((REPOSITORY / "spin").rglob("*.py"))


def room(module: str) -> str:
    """The room of a module below spin, as ORDER names it."""
    names = module.split(".")[1:] or ["__init__"]
    pair = ".".join(names[:2])
    return pair if any(pair in floor for floor in ORDER) else names[0]


def floor(name: str) -> int:
    found = [number for number, rooms in enumerate(ORDER) if name in rooms]
    assert found, f"spin.{name} has no floor in ORDER"
    return found[0]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


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


def is_or_is_below(module: str, parent: str) -> bool:
    return module == parent or module.startswith(parent + ".")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_go_down(path):
    if path == REPOSITORY / "spin" / "__init__.py":
        return
    here = room(module_of(path))
    for module in imports(path):
        if not module.startswith("spin.") or (here, module) in EXCEPTIONS:
            continue
        there = room(module)
        if there in ("__version__", here):
            continue
        assert floor(there) < floor(here) or floor(there) == floor(here) == 0, f"{path} imports {module}, which is not below it"


@pytest.mark.parametrize("path", [path for path in SOURCES if room(module_of(path)) in K2_ROOMS], ids=lambda path: path.name)
def test_rooms_that_run_with_k2_import_nothing_missing_there(path):
    for module in imports(path) - ({"torchaudio"} if path.name == WITH_TORCHAUDIO else set()):
        assert not any(is_or_is_below(module, other) for other in NOT_WITH_K2), f"{path} imports {module}"


def test_only_the_package_itself_uses_its_stage_scripts_and_tests():
    for path in SOURCES:
        assert not any(is_or_is_below(module, other) for module in imports(path) for other in ("local", "tests")), path


def modules_after(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60)
    return set(result.stdout.split())


HEAVY = {"torch", "torchaudio", "lhotse", "numba", "k2", "scipy", "sklearn", "matplotlib"}


def test_importing_the_package_is_light():
    loaded = modules_after("import spin; assert spin.__version__; assert 'load_model' in dir(spin)")
    assert not loaded & (HEAVY | {"numpy"})


def test_a_stage_that_only_skips_loads_no_torch():
    assert not modules_after("import spin.runtime.stage, spin.products") & HEAVY


def test_an_unknown_attribute_is_an_attribute_error():
    import spin

    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = spin.no_such_thing


def test_no_parselmouth_at_run_time():
    # Praat is GPL: an oracle of the tests, and the reference that the benchmark measures against where it is installed.
    for path in [*SOURCES, *(REPOSITORY / "local").glob("*.py")]:
        if "tools" not in path.parts:
            assert not any(is_or_is_below(module, "parselmouth") for module in imports(path)), path
