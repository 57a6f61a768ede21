"""What Slurm's programs answer, and whether an answer only means that Slurm is away for a while."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_ANSWER = 60.0  # of a program of Slurm, in seconds; with the controller away squeue gives up after nine
FIELDS = 6  # of a line of squeue in the format below
FORMAT = "%i|%T|%r|%N|%j|%Z"

LIVE = frozenset((
    "PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STOPPED", "REQUEUED", "REQUEUE_FED",
    "REQUEUE_HOLD", "RESIZING", "RESV_DEL_HOLD", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT",
))  # fmt: skip
# Slurm may put these back into the queue a moment later, as PENDING.
PERHAPS_REQUEUED = frozenset(("NODE_FAIL", "PREEMPTED"))
# Errors of slurm_strerror that pass by themselves: the controller, the database or munge is away or restarting, or the
# user's limit of submitted jobs is reached.
PASSING = re.compile(
    r"unable to contact|connection (refused|reset|timed out)|transport endpoint|timed out|timeout|zero bytes"
    r"|not responding|in standby|temporarily unable|resource temporarily unavailable|persistent connection|munge"
    r"|no route to host|network is unreachable|broken pipe|no answer within|MaxSubmitJob|unable to connect",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class QueuedJob:
    """A job in Slurm's queue: its number, state, why it waits, its nodes, its name and its working directory."""

    number: str
    state: str
    reason: str = ""
    nodes: str = ""
    name: str = ""
    place: str = ""

    @property
    def is_live(self) -> bool:
        """True while Slurm may still run it."""
        return self.state in LIVE


def ask(command: Sequence[str], script: str | None = None, seconds: float = 0) -> tuple[str, str]:
    """What a program of Slurm prints within some seconds, and why it failed; the reason is empty when it did not."""
    seconds = seconds or LONGEST_ANSWER
    try:
        answer = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return "", f"no answer within {seconds:g} s"
    except OSError as error:
        return "", f"{command[0]}: {error.strerror}"
    said = " ".join(answer.stderr.split())[:300] or f"exit code {answer.returncode}"
    return answer.stdout, said if answer.returncode else ""


def passes(reason: str) -> bool:
    """True when a failure says that Slurm is away for a while.

    >>> passes("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)")
    True
    >>> passes("sbatch: error: invalid partition specified: gpus")
    False
    """
    return PASSING.search(reason) is not None


def read_queue(text: str) -> dict[str, QueuedJob]:
    r"""Jobs by number from lines of squeue in FORMAT; other lines are passed over.

    >>> read_queue("7|RUNNING|None|n1|a|/x\nCLUSTER: b\n")
    {'7': QueuedJob(number='7', state='RUNNING', reason='None', nodes='n1', name='a', place='/x')}
    """
    rows = (line.split("|", FIELDS - 1) for line in text.splitlines())
    return {row[0]: QueuedJob(*row) for row in rows if len(row) == FIELDS and row[0][:1].isdecimal()}


def read_accounts(text: str) -> dict[str, QueuedJob]:
    r"""Jobs by number from lines "number|state|nodes" of sacct, which adds who cancelled a job to its state.

    >>> read_accounts("7|CANCELLED by 0|n1\n")
    {'7': QueuedJob(number='7', state='CANCELLED', reason='', nodes='n1', name='', place='')}
    """
    rows = (line.split("|") for line in text.splitlines())
    return {row[0]: QueuedJob(row[0], row[1].split()[0], nodes=row[2]) for row in rows if len(row) == 3 and row[1]}


def queue(user: int, *, name: str = "") -> tuple[dict[str, QueuedJob], str]:
    """Jobs of ``user``, ended ones included as long as the controller remembers them; and why squeue failed."""
    only = ["--name", name] if name else []
    text, reason = ask(["squeue", "--noheader", "--states=all", "--user", str(user), "--format", FORMAT, *only])
    return read_queue(text), reason


def accounts(numbers: Sequence[str]) -> dict[str, QueuedJob]:
    """What the accounting database knows of jobs; nothing where there is none or it is away."""
    listed = ",".join(numbers)
    text, _ = ask(["sacct", "-X", "--noheader", "--parsable2", "--format", "JobIDRaw,State,NodeList", "--jobs", listed])
    return read_accounts(text)


def nodes_out_of_service() -> str:
    """Nodes that are drained or down, with the administrators' reasons; empty for none."""
    text, _ = ask(["sinfo", "--noheader", "--list-reasons", "--format", "%n (%T: %E)"])
    lines = sorted(set(filter(None, map(str.strip, text.splitlines()))))
    return ", ".join(lines[:4]) + (f" and {len(lines) - 4} more" if len(lines) > 4 else "")
