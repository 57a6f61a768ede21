"""Checkpoints from a run's hidden working folder as files under their final names.

A run trains in ``<output-dir>/.state``; when it has reached its goal, each finished file gets a second name (a hard
link, which takes no space) in ``<output-dir>/step<N>/``. The working folder stays: a workflow engine deletes a job's
outputs before it starts the job again, be it because one file was lost or because the engine was killed before it heard
of the end. Then everything is linked again in a second and nothing is trained twice. Delete the whole output folder to
get its space back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from workflow_scripts.errors import MissingInputError
from workflow_scripts.storage.hard_links import copy_whole, link_file
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.checkpoint import METRICS, OPTIMIZER, STATE, WEIGHTS, RunState
from workflow_scripts.training.run.whole_folders import whole_folder

WORKING = ".state"


def working_folder(output: Path) -> Path:
    """Where the run whose results go to ``output`` keeps its checkpoints while it trains."""
    return output / WORKING


def deliver(working: Path, output: Path, steps: Iterable[int], resumable: Collection[int]) -> None:
    """Link the checkpoints of ``steps`` to ``output``; those of ``resumable`` with all that continuing takes."""
    for step in steps:
        source, target = checkpoint.step_folder(working, step), checkpoint.step_folder(output, step)
        for name in (WEIGHTS, STATE):
            link_file(source / name, target / name)
        if step in resumable:
            deliver_moments(source, target / OPTIMIZER)
            copy_whole(source / METRICS, target / METRICS)


def deliver_moments(source: Path, target: Path) -> None:
    """Make ``target`` the moments of the checkpoint in ``source``: one file, however many processes wrote them.

    Before the first update there are no moments; then the file only holds the random state.
    """
    if (source / checkpoint.OPTIMIZER_PIECES).is_dir():
        from workflow_scripts.training.run.sharded_state import join_pieces

        join_pieces(source / checkpoint.OPTIMIZER_PIECES, target)
        return
    if not (source / OPTIMIZER).is_file():
        checkpoint.save_random_state(source / OPTIMIZER)
    link_file(source / OPTIMIZER, target)


def adopt(working: Path, before: Path) -> int:
    """Put the checkpoint in ``before``, where the segment before ended, into ``working``; returns its step.

    Nothing is done where it is there already. Raises MissingInputError when it is no checkpoint.
    """
    if not (before / STATE).is_file():
        raise MissingInputError(f"{before}: no checkpoint of a run ({STATE} is missing); train the segment before it")
    step = RunState.read(before / STATE).step
    own = checkpoint.step_folder(working, step)
    if (own / STATE).is_file() and (own / STATE).read_bytes() == (before / STATE).read_bytes():
        return step
    with whole_folder(own) as temporary:
        for name in (WEIGHTS, OPTIMIZER, METRICS, STATE):
            link_file(before / name, temporary / name)
    return step
