"""The order of the rooms: imports go down the floors only, what runs under the k2 environment stays free of what is not there."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
FLOORS = {
    "config": 0,
    "artifacts": 0,
    "errors": 0,
    "runtime": 0,
    "corpus": 1,
    "perturbation": 1,
    "models": 1,
    "data": 2,
    "training": 4,  # above units: the validation of Spin measures PNMI
    "units": 3,
    "asr": 3,
    "report": 4,
    "__main__": 5,
    "commands": 5,  # what `python -m spin` does
}
K2_ROOMS = ("runtime", "asr", "report", "models")  # these run under torch 1.13.1 too, where there is no torchaudio
NOT_UNDER_K2 = ("torchaudio", "spin.training", "spin.units", "spin.data", "spin.perturbation")
WITH_TORCHAUDIO = "torchaudio_bundles.py"  # says so where it is missing
SOURCES = sorted((REPOSITORY / "spin").rglob("*.py"))


def room(path: Path) -> str:
    """The room of a file of the package: the folder below spin/, or the module's own name."""
    return path.relative_to(REPOSITORY / "spin").parts[0].removesuffix(".py")


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


def test_there_is_something_to_check():
    assert {room(path) for path in SOURCES} >= {"config", "artifacts", "errors", "runtime"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_imports_go_down(path):
    here = room(path)
    if here == "__init__":
        return
    assert here in FLOORS, f"{path}: no floor is named for spin.{here}"
    for module in imports(path):
        if not module.startswith("spin."):
            continue
        there = module.split(".")[1]
        if there in ("__version__", here):
            continue
        assert there in FLOORS, f"{path} imports {module}, which is on no floor"
        assert FLOORS[there] < FLOORS[here] or FLOORS[here] == 0 == FLOORS[there], f"{path} imports {module}, not below it"


@pytest.mark.parametrize("path", [path for path in SOURCES if room(path) in K2_ROOMS], ids=lambda path: path.name)
def test_what_runs_under_k2_needs_nothing_that_is_not_there(path):
    for module in imports(path) - ({"torchaudio"} if path.name == WITH_TORCHAUDIO else set()):
        assert not any(is_or_is_below(module, other) for other in NOT_UNDER_K2), f"{path} imports {module}"


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
    assert not modules_after("import spin.runtime.stages") & HEAVY


def test_an_unknown_attribute_is_an_attribute_error():
    import spin

    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = spin.no_such_thing


def test_no_parselmouth_at_run_time():
    # Praat is GPL: an oracle of the tests, and the reference that the benchmark measures against where it is installed.
    for path in [*SOURCES, *(REPOSITORY / "local").glob("*.py")]:
        if path.name != "benchmark.py":
            assert not any(is_or_is_below(module, "parselmouth") for module in imports(path)), path


def test_the_benchmark_runs_without_parselmouth():
    code = "import sys; sys.modules['parselmouth'] = None; import spin.perturbation.benchmark"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True, timeout=120)
