"""Segments of a training: each is one job that ends at a checkpoint of the model's grid, on the devices chosen here.

``training.segments`` of a run says where they end: ``auto`` (as many checkpoints as half the longest job of the site
trains), ``whole`` (one job per model), a number of checkpoints per job, or Hub steps in the language of ``steps``. The
weights at the end do not depend on it. A segment is named by the trainer's iteration at its end, as its checkpoint is.
"""

from __future__ import annotations

from collections.abc import Sequence

from workflow_scripts.errors import ConfigError
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import Run, select_steps
from workflow_scripts.workflow.requests.cluster_site import Site, read_site
from workflow_scripts.workflow.requests.training_requests import (
    CPU_RATE,
    Choices,
    Devices,
    choose_devices,
    training_seconds,
)

AUTO, WHOLE = "auto", "whole"
# A request is twice what arithmetic expects; tiny layers on a core reach a quarter of the rate of large ones.
SAFETY = 2.0
SLOW_CORE = 4.0


def choices_of(run: Run) -> Choices:
    """What the run says about its trainings and is no part of a recipe."""
    training = run.section("training")
    return Choices(training.get("micro_batch"), training.get("recompute_activations"), training.get("gpus"))


def devices_of(run: Run, model: Model, site: Site) -> Devices | None:
    """GPUs and nodes on which ``model`` trains; None for a run on a CPU."""
    if run.settings.get("device", "cpu") == "cpu":
        return None
    return choose_devices(model, site.cluster, choices_of(run))


def expected_seconds(run: Run, model: Model, site: Site) -> float:
    """Seconds of the whole training on the devices chosen for it."""
    devices = devices_of(run, model, site)
    if devices is None:
        return SLOW_CORE * training_seconds(model, CPU_RATE)
    return training_seconds(
        model, site.rate(model.training_facts.training_dtype), devices.gpus, recompute=devices.recompute
    )


def share_of_a_job(run: Run, model: Model, site: Site) -> float:
    """Share of the training that a job may be expected to do, so that twice its time is within the site's limit."""
    devices = devices_of(run, model, site)
    limit = site.longest_minutes(0 if devices is None else devices.gpus)
    return 60.0 * limit / SAFETY / max(expected_seconds(run, model, site), 1.0)


def segment_ends(model: Model, wanted: str | int | Sequence[str | int], share: float = 1.0) -> tuple[int, ...]:
    """Iterations at which the segments of ``model`` end, rising; the last is the end of its training.

    ``wanted`` is ``auto`` (segments of at most ``share`` of the training, or of one checkpoint), ``whole``, a number of
    checkpoints per segment (the initialisation is none), or Hub steps. Raises ConfigError for a number below 1 and for
    steps that the model does not have.
    """
    grid = [model.step(hub).iteration for hub in model.steps if hub > 0]
    if wanted == WHOLE:
        return (grid[-1],)
    if wanted == AUTO:
        return longest_within(grid, share)
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        if wanted < 1:
            raise ConfigError(
                f"training.segments is {wanted}; give auto, whole, a number of checkpoints, or a list of steps"
            )
        return (*grid[wanted - 1 : -1 : wanted], grid[-1])
    chosen = {model.step(hub).iteration for hub in select_steps(model, wanted)}
    return tuple(sorted((chosen - {0}) | {grid[-1]}))


def longest_within(grid: Sequence[int], share: float) -> tuple[int, ...]:
    """Ends of segments that are as long as ``share`` of the grid's end allows, and at least one checkpoint long.

    >>> longest_within([1, 2, 4, 8, 10], 0.45), longest_within([1, 2, 4, 8, 10], 0.1), longest_within([5, 10], 1.0)
    ((4, 8, 10), (1, 2, 4, 8, 10), (10,))
    """
    ends, start = [], 0
    for here, following in zip(grid, [*grid[1:], None], strict=True):
        if following is None or following - start > share * grid[-1]:
            ends.append(here)
            start = here
    return tuple(ends)


def shares(ends: tuple[int, ...]) -> dict[int, float]:
    """Share of the whole training that the segment with each end is.

    >>> shares((1, 4, 8))
    {1: 0.125, 4: 0.375, 8: 0.5}
    """
    return {end: (end - start) / ends[-1] for start, end in zip((0, *ends), ends, strict=False)}


class Segments:
    """The segments of a run's models."""

    def __init__(self, run: Run, site: Site | None = None) -> None:
        """Resolve the run's choice for each of its models; raises ConfigError."""
        place = site or read_site()
        self.ends = {model.name: ends_of(run, model, place) for model in run.models} if run.retrains else {}

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


def ends_of(run: Run, model: Model, site: Site) -> tuple[int, ...]:
    """Where the segments of a model of ``run`` end."""
    wanted = run.section("training").get("segments", AUTO)
    return segment_ends(model, wanted, share_of_a_job(run, model, site) if wanted == AUTO else 1.0)
