#!/usr/bin/env bash
# usage: utils/launch.sh SCRIPT.py [ARGUMENT...]
# Runs a stage's script in one process, or with torchrun in one process per GPU when the configuration asks for 2 GPUs or more.
# In a job of utils/slurm.sh it does so on every machine of the job; --gpus counts those of each machine.
# The script reads torchrun's variables RANK, LOCAL_RANK and WORLD_SIZE. Needs SPIN_PYTHON from path.sh.
set -euo pipefail
# shellcheck source=utils/log.sh
. "$(dirname "${BASH_SOURCE[0]}")/log.sh"

nodes=${SPIN_NODES:-1}
require_number SPIN_NODES "$nodes" "leave it to utils/slurm.sh"
gpus=$("$SPIN_PYTHON" -m spin gpus "${@:2}")
torchrun=("$SPIN_PYTHON" -m torch.distributed.run --nproc-per-node "$((gpus > 1 ? gpus : 1))")

if [[ -n ${SPIN_FIRST_NODE-} ]]; then # started below, on one of the machines
  exec "${torchrun[@]}" --nnodes "$nodes" --node-rank "$SLURM_NODEID" --master-addr "$SPIN_FIRST_NODE" --master-port "$SPIN_PORT" "$@"
elif ((nodes > 1)); then
  require_number SLURM_JOB_ID "${SLURM_JOB_ID-}" "run: sbatch utils/slurm.sh $0 $*"
  read -r SPIN_FIRST_NODE < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
  # Jobs on the same machine need different ports, below those of outgoing connections (32768 and up).
  SPIN_PORT=$((20000 + SLURM_JOB_ID % 10000))
  export SPIN_FIRST_NODE SPIN_PORT
  # A stop goes to the tasks. srun itself would end them with SIGKILL when it gets SIGTERM.
  trap 'scancel --signal=TERM "$SLURM_JOB_ID" || true' TERM INT
  srun --export=ALL --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=1 --label "$0" "$@" &
  await $!
elif ((gpus > 1)); then
  exec "${torchrun[@]}" --standalone "$@"
else
  exec "$SPIN_PYTHON" "$@"
fi
