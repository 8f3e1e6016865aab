"""python -m spin check-device: checks options, configuration and GPU before the first stage, so that no run fails hours later.

torch runs a small product on the GPU, and k2 (stages 4 and 5, in its own environment) a CTC loss and a pruned search.
"""

import argparse
import math
import os
import subprocess
import sys

from spin.errors import ConfigError
from spin.runtime.process import DRIVER
from spin.runtime.stage import configure, parse_arguments

FIRST_K2_STAGE = 4
# Two frames of equal probabilities for three tokens: the paths "a", "a a" and "- a" have 3 of 9 parts, so the loss is log 3.
CTC_LOSS = math.log(3.0)


def main(argv: list[str]) -> int:
    """Checks what a run with these options needs; returns 0, or the status of k2's interpreter; raises ConfigError otherwise."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--stop-stage", type=int, default=FIRST_K2_STAGE)
    own, options = parser.parse_known_args(argv)
    config, _, _ = configure(parse_arguments(options, __doc__))
    device = config.runtime.device
    if device == "cpu" or (device == "auto" and not DRIVER.exists()):
        return 0
    from spin.runtime.devices import resolve_device  # imports torch, which a run on the CPU can do without here

    resolve_device(device)
    if own.stop_stage < FIRST_K2_STAGE:
        return 0
    interpreter = os.environ.get("SPIN_K2_PYTHON", sys.executable)
    return subprocess.run([interpreter, "-m", "spin.tools.check_device", device], check=False).returncode


def print_gpus(argv: list[str]) -> None:
    """python -m spin gpus: prints runtime.gpus of a stage's options, for utils/launch.sh."""
    print(configure(parse_arguments(argv, "Prints the number of GPUs per machine."))[0].runtime.gpus)


def check_k2(name: str) -> None:
    """Computes a CTC loss and a pruned search with k2; raises ConfigError where it cannot on this device, or computes another."""
    import k2
    import torch

    from spin.runtime.devices import device_name, resolve_device

    device = resolve_device(name)
    try:
        loss, labels = _run_k2(device)
        if abs(loss - CTC_LOSS) < 1e-4 and labels[-1] == -1:
            return
        problem = f"a CTC loss of {loss:g} and a best path {labels}; expected {CTC_LOSS:g} and a final -1"
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:200]
    if device.type == "cpu":
        cause, remedy = f"a damaged k2, or one for another torch than {torch.__version__}", "utils/setup_env.sh --rebuild"
    else:
        cause = f"this k2 (with torch {torch.__version__}) lacks kernels for the GPU; those of k2 1.23.4 end at Ada"
        remedy = "--device cpu, or utils/setup_env.sh --rebuild where the official k2 wheel can be downloaded"
    subject, expected = f"k2 {k2.__version__} on {device_name(device)}", "a CTC loss and a search that run there"
    raise ConfigError(subject, found=problem, expected=expected, cause=cause, remedy=remedy)


def _run_k2(device) -> tuple[float, list[int]]:
    """(CTC loss, labels of the best path) of one token over two frames of equal probabilities."""
    import k2
    import torch

    log_probs = torch.zeros(1, 2, 3, device=device).log_softmax(-1)
    posteriors = k2.DenseFsaVec(log_probs, torch.tensor([[0, 0, 2]], dtype=torch.int32))
    graph = k2.ctc_graph([[1]], device=device)
    loss = k2.ctc_loss(graph, posteriors, output_beam=10.0, reduction="sum")
    lattice = k2.intersect_dense_pruned(graph, posteriors, 20.0, 8.0, 1, 100)
    return loss.item(), k2.shortest_path(lattice, use_double_scores=True).labels.tolist()


if __name__ == "__main__":
    try:
        check_k2(sys.argv[1])
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
