#!/usr/bin/env bash
# usage: utils/gpu_check.sh [--corpus-dir DIR] [--device cuda|cpu] [--minutes 9] [--output FILE] [--help]
# On a machine with a CUDA GPU: the tests marked gpu, the benchmarks and a short real training, in under ten minutes, as one JSON.
# SPIN_PYTHON, when set beforehand, is used instead of the environment that path.sh makes.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
if [ -z "${SPIN_PYTHON:-}" ]; then
  "$root/utils/setup_env.sh" --test
  . "$root/path.sh"
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" OMP_WAIT_POLICY=PASSIVE
exec "$SPIN_PYTHON" -m spin gpu-check "$@"
