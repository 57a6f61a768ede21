"""How well a revision fits between its neighbours: the evidence that tells a wrong step from a right one.

Training moves weights smoothly in log(1 + step), so the samples of a revision lie near the line between those before
and after it. A revision that holds another step's weights does not. Pure functions of samples; nothing is read.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import median

import numpy as np

from workflow_scripts.checkpoints.tensor_samples import Sample

Samples = Mapping[str, Sample]
# Below this an expected change is rounding, and says nothing.
SMALLEST = 1e-12
# A norm must jump by this share of itself, and this many times as much as is usual in its model, to be named.
OUTLIER_SHARE = 0.15
OUTLIER_FACTOR = 8.0


def time_of(step: int) -> float:
    """Place of a step on the axis on which training is smooth."""
    return math.log1p(step)


def neighbours(steps: Sequence[int], step: int, without: Collection[int]) -> tuple[int, int] | None:
    """The two steps to judge ``step`` by: one on each side, else the two nearest; ``None`` when there are not two."""
    before = [other for other in steps if other < step and other not in without]
    after = [other for other in steps if other > step and other not in without]
    if before and after:
        return before[-1], after[0]
    nearest = before[-2:] if len(before) > 1 else after[:2]
    return (nearest[0], nearest[1]) if len(nearest) == 2 else None


def share(step: int, first: int, second: int) -> float:
    """Where ``step`` lies between two others in log time: 0 at the first, 1 at the second."""
    return (time_of(step) - time_of(first)) / (time_of(second) - time_of(first))


def misfit(
    curve: Mapping[int, Samples], step: int, names: Collection[str], without: Collection[int], content: Samples
) -> float | None:
    """Distance of ``content`` from the line through the neighbours of ``step``, in units of their own distance.

    ``curve`` holds the samples of a model's steps; the median over the tensors ``names`` is taken. ``None`` when
    nothing can be said.
    """
    pair = neighbours(sorted(curve), step, {step, *without})
    if pair is None:
        return None
    first, second = curve[pair[0]], curve[pair[1]]
    weight, ratios = share(step, *pair), []
    for name in names:
        if name in first and name in second and name in content:
            a, b, c = (np.array(samples[name].sketch) for samples in (first, second, content))
            if len(a) == len(b) == len(c) and (moved := float(np.linalg.norm(b - a))) > SMALLEST:
                ratios.append(float(np.linalg.norm(c - (1 - weight) * a - weight * b)) / moved)
    return median(ratios) if ratios else None


def norm_jumps(curve: Mapping[int, Samples]) -> dict[int, float]:
    """For each inner step, how far its norms lie from the line between its neighbours, as a share of themselves.

    The median over all sampled tensors is taken.
    """
    steps, jumps = sorted(curve), {}
    for first, step, second in zip(steps, steps[1:], steps[2:], strict=False):
        weight, shares = share(step, first, second), []
        for name, sample in curve[step].items():
            if name in curve[first] and name in curve[second] and sample.rms > SMALLEST:
                line = (1 - weight) * curve[first][name].rms + weight * curve[second][name].rms
                shares.append(abs(sample.rms - line) / max(sample.rms, line))
        if shares:
            jumps[step] = median(shares)
    return jumps


def outliers(curve: Mapping[int, Samples]) -> dict[int, float]:
    """Steps whose norms jump, with the jump; of two neighbours that accuse each other the larger jump counts.

    What is usual is the lower quartile of the model's jumps, which one wrong step and its neighbours cannot raise as
    long as the model has a dozen steps; with fewer, nothing may be found.
    """
    jumps = norm_jumps(curve)
    usual = float(np.quantile(list(jumps.values()), 0.25)) if jumps else 0.0
    limit = max(OUTLIER_SHARE, OUTLIER_FACTOR * usual)
    steps = sorted(curve)
    found = {}
    for step, jump in jumps.items():
        place = steps.index(step)
        beside = [jumps.get(steps[other], 0.0) for other in (place - 1, place + 1)]
        if jump > limit and jump >= max(beside):
            found[step] = jump
    return found
