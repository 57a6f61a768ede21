"""The three schedules against a closed form written anew, and the loss scale against DeepSpeed's rules."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.recipe import Recipe, recipe_of
from workflow_scripts.training.run.schedule import LossScale, learning_rate

STEPS = (0, 1, 1430, 1431, 71500, 115138, 115139, 143000)
# Shares of the peak at STEPS, computed with 40 digits from the formulas of gpt-neox.
AFTER_2023 = (1.0, 0.9999999998892, 0.557139683725664, 0.183307643142112, 0.183301854942019, 0.1)
SHARES = {
    "neox_v1": (0.0, 1 / 1430, 1.0, 0.999999999879339, 0.515705379539064, 0.10000602830071, 0.1, 0.1),
    "neox_2023_08": (0.0, 1 / 1430, *AFTER_2023),
    "neox_2026_05": (1 / 1430, 1 / 1430, *AFTER_2023),
}


def pythia(schedule: str) -> Recipe:
    return dataclasses.replace(recipe_of(load_suite("pythia").model("pythia-410m")), lr_schedule=schedule)


def independent(schedule: str, n: int) -> float:
    """Share of the peak, by half-angle cosines instead of the code's form."""
    if n <= 1430:
        return max(n, 1 if schedule == "neox_2026_05" else 0) / 1430
    if schedule == "neox_v1":
        share = math.cos(math.pi * (min(n, 141570) - 1430) / 286000) ** 2
        return share if share > 0.1 else 0.1
    share = math.cos(math.pi * (n - 1430) / (2 * 141570)) ** 2
    return 0.1 + 0.9 * share


@pytest.mark.parametrize("schedule", SHARES)
def test_rates_equal_the_independent_closed_form_at_the_named_steps(schedule: str) -> None:
    recipe = pythia(schedule)
    for n in STEPS:
        assert learning_rate(recipe, n) / 3e-4 == pytest.approx(independent(schedule, n), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize("schedule", SHARES)
def test_rates_at_the_named_steps_have_the_known_values(schedule: str) -> None:
    recipe = pythia(schedule)
    assert [learning_rate(recipe, n) / 3e-4 for n in STEPS] == pytest.approx(SHARES[schedule], rel=1e-12, abs=1e-15)


def test_v1_reaches_its_floor_at_115139_and_stays() -> None:
    recipe = pythia("neox_v1")
    rates = np.array([learning_rate(recipe, n) for n in range(143000)])
    at_floor = rates == recipe.min_learning_rate
    assert int(np.argmax(at_floor)) == 115139
    assert at_floor[115139:].all()
    assert rates[0] == 0.0


def test_the_variants_differ_by_eight_percent_of_the_peak() -> None:
    old, new = pythia("neox_v1"), pythia("neox_2023_08")
    gaps = [(learning_rate(new, n) - learning_rate(old, n)) / 3e-4 for n in range(0, 143000, 100)]
    assert max(gaps) == pytest.approx(0.083, abs=0.001)


@given(st.integers(0, 10**6), st.sampled_from(sorted(SHARES)))
@settings(deadline=None, max_examples=200)
def test_rates_stay_between_zero_and_the_peak(n: int, schedule: str) -> None:
    recipe = pythia(schedule)
    rate = learning_rate(recipe, n)
    assert 0 <= rate <= recipe.learning_rate
    assert n <= 1430 or rate >= recipe.min_learning_rate


def test_without_warmup_the_first_step_has_the_peak() -> None:
    for schedule in SHARES:
        recipe = dataclasses.replace(pythia(schedule), warmup_fraction=0.0)
        assert learning_rate(recipe, 0) == pytest.approx(recipe.learning_rate, rel=1e-12)


# (steps taken, decay iterations, warm-up share, share of the peak) with a floor of a tenth, computed by the class
# AnnealingLR of GPT-NeoX itself at tag v1.0 and commits eda5aae4 (2023-08) and 19f294d5 (2026-05).
OUTSIDE = {
    "neox_v1": [(150, 100, 0.1, 0.1), (0, 50, 0.01, 0.0), (45, 100, 0.6, 0.6666666666666666)],
    "neox_2023_08": [
        (120, 100, 0.01, 0.18762838411102356),
        (150, 100, 0.1, 0.6281416799501185),
        (190, 100, 0.1, 1.0),
        (0, 50, 0.01, 0.0),
        (1, 50, 0.01, 0.9997734440724333),
        (45, 100, 0.6, 0.75),
    ],
    "neox_2026_05": [(150, 100, 0.1, 0.6281416799501185), (0, 50, 0.01, 2.0), (1, 50, 0.01, 0.9997734440724333)],
}


@pytest.mark.parametrize("schedule", OUTSIDE)
def test_rates_outside_the_range_are_those_of_the_original(schedule: str) -> None:
    """Beyond the decay, below one iteration of warm-up, and with more warm-up than decay."""
    for taken, total, share, expected in OUTSIDE[schedule]:
        recipe = dataclasses.replace(
            pythia(schedule),
            lr_decay_iterations=total,
            warmup_fraction=share,
            learning_rate=1.0,
            min_learning_rate=0.1,
        )
        assert learning_rate(recipe, taken) == pytest.approx(expected, rel=1e-12), (taken, total, share)


def test_first_overflow_only_spends_hysteresis() -> None:
    scale = LossScale().after(True)
    assert (scale.scale, scale.hysteresis) == (4096.0, 1)
    assert scale.after(True).scale == 2048.0


def test_scale_never_falls_below_one() -> None:
    scale = LossScale()
    for _ in range(40):
        scale = scale.after(True)
    assert scale.scale == 1.0


def test_scale_doubles_every_thousand_clean_iterations() -> None:
    """DeepSpeed counts the first window from iteration -1."""
    scale, doubled = LossScale(), []
    for iteration in range(1, 2101):
        following = scale.after(False)
        if following.scale > scale.scale:
            doubled.append(iteration)
        scale = following
    assert doubled == [1000, 2000]


def test_overflow_starts_the_window_anew() -> None:
    scale, doubled = LossScale(), []
    for iteration in range(1, 2000):
        following = scale.after(iteration == 500)
        if following.scale > scale.scale:
            doubled.append(iteration)
        scale = following
    assert doubled == [1500]
    assert scale.hysteresis == 2
