r"""Start the training program on as many processes as a job was granted: one, one node, or many nodes.

With at most one process this is the training program itself. With more it is torchrun on this node, and inside a Slurm
allocation of several nodes one torchrun on each of them, started by srun. This program replaces itself, so that a
signal (time limit, preemption) reaches those who train; they write a checkpoint, for which torchrun gives them
--patience seconds, and the same command resumes from it.

Example (everything after -- goes to workflow_scripts.training.retrain):
  python -m workflow_scripts.training.launch --processes 8 -- --parallel fsdp --device cuda --recipe recipe.json \
      --view data/pile/view.json --output-dir results/training/pythia-1b
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping, Sequence

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError

PROGRAM = "workflow_scripts.training.retrain"
# torchrun's own meeting place in a job of several nodes: a port that two jobs on one node most likely do not share.
FIRST_PORT, PORTS = 20_000, 10_000
PATIENCE_SECONDS = 600


def nodes_of(environment: Mapping[str, str]) -> int:
    """Nodes of the Slurm allocation that ``environment`` describes; 1 outside Slurm."""
    return int(environment.get("SLURM_JOB_NUM_NODES") or 1)


def launch_command(
    processes: int,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    nodes: int | None = None,
    patience: int = PATIENCE_SECONDS,
) -> list[str]:
    """Command that trains with ``processes`` processes on each of ``nodes``, by default all nodes of the allocation.

    Snakemake's job step removes the variables that describe the allocation, all but its number; a rule therefore says
    how many nodes it asked for. Raises ConfigError for several processes without ``--parallel``, which would train the
    same model several times, and for several nodes outside a Slurm job.
    """
    nodes = nodes or nodes_of(environment)
    if processes * nodes <= 1:
        return [sys.executable, "-m", PROGRAM, *arguments]
    if "--parallel" not in arguments:
        raise ConfigError(f"{processes} processes on {nodes} node(s) need --parallel ddp or --parallel fsdp after --")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(max(processes, 1))]
    torchrun += ["--shutdown-timeout", str(patience)]
    train = ["--module", PROGRAM, *arguments]
    if nodes == 1:
        return [*torchrun, "--standalone", *train]
    job = environment.get("SLURM_JOB_ID")
    if job is None:
        raise ConfigError(f"--nodes {nodes} needs a Slurm job of {nodes} nodes; SLURM_JOB_ID is not set here")
    # srun starts one torchrun on each node; they meet on the node where this job runs.
    meeting = ["--rdzv-backend", "c10d", "--rdzv-id", job]
    meeting += ["--rdzv-endpoint", f"{socket.gethostname()}:{FIRST_PORT + int(job) % PORTS}"]
    srun = ["srun", "--nodes", str(nodes), "--ntasks", str(nodes), "--ntasks-per-node", "1"]
    # Each torchrun may use all processors and GPUs of the job on its node.
    srun += ["--cpu-bind=none", "--kill-on-bad-exit=1"]
    return [*srun, *torchrun, "--nnodes", str(nodes), *meeting, *train]


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and become the command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--processes", type=int, default=1, help="processes on each node, usually its GPUs; 0 is 1")
    parser.add_argument("--nodes", type=int, help="nodes of the job (default: those that Slurm's variables name)")
    parser.add_argument(
        "--patience",
        type=int,
        default=PATIENCE_SECONDS,
        help="seconds that processes under torchrun have for a checkpoint after a signal",
    )
    parser.add_argument(
        "--recompute-activations",
        type=int,
        choices=(0, 1),
        default=0,
        help="1 adds the option of this name to ARGUMENTs",
    )
    parser.add_argument("training", nargs="*", metavar="ARGUMENT", help="arguments of the training program, after --")
    options = parser.parse_args(arguments)
    training = [*options.training, *(["--recompute-activations"] if options.recompute_activations else [])]
    command = launch_command(options.processes, training, os.environ, nodes=options.nodes, patience=options.patience)
    os.execvp(command[0], command)  # noqa: S606 - a list of arguments, no shell


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
