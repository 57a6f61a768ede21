"""Distances from sketches against distances of the tensors, and their error against the stated one."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workflow_scripts.experiments.dynamics.sketches import (
    Z95,
    cosine,
    distance,
    relative_error,
    sketch,
    squared_distance,
)


def test_a_small_tensor_is_its_own_sketch():
    values = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    assert (sketch("a", values, 32) == values.reshape(-1)).all()
    assert relative_error(32, 32) == 0


def test_sketches_are_linear_and_know_their_tensor():
    rng = np.random.default_rng(1)
    one, other = (rng.standard_normal(5000).astype(np.float32) for _ in range(2))
    both = sketch("a", one, 64) + sketch("a", other, 64)
    assert sketch("a", one + other, 64) == pytest.approx(both, abs=1e-4)
    assert sketch("b", one, 64) != pytest.approx(sketch("a", one, 64), abs=1e-2)
    # A place holds the sum of values with signs: nothing is lost, nothing counted twice.
    assert (abs(sketch("a", np.ones(5000, np.float32), 64)).sum() % 2) == 0


def test_the_error_of_squared_distances_is_the_stated_one():
    """Over 300 tensors: no bias, and a spread of at most sqrt(2 / k); one heavy value makes no exception."""
    rng, places, ratios = np.random.default_rng(2), 128, []
    for number in range(300):
        one = rng.standard_normal(2000).astype(np.float32)
        other = one + rng.standard_exponential(2000, np.float32) * (1 + 30 * (np.arange(2000) == 7))  # all one way
        exact = float(np.sum((one.astype(float) - other) ** 2))
        ratios.append(squared_distance(sketch(f"t{number}", one, places), sketch(f"t{number}", other, places)) / exact)
    stated = relative_error(places, 2000)
    assert stated == math.sqrt(2 / places)
    assert abs(np.mean(ratios) - 1) < 3 * stated / math.sqrt(300)
    assert np.std(ratios) < 1.1 * stated
    assert np.std(ratios) > 0.3 * stated


def test_bounds_are_those_of_two_standard_errors():
    found = distance(4.0, 0.5)
    assert (found.value, found.lower, found.upper) == (2.0, math.sqrt(4 - Z95 * 0.5), math.sqrt(4 + Z95 * 0.5))
    assert distance(0.0, 0.0).upper == 0
    assert distance(0.1, 1.0).lower == 0


def test_the_cosine_is_that_of_the_vectors():
    rng = np.random.default_rng(3)
    one, other = rng.standard_normal((2, 500))
    norms = (float(np.linalg.norm(one)), float(np.linalg.norm(other)))
    wanted = float(one @ other) / (norms[0] * norms[1])
    found = cosine(float(np.sum((one - other) ** 2)), 0.0, norms)
    assert (found.value, found.lower, found.upper) == pytest.approx((wanted,) * 3)
    wider = cosine(float(np.sum((one - other) ** 2)), 1.0, norms)
    assert wider.lower < wanted < wider.upper
    assert cosine(0.0, 0.0, (2.0, 2.0)).value == 1
    assert math.isnan(cosine(1.0, 0.0, (0.0, 1.0)).value)
