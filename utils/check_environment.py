"""Says whether the environment of the interpreter that runs this is whole.

Checks each pin of the requirement files, every file that each installed package lists (present, of the recorded size), and that
the modules can be imported. Prints one problem a line and ends with status 1 when there is any. Needs nothing beyond pip.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from importlib import metadata
from pathlib import Path


def requirements(path: Path) -> list[str]:
    """The requirements of a file, without comments and options."""
    lines = (line.split("#")[0].split(" --hash")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


def unmet_pins(paths: list[Path]) -> list[str]:
    """Requirements that apply here and that no installed package meets."""
    from pip._vendor.packaging.requirements import Requirement

    problems = []
    for requirement in (Requirement(line) for path in paths for line in requirements(path)):
        if requirement.marker and not requirement.marker.evaluate():
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            problems.append(f"{requirement.name} is missing, {requirement.specifier} is wanted")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            problems.append(f"{requirement.name} is {version}, {requirement.specifier} is wanted")
    return problems


def damaged_files() -> list[str]:
    """Files of installed packages that are gone or of another size than recorded; compiled caches do not count."""
    problems = []
    for distribution in metadata.distributions():
        for file in distribution.files or ():
            if file.size is None or file.suffix == ".pyc":
                continue
            path = distribution.locate_file(file)
            size = os.path.getsize(path) if os.path.exists(path) else None
            if size != file.size:
                name = distribution.metadata["Name"]
                problems.append(f"{name}: {file} is {'missing' if size is None else f'{size} bytes, not {file.size}'}")
                break  # one file a package says enough
    return problems


def failed_imports(names: list[str]) -> list[str]:
    """Modules that cannot be imported."""
    problems = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # noqa: BLE001  a broken package may raise anything while it is imported
            problems.append(f"import {name}: {type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}")
    return problems


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--imports", nargs="*", default=[])
    arguments = parser.parse_args()
    problems = unmet_pins(arguments.files) or damaged_files() or failed_imports(arguments.imports)
    print("\n".join(problems), end="\n" if problems else "")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
