"""Paired comparisons and rank correlations against scipy, by definition and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from workflow_scripts.errors import DataError
from workflow_scripts.experiments.statistics.resampling import (
    bootstrap_means,
    mcnemar,
    paired_difference,
    rank_correlation,
    spearman,
)


def test_interval_of_a_difference_is_that_of_theory():
    random = np.random.default_rng(1)
    a, b = random.normal(1.0, 1.0, 400), random.normal(0.7, 1.0, 400)
    found = paired_difference(a, b, seed=0)
    half = 1.96 * (a - b).std(ddof=1) / math.sqrt(400)
    assert found.mean == pytest.approx((a - b).mean())
    assert found.upper - found.lower == pytest.approx(2 * half, rel=0.1)


def test_interval_holds_the_truth_as_often_as_it_says():
    holds = []
    for seed in range(150):
        values = np.random.default_rng(seed).normal(0.3, 1.0, 60)
        found = paired_difference(values, np.zeros(60), seed=seed)
        holds.append(found.lower <= 0.3 <= found.upper)
    assert 0.88 <= np.mean(holds) <= 0.99


def test_same_seed_gives_the_same_means():
    values = np.arange(10.0)
    assert np.array_equal(bootstrap_means(values, 5), bootstrap_means(values, 5))
    assert not np.array_equal(bootstrap_means(values, 5), bootstrap_means(values, 6))


def test_unequal_lengths_are_refused():
    with pytest.raises(DataError, match="same items"):
        paired_difference([1.0, 2.0], [1.0], seed=0)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_a_binomial_test_of_the_discordant_items(pairs):
    only_first = sum(a and not b for a, b in pairs)
    only_second = sum(b and not a for a, b in pairs)
    expected = 1.0
    if only_first + only_second:
        n = only_first + only_second
        weights = [math.comb(n, k) / 2**n for k in range(n + 1)]
        expected = sum(weight for weight in weights if weight <= weights[only_first] * (1 + 1e-9))
    assert mcnemar([a for a, _ in pairs], [b for _, b in pairs]) == pytest.approx(expected)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=4, max_size=30))
def test_spearman_is_scipys(pairs):
    x, y = np.array(pairs, dtype=float).T
    found = spearman(np.stack([x, y]))
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert found == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-9)
    else:
        assert math.isnan(found)


def test_partial_correlation_is_the_textbook_one():
    random = np.random.default_rng(3)
    z = random.normal(size=80)
    x, y = z + random.normal(size=80), z + random.normal(size=80)
    pairs = {"xy": (x, y), "xz": (x, z), "yz": (y, z)}
    r = {name: stats.spearmanr(*pair).statistic for name, pair in pairs.items()}
    expected = (r["xy"] - r["xz"] * r["yz"]) / math.sqrt((1 - r["xz"] ** 2) * (1 - r["yz"] ** 2))
    assert spearman(np.stack([x, y, z])) == pytest.approx(expected)


def test_what_only_the_control_explains_vanishes():
    random = np.random.default_rng(4)
    size = np.repeat(np.arange(40.0), 5)
    x, y = size + random.normal(0, 4, 200), size + random.normal(0, 4, 200)
    plain = rank_correlation(x, y, seed=0)
    partial = rank_correlation(x, y, seed=0, control=size)
    assert plain.lower > 0.8
    assert partial.lower < 0 < partial.upper


def test_few_or_constant_items_have_no_correlation():
    assert math.isnan(rank_correlation([1, 2, 3], [1, 2, 3], seed=0).rho)
    assert math.isnan(rank_correlation([1, 1, 1, 1, 1], [1, 2, 3, 4, 5], seed=0).rho)
