"""utils/slurm.sh and utils/launch.sh on a fake cluster: starts on every machine, stops, requeueing."""

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Starts one task per machine and ends all when one fails; SIGTERM to itself kills the tasks with SIGKILL.
SRUN = r"""#!/usr/bin/env bash
echo "srun $*" >>"$CLUSTER/calls"
while [[ $1 == --* ]]; do
  [[ $1 == --ntasks=* ]] && tasks=${1#*=}
  shift
done
trap 'kill -KILL "${ids[@]}"' TERM
for ((i = 0; i < tasks; i++)); do
  SLURM_NODEID=$i "$@" &
  ids+=($!)
  echo "${ids[@]}" >"$CLUSTER/tasks"
done
for id in "${ids[@]}"; do
  wait -n || { status=${status:-$?}; kill "${ids[@]}" 2>/dev/null; }
done
exit "${status:-0}"
"""
SCONTROL = r"""#!/usr/bin/env bash
echo "scontrol $*" >>"$CLUSTER/calls"
[[ $1 != show ]] || printf '%s\n' node7 node9
[[ $1 != requeue ]] || exit "${REQUEUE_STATUS:-0}"
"""
SCANCEL = r"""#!/usr/bin/env bash
echo "scancel $*" >>"$CLUSTER/calls"
kill -TERM $(<"$CLUSTER/tasks")
"""
# Records how it was called; may fail on one machine; works until a stop signal, then ends as a training does.
PYTHON = r"""#!/usr/bin/env bash
[[ $* != "-m spin gpus"* ]] || { [[ ${GPUS-} != bad ]] || exit 2; echo "${GPUS-4}"; exit; }
echo "python $*" >>"$CLUSTER/calls"
[[ ${SLURM_NODEID-0} != "${FAIL_ON-none}" ]] || exit 3
[[ -n ${WORK-} ]] || exit 0
trap 'echo "stopped ${SLURM_NODEID-}" >>"$CLUSTER/calls"; kill $!; exit ${STOP_STATUS:-143}' TERM
sleep 60 &
echo "works" >>"$CLUSTER/calls"
wait
"""


class Cluster:
    """A job on `nodes` machines, in a folder with the project's utils."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.recipe = folder / "recipe"
        (folder / "bin").mkdir(parents=True)
        shutil.copytree(REPOSITORY / "utils", self.recipe / "utils")
        shutil.copy(self.recipe / "utils/slurm.sh", folder / "slurm_script")  # Slurm runs a copy, too
        for name, text in {"srun": SRUN, "scontrol": SCONTROL, "scancel": SCANCEL, "python": PYTHON}.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)

    def start(self, *command: str, nodes: int = 2, **variables: str) -> subprocess.Popen:
        environment = {
            "PATH": f"{self.folder}/bin:/usr/bin:/bin",
            "CLUSTER": str(self.folder),
            "SPIN_PYTHON": str(self.folder / "bin/python"),
            "SLURM_JOB_ID": "1234567",
            "SLURM_JOB_NUM_NODES": str(nodes),
            "SLURM_JOB_NODELIST": "node[7,9]",
            "SLURM_SUBMIT_DIR": str(self.recipe),
            "SLURM_CPUS_PER_TASK": "24",
            **variables,
        }
        return subprocess.Popen(
            ["bash", str(self.folder / "slurm_script"), *command], cwd="/",
            env={name: value for name, value in environment.items() if value},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def calls(self, of: str) -> list[str]:
        path = self.folder / "calls"
        return [line for line in path.read_text().splitlines() if line.startswith(of)] if path.exists() else []

    def stop(self, job: subprocess.Popen, workers: int) -> tuple[int, str]:
        """Sends Slurm's signal to the batch script once all machines work; returns (status, output) of the job."""
        until = time.monotonic() + 30
        while len(self.calls("works")) < workers and time.monotonic() < until:
            time.sleep(0.02)
        job.send_signal(signal.SIGTERM)
        return end(job)


