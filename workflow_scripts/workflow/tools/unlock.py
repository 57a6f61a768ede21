r"""Release the lock of a working directory after a run was killed, once nothing that it started writes there.

A killed Snakemake leaves its jobs running on the cluster. A second run that started before they are gone would let two
jobs write the same output, so they are cancelled first and waited for; what they had finished is kept, because every
program writes whole files or nothing. Refuses while a Snakemake is alive in this directory or one of its programs is,
such as a training that outlived its Snakemake, and names it.

With --keep-jobs they continue instead, and the next run of profiles/slurm adopts them; its head.sbatch uses that.

Example:
  python -m workflow_scripts.workflow.tools.unlock
"""

from __future__ import annotations

import itertools
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import StorageError
from workflow_scripts.workflow.cluster import slurm_answers
from workflow_scripts.workflow.tools import one_run

JOB_PREFIX = "pythia_"  # slurm-jobname-prefix of the profiles, and what the plugin puts after it
FIELDS = 4  # of a line of squeue
LONGEST_WAIT = 120.0
# Of the Snakemake inside a job of the killed run, where this machine is also a compute node; of plans.
HARMLESS = frozenset((b"--target-jobs", b"-n", b"--dry-run", b"--dryrun", b"--lint"))
PACKAGE = "workflow_scripts"
LOOKING = ("suite", "workflow")  # stages whose programs look at a run and write no result of it
SLURM_LOGS = "results/logs/slurm"  # slurm-logdir of the profiles: made with the first job that goes to a cluster
FINISHED = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
    *("PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"),
)


@dataclass(frozen=True)
class ClusterJob:
    """A job of ours in Slurm's queue."""

    number: str
    state: str


def read_queue(text: str, folder: Path) -> list[ClusterJob]:
    r"""Unfinished jobs of this workflow in ``folder``, from lines "number|name|state|working directory".

    Other lines are passed over: with several clusters (SLURM_CLUSTERS) squeue puts empty lines and headings between.
    The working directory may be reached through links, as where homes are mounted on demand.

    >>> read_queue("7|pythia_ab|RUNNING|/a\n8|other|RUNNING|/a\n9|pythia_ab|RUNNING|/b\n", Path("/a"))
    [ClusterJob(number='7', state='RUNNING')]
    """
    found = []
    for line in text.splitlines():
        number, *rest = line.split("|", 3)
        if len(rest) != FIELDS - 1 or not number.isdecimal():
            continue
        name, state, place = rest
        if name.startswith(JOB_PREFIX) and state not in FINISHED and same_folder(place, folder):
            found.append(ClusterJob(number, state))
    return found


def same_folder(place: str, folder: Path) -> bool:
    """True when ``place`` leads to ``folder``; a path that this machine cannot follow is compared by its text."""
    return os.path.realpath(place) == os.path.realpath(folder)


def queued(folder: Path) -> list[ClusterJob]:
    """Unfinished jobs of this workflow in ``folder``; none without Slurm. Raises StorageError when squeue fails.

    Where squeue fails and no job ever went from ``folder`` to a cluster, there is nothing to end: a workstation with
    Slurm's programs and no cluster, or one whose controller is down.
    """
    if not shutil.which("squeue"):
        return []
    command = ["squeue", "--noheader", "--user", str(os.getuid()), "--format", "%A|%j|%T|%Z"]
    text, reason = slurm_answers.ask(command)
    if reason and not (folder / SLURM_LOGS).exists():
        return []
    if reason:
        raise StorageError(
            f"squeue failed ({reason}), so jobs of a killed run may still write here; "
            "retry when it works, or remove .snakemake/locks by hand if you are sure that no such job is left"
        )
    return read_queue(text, folder)


def living_run(folder: Path, processes: Path = Path("/proc")) -> str:
    """Process number of a Snakemake that works in ``folder`` on this machine, or an empty text."""
    for entry in processes.glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            place = (entry / "cwd").readlink()
        except OSError:
            continue  # it ended, or belongs to somebody else
        names = {Path(os.fsdecode(word)).name for word in words[:3]}
        if place == folder and "snakemake" in names and not HARMLESS & set(words):
            return entry.name
    return ""


def living_program(folder: Path, processes: Path = Path("/proc")) -> str:
    """Process number and name of a program of ours that works in ``folder`` on this machine, or an empty text.

    Jobs of a cluster are left out: they are ended by the cluster.
    """
    for entry in sorted(processes.glob("[0-9]*"), key=lambda path: int(path.name)):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            place = (entry / "cwd").readlink()
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended, or belongs to somebody else
        program = program_of(words)
        if place == folder and program and not any(word.startswith(b"SLURM_JOB_ID=") for word in environment):
            return f"process {entry.name}, {program}"
    return ""


def program_of(words: Sequence[bytes]) -> str:
    """The program of ours that a command line runs and that writes results, or an empty text.

    >>> program_of([b"python", b"-m", b"workflow_scripts.training.retrain", b"--recipe"])
    'workflow_scripts.training.retrain'
    >>> program_of([b"python", b"-m", b"workflow_scripts.workflow.tools.unlock"])
    ''
    """
    modules = [after for word, after in itertools.pairwise(words) if word in (b"-m", b"--module")]
    names = [name for name in map(os.fsdecode, modules) if name.startswith(f"{PACKAGE}.")]
    return next((name for name in names if name.split(".")[1] not in LOOKING), "")


def end_jobs(folder: Path) -> int:
    """Cancel the jobs of a killed run and wait until none is left; returns how many there were."""
    jobs = queued(folder)
    if not jobs:
        return 0
    slurm_answers.ask(["scancel", *(job.number for job in jobs)])  # where it fails, the jobs stay and are named below
    deadline = time.monotonic() + LONGEST_WAIT
    while left := queued(folder):
        if time.monotonic() > deadline:
            raise StorageError(
                f"Slurm job {left[0].number} is still {left[0].state}; wait for it and rerun this command"
            )
        time.sleep(1)
    return len(jobs)


def refuse_while_alive(folder: Path, processes: Path = Path("/proc")) -> None:
    """Raise StorageError that names the run which is alive in ``folder``, if there is one.

    Beside the lock, processes of this machine are looked at: for file systems that have no locks, and for programs that
    outlived their run.
    """
    one_run.refuse_while_held(folder)
    if number := living_run(folder, processes):
        raise StorageError(
            f"{folder}: a run is active here (process {number} on {socket.gethostname()}); stop it or wait "
            f"for it to finish"
        )
    if program := living_program(folder, processes):
        raise StorageError(
            f"{folder}: a program of a run is active here ({program}, on {socket.gethostname()}); wait for "
            f"it to finish, or stop "
            "it with kill and its number, and rerun this command"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """End what is left of a killed run and unlock."""
    parser = cli.parser(__doc__)
    parser.add_argument("--ask", action="store_true", help="only fail if a run is active here; change nothing")
    keep = "leave the jobs of a killed run on the cluster; the next run adopts them"
    parser.add_argument("--keep-jobs", action="store_true", help=keep)
    options = parser.parse_args(arguments)
    folder = Path.cwd()
    refuse_while_alive(folder)
    if options.ask:
        return
    ended = 0 if options.keep_jobs else end_jobs(folder)
    subprocess.run([sys.executable, "-m", "snakemake", "--unlock", "--quiet", "all"], check=True)
    cli.say(f"unlocked; {ended} Slurm jobs of the killed run were cancelled" if ended else "unlocked")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
