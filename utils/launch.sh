#!/usr/bin/env bash
# usage: utils/launch.sh SCRIPT.py [ARGUMENT...]
# Runs a training script in one process, or through torchrun in one process a GPU when the arguments ask for --gpus 2 or more.
# The script finds its place from torchrun's variables RANK, LOCAL_RANK and WORLD_SIZE. Needs path.sh's SPIN_PYTHON.
set -euo pipefail

gpus=1
arguments=("$@")
for ((i = 0; i < $#; i++)); do
  case ${arguments[i]} in
    --gpus) gpus=${arguments[i + 1]} ;;
    --gpus=*) gpus=${arguments[i]#*=} ;;
  esac
done

if ((gpus < 2)); then
  exec "$SPIN_PYTHON" "$@"
fi
exec "$SPIN_PYTHON" -m torch.distributed.run --standalone --nproc-per-node "$gpus" "$@"
