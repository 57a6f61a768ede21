"""One run at a time in a working directory and in a results folder; a second one is told who was first.

The first run holds locks of the operating system on ``.snakemake/run.lock`` and ``results/.run.lock`` as long as it
lives, so that nothing stale is left however it ends; the files say who it is. The second lock keeps apart two checkouts
whose ``results`` is the same folder. Snakemake's own lock is taken later, names nobody and outlives a killed run.
Plans, reports and the jobs of a run take no lock. Where the file system has no such locks, Snakemake's is the only one.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from workflow_scripts import cli
from workflow_scripts.errors import StorageError

LOCK = Path(".snakemake") / "run.lock"
RESULTS = Path("results")
RESULTS_LOCK = RESULTS / ".run.lock"
SNAKEMAKE_LOCKS = Path(".snakemake") / "locks"
QUICK = frozenset(("-n", "--dry-run", "--dryrun", "--nolock"))
# Options of Snakemake with which it looks or tidies, and runs no job.
LOOKING = (
    "dryrun", "nolock", "unlock", "lint", "list_target_rules", "list_rules", "print_compilation", "dag", "rulegraph",
    "filegraph", "d3dag", "containerize", "report", "reporter", "generate_unit_tests", "cleanup_metadata",
    "conda_cleanup_envs", "conda_create_envs_only", "list_conda_envs", "cleanup_shadow", "container_cleanup_images",
    "list_changes", "list_input_changes", "list_params_changes", "list_untracked", "summary", "detailed_summary",
    "archive", "delete_all_output", "delete_temp_output",
)  # fmt: skip
# Open files of locks that this process holds; closing one would free it.
HELD: list[int] = []


@dataclass(frozen=True)
class Holder:
    """Who runs: number of the process, its machine, when it started (local time), and its working directory."""

    process: int
    machine: str
    started: str
    folder: str = ""

    def __str__(self) -> str:
        """As it stands in messages."""
        place = f" in {self.folder}" if self.folder else ""
        return f"process {self.process} on {self.machine}, started {self.started}{place}"


def runs_jobs(words: Sequence[str]) -> bool:
    """True when the command line ``words`` (program first) is a Snakemake that runs jobs and locks its folder.

    >>> runs_jobs(["/env/bin/pytest"]), runs_jobs(["/env/bin/snakemake", "-n"])
    (False, False)
    """
    if not is_snakemake(words) or QUICK & set(words):
        return False
    from snakemake.cli import get_argument_parser

    options, _ = get_argument_parser().parse_known_args(list(words[1:]))
    return not any(getattr(options, name, None) for name in LOOKING)


def targets(words: Sequence[str]) -> list[str]:
    """Targets on the command line ``words``; none for another program than Snakemake.

    >>> targets(["/env/bin/snakemake", "-c2", "report"]), targets(["/env/bin/pytest", "x"])
    (['report'], [])
    """
    if not is_snakemake(words):
        return []
    from snakemake.cli import get_argument_parser

    options, _ = get_argument_parser().parse_known_args(list(words[1:]))
    return sorted(options.targets or ())


def is_snakemake(words: Sequence[str]) -> bool:
    """True when the program of the command line ``words`` is Snakemake.

    >>> is_snakemake(["/env/bin/snakemake"]), is_snakemake(["/env/snakemake/__main__.py"]), is_snakemake(["pytest"])
    (True, True, False)
    """
    program = Path(words[0])
    return program.name == "snakemake" or program.parts[-2:] == ("snakemake", "__main__.py")


def read_holder(folder: Path, lock: Path = LOCK) -> Holder | None:
    """Who took ``lock`` of ``folder`` last; None when nobody did or the run ended well."""
    try:
        return Holder(**json.loads((folder / lock).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def take(folder: Path, path: Path = LOCK) -> int | None:
    """Open file that holds the lock ``path`` of ``folder``; None where it cannot be had, which Snakemake says best.

    Raises StorageError that names the run which is alive there.
    """
    try:
        (folder / path).parent.mkdir(exist_ok=True)
        lock = os.open(folder / path, os.O_RDWR | os.O_CREAT, 0o664)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        place = folder if path == LOCK else (folder / path).parent.resolve()
        who = read_holder(folder, path) or "it is just starting"
        raise StorageError(
            f"{place}: a run is active here ({who}); stop it, wait for it to finish, or use another folder"
        ) from None
    except OSError:
        os.close(lock)
        return None
    return lock


def refuse_while_held(folder: Path) -> None:
    """Raise StorageError that names the run which is alive in ``folder``, on whatever machine."""
    for path in (LOCK, RESULTS_LOCK):
        if (folder / path).exists() and (lock := take(folder, path)) is not None:
            os.close(lock)


def claim(folder: Path, words: Sequence[str]) -> None:
    """Take the locks of ``folder`` for the rest of this process, if ``words`` is a command that runs jobs.

    Raises StorageError that names the run which is alive there or writes the same results, or the killed one that left
    Snakemake's lock; and when nothing can be written there, where Snakemake would end in a traceback.
    """
    if not runs_jobs(words):
        return
    heed_a_lost_login()
    lock = take(folder)
    if lock is None:
        return
    refuse_after_a_killed_run(folder, lock)
    sign(lock, folder)
    if (shared := take(folder, RESULTS_LOCK)) is not None:
        sign(shared, folder)


def heed_a_lost_login() -> None:
    """Let SIGHUP do what SIGTERM does to Snakemake: start no further job, wait for those that run, release the lock.

    Left alone it ends Snakemake at once, and jobs that outlive it write on beside those of the next run. Under nohup it
    is ignored, and stays so.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, pass_on)


def pass_on(_number: int, _frame: FrameType | None) -> None:
    """Handle SIGHUP."""
    os.kill(os.getpid(), signal.SIGTERM)


def refuse_after_a_killed_run(folder: Path, lock: int) -> None:
    """Raise StorageError when Snakemake's lock of a run that lives no more is left; its jobs may still write."""
    try:
        is_left = any((folder / SNAKEMAKE_LOCKS).iterdir())
    except OSError:
        is_left = False
    if not is_left:
        return
    os.close(lock)
    raise StorageError(
        f"{folder}: a run was killed here ({read_holder(folder) or 'it left no name'}) and left its lock; "
        "`make unlock` cancels any jobs it left on a cluster and removes the lock"
    )


def sign(lock: int, folder: Path) -> None:
    """Write who holds ``lock`` from ``folder``, and keep it open."""
    me = Holder(os.getpid(), socket.gethostname(), time.strftime("%Y-%m-%d %H:%M:%S"), str(folder))
    HELD.append(lock)
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(asdict(me)).encode(), 0)
    except OSError as error:
        error.filename = str(LOCK.parent)
        raise StorageError(cli.refusal(error)) from None
