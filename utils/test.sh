#!/usr/bin/env bash
# usage: utils/test.sh [--quick]
# Everything that must hold before a change goes in: lint, format, shell scripts, unit tests with both interpreters, and the whole
# recipe, stages 0 to 5, in a very small setting (not with --quick). The last line counts passes and failures of all checks.
set -uo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
cd "$root" || exit 1
. utils/log.sh
[[ $# == 0 || $* == --quick ]] || { echo "usage: $0 [--quick]" >&2 && exit 2; }
utils/setup_env.sh --test || exit 1
. ./path.sh || exit 1
export OMP_NUM_THREADS=1 MPLBACKEND=Agg
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0 skipped=0

check() { # NAME COMMAND...: one check
  local name=$1 begun=$SECONDS
  shift
  log "$name"
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)) && log_error "$name: FAILED"; fi
  log "$name: $((SECONDS - begun)) s"
}

count() { # WORD: the number before this word in pytest's last line
  local number
  number=$(tail -n 1 "$scratch/pytest" | grep -oE "[0-9]+ $1" | cut -d' ' -f1)
  echo "${number:-0}"
}

tests() { # PYTHON PATH...: pytest; adds its counts
  local status bad
  log "pytest: $*"
  "$1" -m pytest -q --no-header -p no:cacheprovider -m "not slow" --durations 5 "${@:2}" 2>&1 | tee "$scratch/pytest"
  status=${PIPESTATUS[0]}
  bad=$(($(count failed) + $(count 'errors?')))
  ((status == 0 || bad > 0)) || bad=1 # a crash, or an error while tests are collected, may leave no count
  passed=$((passed + $(count passed))) skipped=$((skipped + $(count skipped))) failed=$((failed + bad))
}

recipe() { # all stages on the very small configuration, in a scratch folder
  (cd egs/librispeech && ./run.sh --conf conf/tiny.yaml --exp-dir "$scratch/exp" --set corpus.data_dir="$scratch/data") \
    && "$SPIN_K2_PYTHON" -m spin.report.validate "$scratch/exp/report.json"
}

mapfile -t scripts < <(find . -path './.*' -prune -o -type f -name '*.sh' -print)
check "ruff check" ruff check .
check "ruff format" ruff format --check .
check "shellcheck" shellcheck -x -s bash .ci/run "${scripts[@]}"
tests "$SPIN_PYTHON" tests --ignore tests/asr
tests "$SPIN_K2_PYTHON" tests/asr tests/report tests/runtime tests/test_config_io.py tests/data/test_store.py tests/tools/test_check_device.py \
  tests/models/test_batches.py
[[ $* == --quick ]] || check "stages 0 to 5 in a very small setting" recipe

log "all checks took $SECONDS s"
echo "total: $passed passed, $failed failed, $skipped skipped"
((failed == 0))
