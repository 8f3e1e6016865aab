#!/usr/bin/env bash
# Everything that must hold before a change goes in: lint, format, shell scripts, unit tests under both interpreters, and the whole
# recipe, stages 0 to 5, in a very small setting. The last line counts passes and failures of all of it.
set -uo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
home=$root
quick=false
# shellcheck disable=SC2034  # read by parse_options.sh
{
  about="Checks the project: lint, format, shell scripts, unit tests, and the whole recipe in a very small setting."
  options=("quick  flag  without the recipe")
}
. "$root/utils/log.sh"
. "$root/utils/parse_options.sh"

passed=0 failed=0 skipped=0
cd "$root" || exit 1
"$root/utils/setup_env.sh" --test || exit 1
. "$root/path.sh" || exit 1
export OMP_NUM_THREADS=1 MPLBACKEND=Agg
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

check() { # NAME COMMAND...: one check
  local name=$1 begun=$SECONDS
  shift
  log "$name"
  if "$@"; then
    passed=$((passed + 1))
    log "$name: passed in $((SECONDS - begun)) s"
  else
    failed=$((failed + 1))
    log "$name: FAILED after $((SECONDS - begun)) s"
  fi
}

count() { # WORD FILE: the number before this word in pytest's last line
  local number
  number=$(tail -n 1 "$2" | grep -oE "[0-9]+ $1" | cut -d' ' -f1)
  echo "${number:-0}"
}

tests() { # PYTHON PATH...: pytest; adds its counts
  local python=$1 status=0 bad
  shift
  log "pytest under $python: $*"
  "$python" -m pytest -q --no-header -p no:cacheprovider -m "not slow" --durations 5 "$@" 2>&1 | tee "$scratch/pytest"
  status=${PIPESTATUS[0]}
  passed=$((passed + $(count passed "$scratch/pytest")))
  skipped=$((skipped + $(count skipped "$scratch/pytest")))
  bad=$(($(count failed "$scratch/pytest") + $(count 'errors?' "$scratch/pytest")))
  # A crash, or an error while tests are collected, may leave no count.
  if ((status != 0 && bad == 0)); then bad=1; fi
  failed=$((failed + bad))
}

recipe() { # the whole road on the very small configuration, into a scratch folder
  (cd "$root/egs/librispeech" && ./run.sh --stage 0 --stop-stage 5 --conf conf/tiny.yaml \
    --exp-dir "$scratch/exp" --set corpus.data_dir="$scratch/data") || return
  "$SPIN_K2_PYTHON" -m spin.report.validate "$scratch/exp/report.json"
}

mapfile -t scripts < <(find . -path './.venv*' -prune -o -type f -name '*.sh' -print)
check "ruff check" ruff check .
check "ruff format" ruff format --check .
check "shellcheck" shellcheck -x -s bash .ci/run "${scripts[@]}"
tests "$SPIN_PYTHON" tests --ignore tests/asr
tests "$SPIN_K2_PYTHON" tests/asr tests/report tests/runtime tests/models/test_golden.py tests/models/test_batches.py
if ! $quick; then
  check "stages 0 to 5 in a very small setting" recipe
fi

log "all checks took $SECONDS s"
echo "total: $passed passed, $failed failed, $skipped skipped"
((failed == 0))
