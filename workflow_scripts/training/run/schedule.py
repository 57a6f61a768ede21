"""The learning rate of each optimizer step in the three versions of GPT-NeoX's cosine schedule, and fp16's loss scale.

GPT-NeoX sets the rate after each optimizer step, so step k (k = 1, 2 ...) uses ``n = k - 1`` steps taken before. All
functions are pure and in float64. Sources: gpt-neox ``megatron/learning_rates.py`` at tags v1.0/v2.0 (``neox_v1``, all
released suite models), after pull requests #1008 and #1011 of August 2023 (``neox_2023_08``) and after #1379 of May
2026 (``neox_2026_05``); DeepSpeed's dynamic loss scaler as configured by the suite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from workflow_scripts.training.recipe import Recipe


def learning_rate(recipe: Recipe, steps_taken: int) -> float:
    """Rate of the optimizer step that follows ``steps_taken`` successful ones."""
    total = recipe.lr_decay_iterations
    return SCHEDULES[recipe.lr_schedule](
        steps_taken, total, recipe.warmup_fraction * total, recipe.learning_rate, recipe.min_learning_rate
    )


def neox_v1(taken: int, total: int, warmup: float, peak: float, floor: float) -> float:
    """Linear from exactly 0, then a cosine of period ``2 total`` that is cut off at ``floor`` (not scaled to it).

    For the suite (total 143000, warm-up 1430, floor a tenth) the floor is reached at n = 115139 and kept to the end.
    The count stops at ``total - warmup``, also within a warm-up of more than half of ``total``.
    """
    counted = min(taken, total - warmup)
    if warmup > 0 and taken <= warmup:
        return peak * counted / warmup
    return max(floor, peak / 2 * (1 + math.cos(math.pi * (counted - warmup) / total)))


def neox_2023_08(taken: int, total: int, warmup: float, peak: float, floor: float) -> float:
    """Linear from exactly 0, then a cosine scaled between ``peak`` and ``floor``, which it reaches at ``total``.

    Unlike v1.0 this version does not stop at ``total``: a run that is longer than its decay sees the cosine rise again,
    up to the peak at ``2 total - warmup``. Nor does it limit the rate to the peak: where the warm-up is longer than the
    decay, the cosine runs from its end. Both are copied.
    """
    if warmup > 0 and taken <= warmup:
        return peak * taken / warmup
    return max(floor, floor + (peak - floor) / 2 * (1 + math.cos(math.pi * (taken - warmup) / (total - warmup))))


def neox_2026_05(taken: int, total: int, warmup: float, peak: float, floor: float) -> float:
    """As ``neox_2023_08``, but the very first step counts as the second wherever there is a warm-up.

    A warm-up of less than one iteration therefore gives the first step ``peak / warmup``, more than the peak: the
    original divides by the same fraction of an iteration.
    """
    return (
        peak * max(1, taken) / warmup
        if warmup > 0 and taken <= warmup
        else neox_2023_08(taken, total, warmup, peak, floor)
    )


SCHEDULES: dict[str, Callable[[int, int, float, float, float], float]] = {
    "neox_v1": neox_v1,
    "neox_2023_08": neox_2023_08,
    "neox_2026_05": neox_2026_05,
}


def annealing_state(recipe: Recipe, steps_taken: int) -> dict[str, float | str]:
    """State of gpt-neox's ``AnnealingLR`` after ``steps_taken`` steps, under its own names."""
    return {
        "start_lr": recipe.learning_rate,
        "warmup_iter": recipe.warmup_fraction * recipe.lr_decay_iterations,
        "num_iters": steps_taken,
        "decay_style": "cosine",
        "end_iter": recipe.lr_decay_iterations,
        "min_lr": recipe.min_learning_rate,
    }


@dataclass(frozen=True)
class LossScale:
    """State of DeepSpeed's dynamic loss scale with the suite's settings; ``scale`` multiplies the loss.

    The first overflow only spends the hysteresis; later ones halve the scale. A thousand steps without an overflow
    double it and restore the hysteresis.
    """

    scale: float = 2.0**12
    hysteresis: int = 2
    iteration: int = 0
    last_overflow: int = -1

    WINDOW = 1000
    FACTOR = 2.0
    HYSTERESIS = 2
    MINIMUM = 1.0

    def after(self, overflow: bool) -> LossScale:
        """State after one iteration, which did or did not overflow."""
        following = self.iteration + 1
        if overflow and self.hysteresis > 1:
            return replace(self, hysteresis=self.hysteresis - 1, iteration=following, last_overflow=self.iteration)
        if overflow:
            lower = max(self.scale / self.FACTOR, self.MINIMUM)
            return replace(self, scale=lower, iteration=following, last_overflow=self.iteration)
        if (self.iteration - self.last_overflow) % self.WINDOW == 0:
            return LossScale(self.scale * self.FACTOR, self.HYSTERESIS, following, self.last_overflow)
        return replace(self, iteration=following)
