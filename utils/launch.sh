#!/usr/bin/env bash
# usage: utils/launch.sh SCRIPT.py [ARGUMENT...]
# Runs a training script in one process, or through torchrun in one process a GPU when the arguments ask for --gpus 2 or more.
# Within utils/slurm.sh it does so on every machine of the job; --gpus are those of each machine.
# The script finds its place from torchrun's variables RANK, LOCAL_RANK and WORLD_SIZE. Needs path.sh's SPIN_PYTHON.
set -euo pipefail
# shellcheck source=utils/log.sh
. "$(dirname "${BASH_SOURCE[0]}")/log.sh"

gpus=1
arguments=("$@")
for ((i = 0; i < $#; i++)); do
  case ${arguments[i]} in
    --gpus) gpus=${arguments[i + 1]-} ;;
    --gpus=*) gpus=${arguments[i]#*=} ;;
    --set) [[ ${arguments[i + 1]-} != runtime.gpus=* ]] || gpus=${arguments[i + 1]#*=} ;;
    --set=runtime.gpus=*) gpus=${arguments[i]##*=} ;;
  esac
done
# Arithmetic would run commands that stand in what it is given. What is no number is left to the script to refuse.
is_number "$gpus" 4 || gpus=1
nodes=${SPIN_NODES:-1}
require_number SPIN_NODES "$nodes" "leave it to utils/slurm.sh"

on_every_machine() { # ARGUMENT...: this script again, once on each machine of the job; ends with their status
  local status child
  require_number SLURM_JOB_ID "$SLURM_JOB_ID" "start it with sbatch utils/slurm.sh"
  read -r SPIN_FIRST_NODE < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
  # Jobs that share a machine must not share a port; below the ports that systems give to outgoing connections (32768 up).
  SPIN_PORT=$((20000 + SLURM_JOB_ID % 10000))
  export SPIN_FIRST_NODE SPIN_PORT
  # A stop goes to the tasks, not to srun, which ends them with SIGKILL when it is sent SIGTERM itself.
  trap 'scancel --signal=TERM "$SLURM_JOB_ID" || true' TERM INT
  srun --export=ALL --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=1 --label "$0" "$@" &
  child=$!
  status=0
  await "$child" || status=$?
  exit "$status"
}

if [[ -n ${SPIN_FIRST_NODE-} ]]; then # one machine's part
  place=(--nnodes "$nodes" --node-rank "$SLURM_NODEID" --master-addr "$SPIN_FIRST_NODE" --master-port "$SPIN_PORT")
elif ((nodes > 1)); then
  on_every_machine "$@"
elif ((gpus > 1)); then
  place=(--standalone)
else
  exec "$SPIN_PYTHON" "$@"
fi
exec "$SPIN_PYTHON" -m torch.distributed.run "${place[@]}" --nproc-per-node "$((gpus > 1 ? gpus : 1))" "$@"
