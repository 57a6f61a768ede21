"""Works ahead: one process scores further checkpoints of its model, so that they need no start of their own.

A job that has scored its checkpoint goes on with checkpoints that the run wants too, that lie fetched on the disk, are
not scored yet, and that no other process is working on (a lock per checkpoint). Their scores wait beside their place
(jobs.py) until their own job comes, finds that they are exactly what it would compute, and moves them. It never waits
for anything, never makes its own job fail because of another checkpoint, and never writes another job's outputs.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.errors import EvaluationError, PipelineError
from workflow_scripts.evaluation.scoring.score_files import read_run
from workflow_scripts.evaluation.scoring.score_plan import score_all
from workflow_scripts.evaluation.scoring.scoring_job import Job, arithmetic, discard, make_job, unpublished
from workflow_scripts.storage.locks import exclusive

RECEIPT = "fetched.json"
LOGGER = logging.getLogger(__name__)


def work_ahead(own: Job, options: argparse.Namespace) -> int:
    """Score up to ``options.ahead`` - 1 siblings of ``own``; returns how many were.

    What is fetched meanwhile counts: the list is looked at again after each.
    """
    left = siblings_of(own, options)
    scored = 0
    while scored < options.ahead - 1:
        folder = next((each for each in left if stamp(each) is not None), None)
        if folder is None:
            break
        left.remove(folder)
        scored += try_sibling(own, folder, options)
    return scored


def siblings_of(own: Job, options: argparse.Namespace) -> list[Path]:
    """Folders of the other checkpoints of the model that are wanted, those that follow ``own`` first.

    They are those of ``options.siblings`` when it is given: the jobs that share an allocation; else those of the run.
    """
    wanted = options.siblings if options.siblings is not None else folders_of_run(own.checkpoint, options.run)
    same = [folder for folder in wanted if folder.parent == own.checkpoint.parent]
    here = same.index(own.checkpoint) if own.checkpoint in same else 0
    return [folder for folder in [*same[here:], *same[:here]] if folder != own.checkpoint]


def folders_of_run(own: Path, path: Path | None) -> list[Path]:
    """Folders of all checkpoints of a model that the run in ``path`` wants; none while the file is not there."""
    if path is None or not path.is_file():
        return []
    try:
        steps = read_run(path)["steps"].get(own.parent.name, [])
    except PipelineError as error:
        LOGGER.info("works on one checkpoint only: %s", error)
        return []
    return [own.parent / f"step{step}" for step in steps]


def stamp(folder: Path) -> tuple[int, int] | None:
    """What changes when a checkpoint is fetched again; None while it is not there."""
    try:
        facts = (folder / RECEIPT).stat()
    except OSError:
        return None
    return facts.st_ino, facts.st_mtime_ns


def try_sibling(own: Job, folder: Path, options: argparse.Namespace) -> bool:
    """Score the checkpoint in ``folder`` unless another process is at it; True when that was done.

    Whatever is wrong with it is left to its own job, which will say so.
    """
    outputs = [output.parent.parent / folder.name / output.name for output in own.outputs]
    try:
        with exclusive(outputs[0], patience=0) as holding:
            return holding.proved and score_sibling(own, folder, outputs, options)
    except (PipelineError, OSError) as error:
        LOGGER.info("%s: left to its own job (%s)", folder, error)
        return False


def score_sibling(own: Job, folder: Path, outputs: Sequence[Path], options: argparse.Namespace) -> bool:
    """Score a checkpoint whose lock is held; False when there is nothing to do.

    Raises the error of a checkpoint that cannot be scored, EvaluationError for one that was fetched anew meanwhile.
    """
    fetched = stamp(folder)
    job = make_job(folder, own.plans, outputs, arithmetic(options.dtype, options.device, options.bootstrap_iters))
    if fetched is None or job.is_done:
        return False
    for error in score_all([job], options, unpublished).values():
        raise error
    if stamp(folder) != fetched:
        for output in outputs:
            discard(output)
        raise EvaluationError(f"{folder}: was fetched anew while it was scored")
    LOGGER.info("%s: scored ahead of its own job", folder)
    return True
