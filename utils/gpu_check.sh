#!/usr/bin/env bash
# usage: utils/gpu_check.sh [--corpus-dir DIR] [--pack DIR] [--device cuda|cpu] [--minutes 9] [--output FILE] [--help]
# Checks the project on a machine with a CUDA GPU: tests marked gpu, benchmarks, short real trainings, as one JSON file.
# SPIN_PYTHON (and SPIN_K2_PYTHON), set beforehand, replace the environments of path.sh.
set -euo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd -P)
if [ -z "${SPIN_PYTHON:-}" ]; then
  "$root/utils/setup_env.sh" --test
  . "$root/path.sh"
fi
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" OMP_WAIT_POLICY=PASSIVE
exec "$SPIN_PYTHON" -m spin gpu-check "$@"
