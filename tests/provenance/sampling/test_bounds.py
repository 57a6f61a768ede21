"""Bounds against scipy, against brute enumeration, and against what they promise."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from workflow_scripts.provenance.release.sampling.bounds import (
    chance_to_find,
    most_wrong,
    samples_to_find,
    share_right,
    tail,
)


@st.composite
def samples(draw: st.DrawFn) -> tuple[int, int, int]:
    """Population, sample and wrong items found in it."""
    population = draw(st.integers(1, 60))
    sampled = draw(st.integers(0, population))
    return population, sampled, draw(st.integers(0, sampled))


def test_the_tail_counts_every_sample_of_a_small_population() -> None:
    population, wrong, sampled = 9, 4, 3
    drawn = [sum(item < wrong for item in sample) for sample in combinations(range(population), sampled)]
    for found in range(sampled + 1):
        assert tail(population, wrong, sampled, found) == (sum(k <= found for k in drawn), len(drawn))


@given(samples(), st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_the_bound_is_the_largest_number_that_scipy_finds_plausible(
    case: tuple[int, int, int], confidence: float
) -> None:
    population, sampled, found = case
    plausible = [
        wrong
        for wrong in range(found, population - (sampled - found) + 1)
        if stats.hypergeom.cdf(found, population, wrong, sampled) >= 1 - confidence - 1e-12
    ]
    assert most_wrong(population, sampled, found, confidence) == max(plausible)


@pytest.mark.parametrize(("population", "sampled"), [(30, 5), (30, 29), (40, 12), (7, 7), (50, 1)])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_whatever_is_wrong_the_bound_holds_with_the_confidence(
    population: int, sampled: int, confidence: float
) -> None:
    """Exact coverage: over all samples, the share of those whose bound is at least the truth."""
    for wrong in range(population + 1):
        ways = sum(
            comb(wrong, found) * comb(population - wrong, sampled - found)
            for found in range(max(0, sampled - (population - wrong)), min(wrong, sampled) + 1)
            if most_wrong(population, sampled, found, confidence) >= wrong
        )
        assert Fraction(ways, comb(population, sampled)) >= Fraction(str(confidence))


@given(samples())
def test_a_finite_population_never_gives_less_than_clopper_and_pearson(case: tuple[int, int, int]) -> None:
    population, sampled, found = case
    upper = stats.beta.ppf(0.95, found + 1, sampled - found) if found < sampled else 1.0
    # The binomial bound is on a share, ours on a number of items: the next smaller number is the comparison.
    assert share_right(population, sampled, found, 0.95) >= 1 - upper - 1 / population


def test_a_large_population_is_clopper_and_pearson() -> None:
    for sampled, found in [(59, 0), (200, 3), (1000, 41)]:
        exact = 1 - stats.beta.ppf(0.95, found + 1, sampled - found)
        assert share_right(50_000_000, sampled, found, 0.95) == pytest.approx(exact, abs=1e-4)


def test_the_rule_of_three() -> None:
    """Nothing wrong among n: at most about 3 / n."""
    assert 1 - share_right(10**8, 300, 0, 0.95) == pytest.approx(3 / 300, rel=0.01)


@given(st.integers(1, 400), st.floats(0.001, 1), st.sampled_from([0.5, 0.95, 0.99]))
def test_the_planned_sample_is_the_smallest_that_finds_the_forgery(
    population: int, share: float, probability: float
) -> None:
    planned = samples_to_find(population, share, probability)
    wrong = next(k for k in range(1, population + 1) if k >= Fraction(str(share)) * population)
    chances = [1 - stats.hypergeom.pmf(0, population, wrong, n) for n in range(population + 1)]
    assert chances[planned] >= probability - 1e-9
    assert planned == 0 or chances[planned - 1] < probability + 1e-9


@given(st.integers(1, 500), st.data())
def test_the_chance_to_find_is_scipys(population: int, data: st.DataObject) -> None:
    wrong, sampled = data.draw(st.integers(0, population)), data.draw(st.integers(0, population))
    expected = 1 - stats.hypergeom.pmf(0, population, wrong, sampled)
    assert chance_to_find(population, wrong, sampled) == pytest.approx(expected, abs=1e-9)


def test_nothing_is_proven_of_what_was_not_looked_at() -> None:
    assert share_right(100, 0, 0, 0.95) == 0
    assert share_right(0, 0, 0, 0.95) == 1
    assert samples_to_find(0, 0.05, 0.95) == 0
