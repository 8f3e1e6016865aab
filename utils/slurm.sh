#!/usr/bin/env bash
# usage: sbatch [--nodes=N] [OPTION...] utils/slurm.sh COMMAND [ARGUMENT...]
# Runs the recipe as a Slurm job, in the folder where sbatch is called (one with a path.sh), for example
#   sbatch --nodes=2 --gpus-per-node=8 --cpus-per-task=64 --time=8:00:00 utils/slurm.sh ./run.sh --conf conf/hubert_base.yaml --gpus 8
# Stage 2 trains on all machines of the job (utils/launch.sh), the other stages run on the first. All machines must share the folders.
# Before its time limit, or when Slurm preempts it, the job checkpoints, requeues itself and resumes, at most SPIN_RESTARTS times
# (default 100). A failed job is not requeued.
#SBATCH --job-name=spin --output=%x-%j.log --open-mode=append
#SBATCH --ntasks-per-node=1 --signal=B:TERM@120 --requeue
set -euo pipefail

# Slurm runs a copy of this file from another folder.
cd "${SLURM_SUBMIT_DIR:-.}"
if [[ ! -e utils/log.sh ]]; then
  echo "utils/slurm.sh: no utils/log.sh in $PWD; call sbatch in a recipe's folder, for example egs/librispeech" >&2
  exit 1
fi
. utils/log.sh
(($#)) || fail "utils/slurm.sh" "no command" "the command to run as a job" "sbatch utils/slurm.sh ./run.sh --conf ..."
[[ -n ${SLURM_JOB_ID-} ]] || fail "utils/slurm.sh" "not inside a Slurm job" "a start by sbatch" "sbatch utils/slurm.sh $*"
restarts=${SLURM_RESTART_COUNT:-0} max_restarts=${SPIN_RESTARTS:-100}
require_number SLURM_RESTART_COUNT "$restarts" "leave it to Slurm"
require_number SPIN_RESTARTS "$max_restarts" "SPIN_RESTARTS=100, or unset it"
export SPIN_NODES=${SLURM_JOB_NUM_NODES:-1}
# srun of Slurm 22.05 and later does not take this from the job.
[[ -z ${SLURM_CPUS_PER_TASK-} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
log "job $SLURM_JOB_ID on $SPIN_NODES machine(s), restart $restarts: $*"

status=0
run_with_signals "$@" || status=$?
if [[ -z $interrupted ]] || ((status == 0)); then
  exit "$status"
elif ((restarts >= max_restarts)); then
  log_error "stopped, and not requeued after $restarts restarts; repeat the sbatch command to resume"
else
  log "stopped; requeueing the job to resume"
  scontrol requeue "$SLURM_JOB_ID" || log_error "scontrol could not requeue the job; repeat the sbatch command to resume"
fi
exit "$status"
