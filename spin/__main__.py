"""python -m spin COMMAND ...: what other programs call.

Commands are looked up by name and imported when asked for; each main(argv) has its own --help.
"""

from __future__ import annotations

import importlib
import sys

from spin.errors import SpinError

# command -> module:function of one argument, the words after the command
COMMANDS = {
    "units": "spin.units.cli:main",
    "abx": "spin.units.abx_cli:main",
    "align": "spin.corpus.align_cli:main",
    "convert-alignments": "spin.corpus.alignment_cli:main",
    "export": "spin.models.export_cli:main",
    "units-table": "spin.units.table_cli:main",
    "unit-lm": "spin.units.unit_lm_cli:main",
    "unit-files": "spin.units.unit_files_cli:main",
    "gpu-check": "spin.report.gpu_check:main",
    "benchmark perturb": "spin.perturbation.benchmark:main",
    "benchmark spin": "spin.training.benchmark:main",
    "benchmark units": "spin.units.benchmark:main",
    "benchmark metrics": "spin.units.benchmark_metrics:main",
    "benchmark kmeans": "spin.units.benchmark_kmeans:main",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 1 for a SpinError (its message on standard error), 2 for wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in ("-h", "--help"):
        print(usage())
        return 0
    for size in (2, 1):
        home = COMMANDS.get(" ".join(words[:size]))
        if home is not None and len(words) >= size:
            module, function = home.split(":")
            try:
                return getattr(importlib.import_module(module), function)(words[size:]) or 0
            except SpinError as error:
                print(error, file=sys.stderr)
                return 1
    print(f"python -m spin: found {' '.join(words[:2]) or 'no command'!r}\n{usage()}", file=sys.stderr)
    return 2


def usage() -> str:
    """One line a command."""
    return "\n".join(["usage: python -m spin COMMAND [--help] ...", "commands:", *(f"  {name}" for name in COMMANDS)])


if __name__ == "__main__":
    sys.exit(main())
