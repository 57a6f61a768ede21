"""The order of a sweep over checkpoints, and the window that bounds how many of them lie on the disk.

A sweep goes through the steps of a model by bisection in log-step: the last and the first, then always the middle of
the widest gap, so that an interrupted sweep is already a full curve at some resolution. The disk budget is cut into
slots of one checkpoint. A slot is used by one checkpoint after the other, each fetched only when the one before it in
the same slot has been scored and released: so the number on the disk never exceeds the number of slots, whatever the
scheduler does, and no job waits for a later one. Pure functions of their arguments; sizes are in bytes.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from workflow_scripts.errors import ConfigError
from workflow_scripts.suite.experiment_files import (
    experiments_of,
    memorization_steps,
    trace_steps,
    traced_models,
)
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import Run, select_steps

BYTES_OF = {"float16": 2, "bfloat16": 2, "float32": 4}
# Tokenizer, configuration and hashes: at most 3 MB in the suite's repositories.
COMPANION_BYTES = 4_000_000
Checkpoint = tuple[str, int]


def bisection_order(steps: Sequence[int]) -> list[int]:
    """Steps from coarse to fine: last, first, then the step nearest to the middle of the widest gap in log(1 + step).

    >>> bisection_order([0, 1, 2, 4, 8, 16])
    [16, 0, 4, 1, 8, 2]
    """
    ordered = sorted(set(steps))
    if len(ordered) < 3:
        return ordered[::-1]
    place = [math.log1p(step) for step in ordered]
    chosen = [len(ordered) - 1, 0]
    gaps: list[tuple[float, int, int]] = []

    def push(left: int, right: int) -> None:
        if right - left > 1:
            heapq.heappush(gaps, (place[left] - place[right], left, right))

    push(0, len(ordered) - 1)
    while gaps:
        _, left, right = heapq.heappop(gaps)
        middle = min(range(left + 1, right), key=lambda k: (abs(2 * place[k] - place[left] - place[right]), k))
        chosen.append(middle)
        push(left, middle)
        push(middle, right)
    return [ordered[index] for index in chosen]


def checkpoint_bytes(model: Model) -> int:
    """Upper bound of one checkpoint on the disk: weights, the causal masks that old files carry, and small files.

    The masks are one byte for each pair of positions in each layer: 25 MB of pythia-70m's 166 MB.
    """
    masks = model.layers * model.sequence_length**2
    return model.parameters * BYTES_OF[model.published_dtype] + masks + COMPANION_BYTES


@dataclass(frozen=True)
class Sweep:
    """What a disk budget does to a run: which checkpoints each one waits for, and which are never deleted.

    Both are empty for a run without a budget.
    """

    waits: Mapping[Checkpoint, tuple[Checkpoint, ...]]
    kept: frozenset[Checkpoint]


@dataclass(frozen=True)
class Fragment:
    """Room on the disk: ``size`` bytes that become free when ``holder`` is released; ``None``: free from the start."""

    size: int
    holder: Checkpoint | None


def take(fragments: deque[Fragment], size: int) -> tuple[Checkpoint, ...]:
    """Take ``size`` bytes from the front of ``fragments``; returns the checkpoints that must be released before."""
    holders: dict[Checkpoint, None] = {}
    while size > 0:
        first = fragments.popleft()
        used = min(first.size, size)
        size -= used
        if first.holder is not None:
            holders[first.holder] = None
        if first.size > used:
            fragments.appendleft(Fragment(first.size - used, first.holder))
    return tuple(holders)


def window(
    sizes: Mapping[str, int], steps: Mapping[str, Sequence[int]], kept: Collection[Checkpoint], budget: int
) -> dict[Checkpoint, tuple[Checkpoint, ...]]:
    """For each checkpoint, those that must be released before it may be fetched.

    ``sizes`` is the size in bytes of one checkpoint of each model, ``steps`` the models of the sweep in their order
    with their steps, ``kept`` the checkpoints that are never released; room for these is set aside first. Raises
    ConfigError when the budget does not hold the kept ones and one more of the largest model.
    """
    reserved = sum(sizes[model] for model, _ in kept)
    fragments: deque[Fragment] = deque([Fragment(max(budget - reserved, 0), None)])
    waits: dict[Checkpoint, tuple[Checkpoint, ...]] = {}
    for model, wanted in steps.items():
        moving = [(model, step) for step in bisection_order(wanted) if (model, step) not in kept]
        waits |= {(model, step): () for step in wanted if (model, step) in kept}
        slots = min(slots_of(model, sizes[model], budget - reserved), len(moving)) if moving else 0
        for key in moving[:slots]:
            waits[key] = take(fragments, sizes[model])
        for before, key in zip(moving, moving[slots:], strict=False):
            waits[key] = (before,)
        fragments.extend(Fragment(sizes[model], key) for key in moving[len(moving) - slots :])
    return waits


def slots_of(model: str, size: int, room: int) -> int:
    """Checkpoints of one model that fit into ``room`` bytes at once; raises ConfigError when none does."""
    if room < size:
        raise ConfigError(
            f"checkpoints.disk_budget_gb leaves {max(room, 0) / 1e9:.4g} GB beside the kept checkpoints, but one "
            f"checkpoint of {model} takes {size / 1e9:.4g} GB; raise the budget or shorten checkpoints.keep"
        )
    return room // size


def kept_checkpoints(run: Run) -> frozenset[Checkpoint]:
    """Checkpoints that a disk budget never deletes: those that the run names, and those with a second use.

    A second use have the checkpoint for crosschecks, those of which memorization is measured and those of traced texts.
    """
    wanted = run.section("checkpoints").get("keep") or []
    kept = {
        (model.name, step)
        for model in run.models
        for step in (select_steps(model, wanted) if wanted != [] else ())
        if step in run.steps[model.name]
    }
    if run.models:
        first = run.models[0].name
        kept.add((first, run.steps[first][-1]))
    if "memorization" in experiments_of(run):
        settings = run.section("memorization")
        kept |= {(model.name, step) for model in run.models for step in memorization_steps(model, settings)}
    if "traces" in experiments_of(run):
        settings = run.section("traces")
        traced = traced_models(run.models, settings)
        kept |= {(each.name, step) for each in traced for step in trace_steps(each, settings, run.steps[each.name])}
    return frozenset(kept)


def plan_sweep(run: Run) -> Sweep:
    """The sweep of ``run``; raises ConfigError when its disk budget is too small."""
    budget = run.section("checkpoints").get("disk_budget_gb")
    if budget is None:
        return Sweep({}, frozenset())
    kept = kept_checkpoints(run)
    sizes = {model.name: checkpoint_bytes(model) for model in run.models}
    return Sweep(window(sizes, run.steps, kept, int(float(budget) * 1e9)), kept)
