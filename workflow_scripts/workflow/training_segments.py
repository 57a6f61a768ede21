"""Segments of a training: each is one job that ends at a checkpoint of the model's grid.

``training.segments`` of a run says where they end: ``whole`` (one job per model), a number of checkpoints per job, or
Hub steps in the language of ``steps``. The weights at the end do not depend on it. A segment is named by the trainer's
iteration at its end, as its checkpoint is. Pure functions of the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence

from workflow_scripts.errors import ConfigError
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import Run, select_steps

WHOLE = "whole"


def segment_ends(model: Model, wanted: str | int | Sequence[str | int]) -> tuple[int, ...]:
    """Iterations at which the segments of ``model`` end, rising; the last is the end of its training.

    ``wanted`` is ``whole``, a number of checkpoints per segment (the initialisation is none), or Hub steps. Raises
    ConfigError for a number below 1 and for steps that the model does not have.
    """
    grid = [model.step(hub).iteration for hub in model.steps if hub > 0]
    if wanted == WHOLE:
        return (grid[-1],)
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        if wanted < 1:
            raise ConfigError(f"training.segments is {wanted}; give whole, a number of checkpoints, or a list of steps")
        return (*grid[wanted - 1 : -1 : wanted], grid[-1])
    chosen = {model.step(hub).iteration for hub in select_steps(model, wanted)}
    return tuple(sorted((chosen - {0}) | {grid[-1]}))


def shares(ends: tuple[int, ...]) -> dict[int, float]:
    """Share of the whole training that the segment with each end is.

    >>> shares((1, 4, 8))
    {1: 0.125, 4: 0.375, 8: 0.5}
    """
    return {end: (end - start) / ends[-1] for start, end in zip((0, *ends), ends, strict=False)}


class Segments:
    """The segments of a run's models."""

    def __init__(self, run: Run) -> None:
        """Resolve the run's choice for each of its models; raises ConfigError."""
        wanted = run.section("training").get("segments", WHOLE)
        self.ends = {model.name: segment_ends(model, wanted) for model in run.models} if run.retrains else {}

    def share(self, model: str, end: int | None = None) -> float:
        """Share of the training of ``model`` in the segment that ends at iteration ``end``, by default the last."""
        ends = self.ends.get(model)
        return 1.0 if ends is None else shares(ends).get(ends[-1] if end is None else end, 1.0)

    def longest_share(self, model: str) -> float:
        """Share of the longest segment of ``model``."""
        ends = self.ends.get(model)
        return 1.0 if ends is None else max(shares(ends).values())

    def number(self, model: str) -> int:
        """Number of jobs that train ``model``."""
        return len(self.ends.get(model, ()))
