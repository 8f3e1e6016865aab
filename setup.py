"""Installs the package: `pip install -e .`, with what k2 or the tests need: `pip install -e '.[k2,test]'`.

The requirement files alone name versions. The extra k2 is the wheel of k2's authors for our torch; pip finds it with the
--find-links of requirements/k2-official.txt. utils/setup_env.sh makes complete environments instead.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def requirements(name):
    """The requirements of a file, without comments and options."""
    lines = (line.split("#")[0].strip() for line in (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("-")]


setup(
    name="spin-speech",  # "spin" on the package index is another project; import spin warns where both are installed
    version=re.search(r'__version__ = "(.*)"', (ROOT / "spin" / "__init__.py").read_text(encoding="utf-8")).group(1),
    description="Speaker-invariant clustering of self-supervised speech representations, from audio to the downstream gain",
    license="Apache-2.0",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["spin", "spin.*"]),
    package_data={"spin.models": ["assets/*"], "spin.report": ["templates/*"]},
    install_requires=requirements("main.txt"),
    extras_require={"k2": requirements("k2-official.txt"), "test": requirements("test.txt")},
)
