"""Paired comparisons of two arms on the same items, and correlations with their uncertainty.

Items are the unit of resampling. Both arms answer the same items, so their difference is estimated item by item, which
is far sharper than two separate standard errors. Every function takes its seed; nothing is drawn from a global state.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workflow_scripts.errors import DataError

Floats = NDArray[np.float64]
RESAMPLES = 2000
LOWER, UPPER = 0.025, 0.975
NOTHING = 1e-9  # sums of squared ranks that are zero but for rounding
MOST_AT_ONCE = 4_000_000  # numbers drawn at once: 32 MB


@dataclass(frozen=True)
class Difference:
    """Mean of a minus mean of b over the same items, with its 95 % bootstrap interval."""

    mean: float
    lower: float
    upper: float
    items: int


def bootstrap_means(values: Floats, seed: int, resamples: int = RESAMPLES) -> Floats:
    """Means of ``resamples`` samples of ``values`` drawn with replacement, float64 [resamples]."""
    random = np.random.default_rng(seed)
    portion = max(1, MOST_AT_ONCE // max(len(values), 1))
    parts = [
        values[random.integers(0, len(values), size=(min(portion, resamples - begin), len(values)))].mean(axis=1)
        for begin in range(0, resamples, portion)
    ]
    return np.concatenate(parts)


def paired_difference(first: ArrayLike, second: ArrayLike, seed: int) -> Difference:
    """Mean of ``first - second`` item by item; NaN for fewer than two items. Raises DataError for unequal lengths."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape:
        raise DataError(f"{len(a)} and {len(b)} items: a paired comparison needs the same items on both sides")
    if len(a) < 2:
        return Difference(math.nan, math.nan, math.nan, len(a))
    drawn = bootstrap_means(a - b, seed)
    lower, upper = np.quantile(drawn, [LOWER, UPPER])
    return Difference(float((a - b).mean()), float(lower), float(upper), len(a))


def mcnemar(first: ArrayLike, second: ArrayLike) -> float:
    """Exact two-sided p of McNemar's test: the items on which only one arm is right are a fair coin.

    >>> mcnemar([True, True, True, True, True, True], [False, False, False, False, False, False])
    0.03125
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    if only_first + only_second == 0:
        return 1.0
    from scipy import stats  # half a second, which most users of this module need not spend

    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its 95 % bootstrap interval over items."""

    rho: float
    lower: float
    upper: float
    items: int


def rank_correlation(x: ArrayLike, y: ArrayLike, seed: int, control: ArrayLike | None = None) -> Correlation:
    """Spearman's rho of ``x`` and ``y``, of what ``control`` leaves over where one is given (partial correlation).

    Partial: residuals of the ranks after a linear regression on the ranks of the control. NaN where a side is constant.
    """
    columns = [np.asarray(column, dtype=np.float64) for column in (x, y, *(() if control is None else (control,)))]
    table = np.stack(columns)
    items = table.shape[1]
    if items < 4:
        return Correlation(math.nan, math.nan, math.nan, items)
    random = np.random.default_rng(seed)
    drawn = spearman(table[:, random.integers(0, items, size=(RESAMPLES // 2, items))])
    known = drawn[~np.isnan(drawn)]
    bounds = np.quantile(known, [LOWER, UPPER]) if len(known) else (math.nan, math.nan)
    return Correlation(float(spearman(table)), float(bounds[0]), float(bounds[1]), items)


def spearman(table: Floats) -> Floats:
    """Rank correlation of the first two of ``table`` [2 or 3, ..., items] over the last axis; the third is a control.

    NaN where a side is constant, or is fully explained by the control.
    """
    from scipy import stats

    ranks = stats.rankdata(table, axis=-1)
    ranks = ranks - ranks.mean(axis=-1, keepdims=True)
    if len(ranks) == 3:
        ranks = ranks[:2] - residual_shares(ranks)[..., None] * ranks[2]
    a, b = ranks[0], ranks[1]
    size = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    is_known = size > NOTHING * table.shape[-1]
    return np.where(is_known, (a * b).sum(axis=-1) / np.where(is_known, size, 1.0), math.nan)


def residual_shares(ranks: Floats) -> Floats:
    """Regression coefficients of the first two of centred ``ranks`` on the third; 0 where that is constant."""
    control = ranks[2]
    size = (control * control).sum(axis=-1)
    return np.where(size > 0, (ranks[:2] * control).sum(axis=-1) / np.where(size > 0, size, 1.0), 0.0)
