"""The tests of uniformity against scipy, against simulation, and against orders that are not uniform."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from workflow_scripts.errors import DataError
from workflow_scripts.experiments.statistics.poisson import (
    bin_counts,
    dispersion,
    holm,
    poisson_regression,
    quantile_plot,
    rate_interval,
    trend,
)


def uniform_order(seed, places=20_000, rate=0.012):
    return np.random.default_rng(seed).random(places) < rate


@settings(deadline=None, max_examples=50)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 7))
def test_bins_by_definition(events, size):
    whole = len(events) // size
    assert bin_counts(events, size).tolist() == [sum(events[k * size : (k + 1) * size]) for k in range(whole)]


def test_dispersion_is_fishers_test():
    counts = np.array([3, 5, 2, 8, 4, 6])
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    result = dispersion(counts)
    assert result.index == pytest.approx(statistic / 5)
    assert result.p == pytest.approx(2 * min(stats.chi2.cdf(statistic, 5), stats.chi2.sf(statistic, 5)))
    assert stats.chisquare(counts).pvalue == pytest.approx(stats.chi2.sf(statistic, 5))


def test_dispersion_is_undefined_without_events():
    assert math.isnan(dispersion(np.zeros(5, dtype=np.int64)).p)


def test_regression_is_the_maximum_likelihood():
    random = np.random.default_rng(5)
    x, exposure = np.linspace(0, 1, 40), random.integers(50, 200, 40).astype(float)
    counts = random.poisson(exposure * np.exp(-3 + 0.8 * x)).astype(float)

    def loss(beta):
        mean = exposure * np.exp(beta[0] + beta[1] * x)
        return (mean - counts * np.log(mean)).sum()

    best = optimize.minimize(loss, [-2.0, 0.0], method="BFGS", options={"gtol": 1e-9})
    found = poisson_regression(x, counts, exposure)
    assert found.slope == pytest.approx(best.x[1], abs=1e-4)
    # The curvature by differences: BFGS's own estimate of it hangs on the last bits of the machine's exp.
    step = 1e-3 * np.eye(2)
    curvature = [
        [
            sum(sign_a * sign_b * loss(best.x + sign_a * a + sign_b * b) for sign_a in (1, -1) for sign_b in (1, -1))
            / 4e-6
            for b in step
        ]
        for a in step
    ]
    assert found.stderr == pytest.approx(math.sqrt(np.linalg.inv(curvature)[1, 1]), rel=1e-3)


def test_false_alarms_are_as_rare_as_they_should_be():
    orders = [uniform_order(seed) for seed in range(200)]
    places = np.arange(20_000)
    trends = [trend(places, order, 20_000).p for order in orders]
    spreads = [dispersion(bin_counts(order, 512)).p for order in orders]
    envelopes = [quantile_plot(bin_counts(order, 512), seed=1, simulations=199).p for order in orders[:100]]
    for p_values in (trends, spreads, envelopes):
        assert 0.005 <= np.mean(np.array(p_values) < 0.05) <= 0.10


def test_interval_of_the_ratio_holds_the_true_one():
    places = np.arange(20_000)
    rate = 0.012 * np.exp(0.7 * places / 20_000)
    holds = []
    for seed in range(100):
        found = trend(places, np.random.default_rng(seed).random(20_000) < rate, 20_000)
        low, high = found.ratio_interval
        holds.append(low <= math.exp(0.7) <= high)
    assert 0.88 <= np.mean(holds) <= 1.0


def test_a_late_cluster_is_seen_by_every_test():
    order = uniform_order(3)
    order[18_000:18_900] |= np.random.default_rng(9).random(900) < 0.2
    counts = bin_counts(order, 512)
    assert dispersion(counts).p < 0.001
    assert quantile_plot(counts, seed=1).p < 0.01
    found = trend(np.arange(20_000), order, 20_000)
    assert found.p < 0.001
    assert found.ratio > 1.5


def test_a_trend_is_seen_where_bins_alone_see_little():
    places = np.arange(20_000)
    order = np.random.default_rng(4).random(20_000) < 0.012 * np.exp(1.5 * (places / 20_000 - 0.5))
    assert trend(places, order, 20_000).p < 0.01


def test_quantile_plot_has_ordered_counts_and_poisson_quantiles():
    counts = np.array([4, 1, 3])
    plot = quantile_plot(counts, seed=0)
    assert plot.observed.tolist() == [1, 3, 4]
    assert plot.theoretical.tolist() == stats.poisson.ppf([0.25, 0.5, 0.75], 8 / 3).tolist()
    assert (plot.lower <= plot.upper).all()
    with pytest.raises(DataError):
        quantile_plot(counts[:1], seed=0)


def test_no_events_have_no_trend():
    assert math.isnan(trend(np.arange(5), np.zeros(5), 5).p)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 500), st.data())
def test_wilson_interval_is_scipys(places, data):
    events = data.draw(st.integers(0, places))
    theirs = stats.binomtest(events, places).proportion_ci(method="wilson")
    assert rate_interval(events, places) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_by_definition(p_values):
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    expected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, p_values[index] * (len(p_values) - rank))
        expected[index] = min(1.0, largest)
    assert holm(p_values) == pytest.approx(expected)