def end(job: subprocess.Popen) -> tuple[int, str]:
    output, _ = job.communicate(timeout=50)
    return job.returncode, output


TRAIN = ("utils/launch.sh", "local/2_train_spin.py", "--conf", "a b.yaml", "--gpus", "4")


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


def test_every_machine_starts_torchrun_with_its_rank(cluster):
    status, output = end(cluster.start(*TRAIN))
    assert status == 0, output
    assert "job 1234567 on 2 machine(s), restart 0" in output
    started = sorted(cluster.calls("python"))
    for rank, line in enumerate(started):
        place = f"--nproc-per-node 4 --nnodes 2 --node-rank {rank} --master-addr node7 --master-port 24567"
        assert line == f"python -m torch.distributed.run {place} local/2_train_spin.py --conf a b.yaml --gpus 4"
    assert len(started) == 2 and "--kill-on-bad-exit=1" in cluster.calls("srun")[0]
    assert not cluster.calls("scontrol requeue")


@pytest.mark.parametrize(("gpus", "words"), [("4", "-m torch.distributed.run --nproc-per-node 4 --standalone "), ("1", "")])
def test_one_machine_needs_no_srun_and_one_gpu_no_torchrun(cluster, gpus, words):
    assert end(cluster.start(*TRAIN, nodes=1, GPUS=gpus))[0] == 0
    assert cluster.calls("python") == [f"python {words}local/2_train_spin.py --conf a b.yaml --gpus 4"]
    assert not cluster.calls("srun")


@pytest.mark.parametrize("name", ["SLURM_JOB_NUM_NODES", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SPIN_RESTARTS"])
def test_variables_that_are_not_numbers_are_rejected_by_name(cluster, name):
    status, output = end(cluster.start(*TRAIN, **{name: "a[$(touch canary)]"}))
    assert status == 1 and "a whole number" in output
    assert ("SPIN_NODES" if name == "SLURM_JOB_NUM_NODES" else name) in output
    assert not list(cluster.folder.rglob("canary")) and not cluster.calls("python")


@pytest.mark.parametrize(("variables", "status"), [({"GPUS": "bad"}, 2), ({"WORK": "1", "FAIL_ON": "1"}, 3)])
def test_a_wrong_configuration_or_a_failure_on_one_machine_ends_all_and_is_not_requeued(cluster, variables, status):
    assert end(cluster.start(*TRAIN, **variables))[0] == status
    assert bool(cluster.calls("python")) == (status == 3) and not cluster.calls("scontrol requeue")


@pytest.mark.parametrize(
    ("nodes", "variables", "status", "message", "requeued"),
    [
        (1, {}, 143, "", True),
        (2, {}, 143, "", True),
        (2, {"STOP_STATUS": "0"}, 0, "", False),  # finished in spite of the stop
        (2, {"SLURM_RESTART_COUNT": "2", "SPIN_RESTARTS": "2"}, 143, "not requeued after 2 restarts", False),
        (2, {"REQUEUE_STATUS": "1"}, 143, "scontrol could not requeue the job", True),
    ],
)
def test_a_stop_reaches_all_machines_and_the_job_is_requeued(cluster, nodes, variables, status, message, requeued):
    code, output = cluster.stop(cluster.start(*TRAIN, nodes=nodes, WORK="1", **variables), nodes)
    assert code == status and message in output, output
    assert len(set(cluster.calls("stopped"))) == nodes  # none was killed before it could write its checkpoint
    assert cluster.calls("scontrol requeue") == ["scontrol requeue 1234567"] * requeued
    assert len(cluster.calls("scancel --signal=TERM 1234567")) == (nodes > 1)


def test_wrong_calls_say_what_to_do(cluster):
    no_folder = {"SLURM_SUBMIT_DIR": "/"}
    calls = (((), {}, "no command"), (TRAIN, {"SLURM_JOB_ID": ""}, "not inside"), (TRAIN, no_folder, "call sbatch in a recipe's"))
    for command, variables, message in calls:
        status, output = end(cluster.start(*command, **variables))
        assert status == 1 and message in output and not cluster.calls("")
