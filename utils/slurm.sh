#!/usr/bin/env bash
# usage: sbatch [--nodes=N] [OPTION...] utils/slurm.sh COMMAND [ARGUMENT...]
# Runs the recipe as a Slurm job, in the folder where sbatch is called (one with a path.sh), for example
#   sbatch --nodes=2 --gpus-per-node=8 --cpus-per-task=64 --time=8:00:00 utils/slurm.sh ./run.sh --conf conf/hubert_base.yaml --gpus 8
# Stage 2 trains on all machines of the job (utils/launch.sh), the other stages run on the first. Folders must be shared by all.
# Before the time is up, or when Slurm preempts the job, the stage at work is told to stop; a training writes a checkpoint. The job
# is then queued again and goes on from there, at most SPIN_RESTARTS times (default 100). A failure is not tried again.
#SBATCH --job-name=spin
#SBATCH --ntasks-per-node=1
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

# Slurm runs a copy of this file from elsewhere, so its own folder says nothing.
cd "${SLURM_SUBMIT_DIR:-.}"
if [[ ! -e utils/log.sh ]]; then
  echo "utils/slurm.sh: no utils/log.sh in $PWD; call sbatch in a recipe's folder, for example egs/librispeech" >&2
  exit 1
fi
. utils/log.sh
(($# > 0)) || fail "utils/slurm.sh" "no command" "the command to run as a job" "sbatch utils/slurm.sh ./run.sh --conf ..."
[[ -n ${SLURM_JOB_ID-} ]] || fail "utils/slurm.sh" "not within a Slurm job" "a start by sbatch" "sbatch utils/slurm.sh $*"

export SPIN_NODES=${SLURM_JOB_NUM_NODES:-1}
# srun of Slurm 22.05 and later does not take this from the job.
[[ -z ${SLURM_CPUS_PER_TASK-} ]] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
restarts=${SLURM_RESTART_COUNT:-0} most_restarts=${SPIN_RESTARTS:-100}
require_number SLURM_RESTART_COUNT "$restarts" "leave it to Slurm"
require_number SPIN_RESTARTS "$most_restarts" "SPIN_RESTARTS=100, or leave it out"
log "job $SLURM_JOB_ID on $SPIN_NODES machine(s), restart $restarts: $*"

child="" stopped=false
trap 'stopped=true; [[ -z $child ]] || kill -TERM "$child" 2>/dev/null || true' TERM
"$@" &
child=$!
status=0
await "$child" || status=$?
trap - TERM

if ! $stopped || ((status == 0)); then
  exit "$status"
fi
if ((restarts >= most_restarts)); then
  log_error "stopped, and not queued again after $restarts restarts; the same sbatch command goes on from here"
  exit "$status"
fi
log "stopped; queued again, to go on from here"
scontrol requeue "$SLURM_JOB_ID" || log_error "scontrol could not queue the job again; the same sbatch command goes on from here"
exit "$status"
