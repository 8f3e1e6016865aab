"""python -m spin COMMAND ...: the commands that other programs and users call.

A command is looked up by name and imported when it is asked for; each main(argv) has its own --help.
"""

import pkgutil
import sys

from spin.errors import SpinError

# command -> module:function of one argument, the words after the command
COMMANDS = {
    "units": "spin.units.cli:main",
    "acoustic-pieces": "spin.units.acoustic_pieces:main",
    "layer-sweep": "spin.tools.layer_sweep:main",
    "unit-lm": "spin.units.unit_lm:main",
    "unit-variants": "spin.units.unit_variants:main",
    "align": "spin.tools.align:main",
    "export": "spin.tools.export:main",
    "results": "spin.tools.results:main",
    "check-device": "spin.tools.check_device:main",
    "gpus": "spin.tools.check_device:print_gpus",
    "gpu-check": "spin.tools.gpu_check:main",
    "benchmark perturb": "spin.tools.benchmark_perturb:main",
    "benchmark spin": "spin.tools.benchmark_spin:main",
    "benchmark units": "spin.tools.benchmark_units:main",
    "benchmark memory": "spin.tools.benchmark_memory:main",
}


def main(argv: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 1 for a SpinError (its message on standard error), 2 for wrong usage."""
    words = list(sys.argv[1:] if argv is None else argv)
    usage = "\n".join(["usage: python -m spin COMMAND [--help] ...", "commands:", *(f"  {name}" for name in COMMANDS)])
    if words and words[0] in ("-h", "--help"):
        print(usage)
        return 0
    size = next((size for size in (2, 1) if len(words) >= size and " ".join(words[:size]) in COMMANDS), 0)
    if size == 0:
        print(f"python -m spin: unknown command {' '.join(words[:2])!r}\n{usage}", file=sys.stderr)
        return 2
    try:
        return pkgutil.resolve_name(COMMANDS[" ".join(words[:size])])(words[size:]) or 0
    except SpinError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
