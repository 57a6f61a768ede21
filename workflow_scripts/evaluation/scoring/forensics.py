"""What results say about the checkpoints that they came from. Pure functions of tidy tables of scores.

    equal-scores    every number equals that of another checkpoint, a continuous one (perplexity) among them
    score-spike     accuracies of a quarter of the tasks lie far outside those of the steps before and after
    item-count      accuracy and standard error imply another number of items: n = p (1 - p) / stderr^2 + 1
    behaviour       a probe's accuracy is not the published one of the same step

Steps 0 and 1 may be equal: the first update has a learning rate of zero. Columns are those of the table of scores.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pandas as pd

from workflow_scripts.checkpoints.defect_table import Defect

START = frozenset({0, 1})
ACCURACIES = ("acc", "acc_norm")
# A spike must be this many standard errors, and this much, outside the range of its neighbours, on this share of the
# tasks: items made from templates (BLiMP) are not independent, so single tasks jump in sound models.
SPIKE_ERRORS, SPIKE, SPIKE_SHARE = 6.0, 0.1, 0.25
# A mean over n items is a whole number of items divided by n, up to rounding.
WHOLE = 1e-6
# Deviation of a probe from the published curve that chance and the line between published steps explain.
PROBE_ERRORS, CURVE_SLACK = 4.0, 0.02
KEYS = ("model", "step", "shots")


def revision(step: Any) -> str:
    """Revision of a step in a table of numbers."""
    return f"step{int(step)}"


def is_continuous(value: float, items: float) -> bool:
    """True for a number that is no share of ``items``, so that chance does not repeat it."""
    return math.isfinite(value) and math.isfinite(items) and abs(value * items - round(value * items)) > WHOLE * items


def equal_scores(scores: pd.DataFrame) -> Iterator[Defect]:
    """Checkpoints with the same numbers on the same tasks."""
    groups: dict[tuple[int, Hashable], list[tuple[str, int]]] = defaultdict(list)
    for key, rows in scores.groupby(list(KEYS), sort=True):
        model, step, shots = cast("tuple[str, int, int]", key)
        numbers = rows.sort_values(["task", "metric"])
        if any(is_continuous(v, n) for v, n in zip(numbers["value"], numbers["n"], strict=True)):
            content = tuple(zip(numbers["task"], numbers["metric"], numbers["value"], strict=True))
            groups[int(shots), content].append((str(model), int(step)))
    for (shots, _), members in groups.items():
        if len(members) > 1 and not {step for _, step in members} <= START:
            for model, step in members:
                others = ", ".join(f"{m} step{s}" for m, s in members if (m, s) != (model, step))
                yield Defect(model, revision(step), "equal-scores", f"all {shots}-shot numbers are those of {others}")


def score_spikes(scores: pd.DataFrame) -> Iterator[Defect]:
    """Checkpoints whose accuracies lie far outside those of the steps before and after, on enough of the tasks."""
    accuracies = scores[scores["metric"] == "acc"]
    for (model, shots), rows in accuracies.groupby(["model", "shots"], sort=True):
        found: dict[int, list[str]] = defaultdict(list)
        for task, curve in rows.groupby("task", sort=True):
            for step, detail in task_spikes(curve.sort_values("step")):
                found[step].append(f"{task} {detail}")
        for step, details in sorted(found.items()):
            tasks = rows[rows["step"] == step]["task"].nunique()
            if len(details) >= SPIKE_SHARE * tasks:
                told = f"{len(details)} of {tasks} {shots}-shot tasks, first {details[0]}"
                yield Defect(str(model), revision(step), "score-spike", told)


def task_spikes(curve: pd.DataFrame) -> Iterator[tuple[int, str]]:
    """Steps of one task's ``curve``, sorted by step, that lie far outside both neighbours, and how far."""
    steps, values, errors = (curve[name].to_numpy(dtype=float) for name in ("step", "value", "stderr"))
    for middle in range(1, len(steps) - 1):
        beside = values[[middle - 1, middle + 1]]
        outside = max(values[middle] - beside.max(), beside.min() - values[middle])
        limit = SPIKE_ERRORS * math.sqrt(float(np.nansum(errors[middle - 1 : middle + 2] ** 2)))
        if outside > max(limit, SPIKE):
            yield int(steps[middle]), f"{values[middle]:.3f} between {beside[0]:.3f} and {beside[1]:.3f}"


def implied_items(value: float, stderr: float) -> float | None:
    """Number of items behind an accuracy and its standard error; ``None`` where they do not tell."""
    if not (0.0 < value < 1.0 and stderr > 0.0):
        return None
    return value * (1.0 - value) / stderr**2 + 1.0


def wrong_counts(scores: pd.DataFrame) -> Iterator[Defect]:
    """Rows whose standard error belongs to another number of items; means of groups of tasks are passed over."""
    tasks = {str(task) for task in scores["task"].unique()}
    groups = {task for task in tasks if any(other.startswith(f"{task}_") for other in tasks)}
    rows = scores[scores["metric"].isin(ACCURACIES) & ~scores["task"].isin(groups)]
    for row in rows.to_dict("records"):
        implied = implied_items(float(row["value"]), float(row["stderr"]))
        if implied is not None and abs(implied - float(row["n"])) > 0.5 + 1e-3 * float(row["n"]):
            detail = f"{row['shots']}-shot {row['task']}: {row['n']} items, its standard error says {implied:.0f}"
            yield Defect(str(row["model"]), revision(row["step"]), "item-count", detail)


def score_defects(scores: pd.DataFrame) -> list[Defect]:
    """Everything that a table of scores shows."""
    return [*equal_scores(scores), *score_spikes(scores), *wrong_counts(scores)]


def published_at(curve: Mapping[int, float], step: int) -> float | None:
    """Published accuracy at ``step``, on the line between the steps around it in log time; ``None`` beyond them."""
    if step in curve:
        return curve[step]
    for before, after in pairwise(sorted(curve)):
        if before < step < after:
            places = [math.log1p(place) for place in (before, step, after)]
            share = (places[1] - places[0]) / (places[2] - places[0])
            return (1 - share) * curve[before] + share * curve[after]
    return None


def behaviour(probe: pd.DataFrame, published: pd.DataFrame, task: str) -> Iterator[Defect]:
    """Probed checkpoints whose zero-shot accuracy on ``task`` is not the published one.

    Chance explains four standard errors of the probe's number of items; the line between published steps, 0.02.
    """
    wanted = (published["task"] == task) & (published["metric"] == "acc") & (published["shots"] == 0)
    known = published[wanted & published["step"].notna()]
    seen = probe[(probe["task"] == task) & (probe["metric"] == "acc") & (probe["shots"] == 0)]
    for row in seen.to_dict("records"):
        of_model = known[known["model"] == row["model"]]
        curve = {int(step): float(value) for step, value in zip(of_model["step"], of_model["value"], strict=True)}
        expected = published_at(curve, int(row["step"]))
        if expected is None:
            continue
        chance = math.sqrt(max(expected * (1 - expected), 1e-4) / float(row["n"]))
        if abs(float(row["value"]) - expected) > PROBE_ERRORS * chance + CURVE_SLACK:
            detail = f"{task}: {row['value']:.3f} on {row['n']} items, published {expected:.3f}"
            yield Defect(str(row["model"]), revision(row["step"]), "behaviour", detail)
