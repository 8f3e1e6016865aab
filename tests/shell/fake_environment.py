"""A copy of the shell side of the project, with fakes for Python, uv and nvidia-smi: its decisions without an installation."""

import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

# A Python of the version in the file next to it; `pip install` brings uv; every call goes to $FAKE_LOG.
PYTHON = r"""#!/usr/bin/env bash
version=$(<"$0.version")
while [[ $1 == -I || $1 == -S ]]; do shift; done
echo "$version: $*" >>"$FAKE_LOG"
case "$*" in
  *version_info*) echo "$version" ;;
  *"import k2"*)
    site=$(dirname "$0")/../lib/python$version/site-packages
    [[ -d $site/k2 && -z ${FAKE_K2_BROKEN-} ]] || { echo broken; exit 1; }
    ;;
  "-m venv "*)
    [[ -z ${FAKE_NO_VENV-} ]] || exit 1
    mkdir -p "${@: -1}/bin"
    cp "$0" "${@: -1}/bin/python"
    cp "$0.version" "${@: -1}/bin/python.version"
    ;;
  "-m pip install"*)
    [[ -z ${FAKE_NO_NETWORK-} ]] || { echo "ERROR: no route" && exit 1; }
    cp "$FAKE_UV" "$(dirname "$0")/uv"
    ;;
  "-m pip config"*) [[ -n ${FAKE_MIRROR-} ]] && echo "$FAKE_MIRROR" ;;
esac
"""
# "Installs" one folder per pin.
UV = r"""#!/usr/bin/env bash
echo "uv $* (index ${UV_DEFAULT_INDEX-})" >>"$FAKE_LOG"
names() { sed -e 's/#.*//' -e 's/[ ;].*//' -e '/^-/d' -e '/^$/d' -e 's/==.*//' "$1"; }
while (($#)); do
  case $1 in
    --python) python=$2 ;;
    -r) file=$2 ;;
    --dry-run) dry=true ;;
    uninstall) rm -r "$(dirname "$4")"/../lib/python*/site-packages/k2 ;;
    venv) venv=${@: -1} ;;
  esac
  shift
done
if [[ -n ${venv-} ]]; then
  mkdir -p "$venv/bin" "$venv/lib/python$(<"$python.version")/site-packages"
  cp "$python" "$venv/bin/python"
  cp "$python.version" "$venv/bin/python.version"
elif [[ -n ${file-} ]]; then
  [[ $file != *official* || -n ${FAKE_OFFICIAL-} ]] || { echo "error: no official wheel" >&2; exit 1; }
  [[ $file != *"${FAKE_FAILS-/no/file}"* ]] || { echo "error: No space left on device" >&2; exit 1; }
  [[ -n ${dry-} ]] && exit
  sleep "${FAKE_SLOW:-0}"
  for name in $(names "$file"); do mkdir -p "$(echo "$(dirname "$python")"/../lib/python*/site-packages)/$name"; done
fi
"""


class Sandbox:
    """A folder with utils/, requirements/ and path.sh of the project, and a PATH that begins with the fakes."""

    def __init__(self, folder: Path):
        self.root = folder / "project"
        self.bin = folder / "bin"
        self.log = folder / "calls"
        self.bin.mkdir()
        self.log.touch()
        for name in ("utils", "requirements"):
            shutil.copytree(REPOSITORY / name, self.root / name)
        shutil.copy(REPOSITORY / "path.sh", self.root)
        for name in ("python3", "python3.10", "python3.12", "python3.13"):
            self.add_python(name, "3.9")
        self.add_python("python3.11", "3.11")
        self.add_command("fake_uv", UV)

    def add_python(self, name: str, version: str) -> Path:
        path = self.bin / name
        self.add_command(name, PYTHON)
        path.with_name(f"{name}.version").write_text(version + "\n")
        return path

    def add_command(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def add_gpus(self, *rows: str) -> None:
        """Rows "driver version, compute capability" as nvidia-smi prints them."""
        self.add_command("nvidia-smi", "#!/bin/sh\n" + "".join(f"echo '{row}'\n" for row in rows))

    def environment(self, **extra: str) -> dict[str, str]:
        keep = {key: value for key, value in os.environ.items() if not key.startswith(("SPIN_", "FAKE_", "UV_"))}
        fakes = {"PATH": f"{self.bin}:/usr/bin:/bin", "FAKE_LOG": str(self.log), "FAKE_UV": str(self.bin / "fake_uv")}
        return {**keep, **fakes, **extra}

    def bash(self, command: str, cwd: Path | None = None, before: tuple = (), **extra: str) -> subprocess.CompletedProcess:
        """Runs a command line; keywords are variables of its environment, `before` are words in front of bash."""
        return subprocess.run(
            [*before, "bash", "-c", command], cwd=cwd or self.root, env=self.environment(**extra),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    def setup(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess:
        return self.bash(" ".join(["utils/setup_env.sh", *arguments]), **extra)

    def calls(self, *words: str) -> int:
        """Number of calls of the fakes that contained all these words, since forget_calls."""
        return sum(all(word in line for word in words) for line in self.log.read_text().splitlines())

    def forget_calls(self) -> None:
        self.log.write_text("")

    def site(self, environment: str) -> Path:
        return next((self.root / environment / "lib").glob("python3*/site-packages"))


def assert_helpful(result: subprocess.CompletedProcess, *words: str) -> None:
    """The script failed with an error in the usual form that has these words."""
    assert result.returncode == 1
    for label in ("found:", "expected:", "remedy:", *words):
        assert label in result.stderr
