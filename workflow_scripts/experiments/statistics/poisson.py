"""Are events spread uniformly over an order? Tests of counts against a Poisson process of constant rate.

The null hypothesis is that each of n places holds an event with the same probability, independently. Given the total,
the counts of bins of equal size are then multinomial with equal shares; the envelope is simulated from that, so that no
rate has to be estimated. At rates of some per cent the index of dispersion of a uniform order is 1 - rate, not 1.
All p values are two-sided unless said otherwise. A Q-Q plot alone cannot reject a small trend, so the trend has a test
of its own.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from workflow_scripts.errors import DataError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
SIMULATIONS = 999
NORMAL_95 = 1.959963984540054
TREND_BINS = 1000
NEWTON_STEPS = 60
TOLERANCE = 1e-12


def bin_counts(events: ArrayLike, size: int) -> Integers:
    """Events in consecutive bins of ``size`` places, int64; an incomplete bin at the end is left out.

    >>> bin_counts([1, 0, 1, 1, 0, 0, 1], 2).tolist()
    [1, 2, 0]
    """
    flags = np.asarray(events, dtype=np.int64)
    whole = len(flags) // size
    return np.asarray(flags[: whole * size].reshape(whole, size).sum(axis=1), dtype=np.int64)


@dataclass(frozen=True)
class Dispersion:
    """Index of dispersion (variance / mean of the counts) with Fisher's test: (n - 1) index is chi2 with n - 1."""

    index: float
    bins: int
    p: float


def dispersion(counts: Integers) -> Dispersion:
    """Fisher's dispersion test of ``counts``; index and p are NaN for fewer than two bins or no event."""
    bins = len(counts)
    if bins < 2 or counts.sum() == 0:
        return Dispersion(math.nan, bins, math.nan)
    index = float(counts.var(ddof=1) / counts.mean())
    statistic = index * (bins - 1)
    below, above = stats.chi2.cdf(statistic, bins - 1), stats.chi2.sf(statistic, bins - 1)
    return Dispersion(index, bins, float(min(1.0, 2 * min(below, above))))


@dataclass(frozen=True)
class QuantilePlot:
    """Ordered counts against Poisson quantiles, with the pointwise 95 % envelope of a uniform order.

    ``observed``, ``theoretical``, ``lower``, ``upper`` are [bins]; ``p`` is the share of simulated orders whose largest
    distance from the mean ordered counts is at least the observed one (global, one-sided by nature).
    """

    observed: Integers
    theoretical: Floats
    lower: Floats
    upper: Floats
    p: float


def quantile_plot(counts: Integers, seed: int, simulations: int = SIMULATIONS) -> QuantilePlot:
    """Poisson Q-Q plot at plotting positions i / (n + 1), as statsmodels' ProbPlot has them."""
    bins = len(counts)
    if bins < 2:
        raise DataError(f"a Q-Q plot needs at least two bins of rows, there are {bins}; choose smaller bins")
    observed = np.sort(counts)
    positions = np.arange(1, bins + 1) / (bins + 1)
    theoretical = stats.poisson.ppf(positions, counts.mean())
    drawn = np.random.default_rng(seed).multinomial(int(counts.sum()), np.full(bins, 1 / bins), size=simulations)
    ordered = np.sort(drawn, axis=1)
    lower, upper = np.quantile(ordered, [0.025, 0.975], axis=0)
    middle = ordered.mean(axis=0)
    distance = float(np.abs(observed - middle).max())
    as_far = int((np.abs(ordered - middle).max(axis=1) >= distance - TOLERANCE).sum())
    return QuantilePlot(observed, np.asarray(theoretical), lower, upper, (1 + as_far) / (1 + simulations))


@dataclass(frozen=True)
class Trend:
    """Log-linear change of the rate over the order: rate(x) = exp(a + slope x), x from 0 (first) to 1 (last).

    ``ratio`` = exp(slope) is the rate at the end over the rate at the beginning, with its 95 % interval (Wald).
    """

    slope: float
    stderr: float
    z: float
    p: float

    @property
    def ratio(self) -> float:
        """Rate at the end over the rate at the beginning."""
        return math.exp(self.slope)

    @property
    def ratio_interval(self) -> tuple[float, float]:
        """95 % confidence interval of ``ratio``."""
        return math.exp(self.slope - NORMAL_95 * self.stderr), math.exp(self.slope + NORMAL_95 * self.stderr)


def trend(places: ArrayLike, events: ArrayLike, span: float) -> Trend:
    """Poisson regression of ``events`` on ``places`` / ``span``; places are grouped into 1000 bins of equal width.

    Maximum likelihood by Newton's method; NaN throughout where there are no events.
    """
    at, flags = np.asarray(places, dtype=np.float64), np.asarray(events, dtype=np.int64)
    if not len(at) or flags.sum() == 0:
        return Trend(math.nan, math.nan, math.nan, math.nan)
    group = np.minimum((at / span * TREND_BINS).astype(np.int64), TREND_BINS - 1)
    exposure = np.bincount(group, minlength=TREND_BINS).astype(np.float64)
    counts = np.bincount(group, weights=flags, minlength=TREND_BINS).astype(np.float64)
    used = exposure > 0
    middles = (np.flatnonzero(used) + 0.5) / TREND_BINS
    return poisson_regression(middles, counts[used], exposure[used])


def poisson_regression(x: Floats, counts: Floats, exposure: Floats) -> Trend:
    """Slope of log rate on ``x`` from ``counts`` with ``exposure`` (number of places), by Newton's method."""
    design = np.stack([np.ones_like(x), x])
    beta = np.array([math.log(counts.sum() / exposure.sum()), 0.0])
    information = np.eye(2)
    for _ in range(NEWTON_STEPS):
        expected = exposure * np.exp(beta @ design)
        information = (design * expected) @ design.T
        if np.linalg.cond(information) > 1 / np.finfo(float).eps:
            return Trend(math.nan, math.nan, math.nan, math.nan)
        step = np.linalg.solve(information, design @ (counts - expected))
        beta = beta + np.clip(step, -2.0, 2.0)  # keeps the first steps inside the range of exp
        if np.abs(step).max() < TOLERANCE:
            break
    stderr = math.sqrt(np.linalg.inv(information)[1, 1])
    z = float(beta[1] / stderr)
    return Trend(float(beta[1]), stderr, z, float(2 * stats.norm.sf(abs(z))))


def rate_interval(events: int, places: int) -> tuple[float, float]:
    """95 % interval of a rate (Wilson's score interval).

    >>> [round(bound, 4) for bound in rate_interval(10, 1000)]
    [0.0054, 0.0183]
    """
    if places == 0:
        return math.nan, math.nan
    rate, square = events / places, NORMAL_95**2
    centre = (rate + square / (2 * places)) / (1 + square / places)
    half = NORMAL_95 * math.sqrt(rate * (1 - rate) / places + square / (4 * places**2)) / (1 + square / places)
    return max(0.0, centre - half), min(1.0, centre + half)


def holm(p_values: ArrayLike) -> Floats:
    """Holm's adjusted p values, in the order given; NaN stays NaN and does not count.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(values, math.nan)
    known = np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    scaled = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(scaled)) if len(order) else scaled
    return adjusted
