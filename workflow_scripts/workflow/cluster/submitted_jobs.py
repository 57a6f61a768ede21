"""Submitted jobs: their names, what they write, and the notes by which a later Snakemake knows those still running.

A note is a file ``.snakemake/slurm_jobs/NAME``, written before the job is submitted and removed once its end was seen.
The name of a job is its own, so that a submission whose answer was lost can be found in the queue.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(".snakemake") / "slurm_jobs"
LONGEST_NAME = 120  # of the readable part; Slurm allows 1024
CLOCK_SECONDS = 5.0  # by which the clocks of two machines may differ
# Lines of slurmstepd, with and without control groups, and of srun.
OUT_OF_MEMORY = re.compile(
    r"slurmstepd.*(exceeded (job )?memory limit|oom.?kill)|srun: error: .*Out Of Memory", re.IGNORECASE
)


@dataclass(frozen=True)
class Note:
    """What is known of a submitted job: what it is (a digest), its outputs, its Slurm log with %j for the number."""

    name: str
    key: str
    outputs: list[str]
    log: str
    submitted: float = field(default_factory=time.time)

    def write(self, folder: Path = FOLDER) -> None:
        """Write the note."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.name).write_text(json.dumps(asdict(self)), encoding="utf-8")

    def remove(self, folder: Path = FOLDER) -> None:
        """Remove the note."""
        (folder / self.name).unlink(missing_ok=True)


def read_notes(folder: Path = FOLDER) -> dict[str, Note]:
    """Notes by name; one that was cut short by a full disk is passed over."""
    notes = {}
    for path in sorted(folder.glob("*")):
        try:
            notes[path.name] = Note(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            continue
    return notes


def members(job: Any) -> list[Any]:
    """The jobs of a group in the order in which they can run, or the job itself."""
    return [each for level in job.toposorted for each in sorted(level)] if job.is_group() else [job]


def name_of(prefix: str, job: Any) -> str:
    """Name for Slurm: prefix, rules and wildcards, and a part that no other submission has."""
    parts = members(job)
    values: dict[str, list[str]] = {}
    for part in parts:
        for key, value in part.wildcards.items():
            values.setdefault(key, []).append(str(value))
    words = ["+".join(dict.fromkeys(part.rule.name for part in parts))]
    words += ["+".join(sorted(filter(None, set(found)), key=by_number)) for found in values.values()]
    readable = re.sub(r"[^A-Za-z0-9._+-]", "-", "_".join(filter(None, words)))[:LONGEST_NAME]
    return f"{prefix or 'snakemake'}_{readable}_{uuid.uuid4().hex[:8]}"


def by_number(text: str) -> tuple[float, str]:
    """Sort key that puts numbers in their order, before words."""
    return (float(text) if text.isdecimal() else math.inf, text)


def key_of(job: Any) -> str:
    """Digest of what a job reads, writes and is given; resources, which grow with the attempts, are left out."""
    parts = [
        [part.rule.name, sorted(map(str, part.input)), sorted(map(str, part.output)), str(part.non_derived_params)]
        for part in members(job)
    ]
    return hashlib.sha256(json.dumps(sorted(parts)).encode()).hexdigest()


def outputs_of(job: Any) -> list[str]:
    """Files that a job writes."""
    return sorted(str(path) for part in members(job) for path in part.output)


def is_new(paths: Iterable[str], since: float) -> bool:
    """True when all files exist and were written after the time ``since``."""
    try:
        return all(Path(path).stat().st_mtime >= since - CLOCK_SECONDS for path in paths)
    except OSError:
        return False


def ran_out_of_memory(log: Path) -> bool:
    """True when a job's Slurm log says so; Slurm may call the job FAILED because the program in it was killed."""
    try:
        return OUT_OF_MEMORY.search(log.read_text(encoding="utf-8", errors="replace")) is not None
    except OSError:
        return False


@dataclass(frozen=True)
class Progress:
    """How far a job came: its parts that are finished, that were started and are not, and that never started."""

    finished: Sequence[Any]
    broken: Sequence[Any]
    waiting: Sequence[Any]


def progress_of(job: Any, since: float) -> Progress:
    """Look at outputs and logs for how far the parts of a group came; a job that is no group is broken."""
    parts = members(job)
    if len(parts) == 1:
        return Progress((), parts, ())
    finished = [part for part in parts if is_new(map(str, part.output), since)]
    left = [part for part in parts if part not in finished]
    broken = [part for part in left if part.log and is_new(map(str, part.log), since)]
    return Progress(finished, broken, [part for part in left if part not in broken])


def request_text(resources: Any) -> str:
    """Memory, time and GPUs of a request.

    >>> request_text({"mem_mb": 8000, "runtime": 90, "gpu": 1})
    '8,000 MB, 90 min, 1 GPU'
    """
    named = (("mem_mb", "MB"), ("runtime", "min"), ("gpu", "GPU"))
    return ", ".join(
        f"{resources.get(key):,} {unit}"
        for key, unit in named
        if isinstance(resources.get(key), int) and resources.get(key)
    )


def next_attempt(job: Any) -> str:
    """What the next attempt of a job that failed will request."""
    if job.attempt > job.restart_times:
        return "no attempt is left"
    job.attempt += 1  # resources are functions of it
    try:
        return f"attempt {job.attempt} of {job.restart_times + 1} will request {request_text(job.resources)}"
    finally:
        job.attempt -= 1
