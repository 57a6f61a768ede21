"""How often an interval of the partial rank correlation excludes 0 where frequency has no effect, by simulation.

Accuracy follows the operand's size alone, in steps of a sixth as with six questions a term; counts follow size with
more or less noise of their own.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.experiments import term_frequency
from workflow_scripts.experiments.statistics.resampling import rank_correlation, spearman
from workflow_scripts.experiments.term_frequency import LEAST_INDEPENDENT, independent_terms

DRAWS = 200


def world(terms, noise, random):
    """Counts, accuracies and sizes of terms; ``noise`` is what the counts have of their own, in deviations of size."""
    size = np.arange(terms, dtype=float)
    scaled = (size - size.mean()) / size.std()
    accuracy = random.binomial(6, 1 / (1 + np.exp(scaled)), terms) / 6
    return noise * random.normal(size=terms) - scaled, accuracy, size


def false_effects(terms, noise):
    """Share of draws without an effect whose interval excludes 0, and the independent terms of the median draw."""
    random = np.random.default_rng(terms)
    found, left = 0, []
    for draw in range(DRAWS):
        count, accuracy, size = world(terms, noise, random)
        interval = rank_correlation(count, accuracy, draw, control=size)
        found += interval.lower > 0 or interval.upper < 0
        left.append(independent_terms(terms, float(spearman(np.stack([count, size])))))
    return found / DRAWS, float(np.median(left))


@pytest.mark.parametrize(("terms", "noise"), [(12, 5.0), (16, 1.7), (24, 1.0), (60, 0.5)])
def test_enough_independent_terms_keep_what_is_asked(terms, noise):
    share, left = false_effects(terms, noise)
    assert left >= LEAST_INDEPENDENT
    assert share <= 0.10  # asked: .05; three deviations of 200 draws


@pytest.mark.parametrize(("terms", "noise"), [(8, 0.5), (12, 0.33), (24, 0.05), (32, 0.05)])
def test_collinear_terms_would_print_effects_that_are_none(terms, noise):
    share, left = false_effects(terms, noise)
    assert left < LEAST_INDEPENDENT
    assert share > 0.15


def table_of(terms, noise, seed):
    """The experiment's own row for a world."""
    count, accuracy, size = world(terms, noise, np.random.default_rng(seed))
    frame = pd.DataFrame(
        {"count": count, "accuracy": accuracy, "control": size, "questions": 6, "term": size.astype(str)}
    )
    names = {"model": "m", "size": "1m", "data": "standard", "step": 1, "task": "t", "shots": 0, "mode": "word"}
    return pd.Series(next(term_frequency.statistics(frame.assign(**names))))


@pytest.mark.parametrize("seed", range(5))
def test_no_partial_correlation_is_printed_below_the_number(seed):
    row = table_of(16, 0.05, seed)
    assert row["independent_terms"] < LEAST_INDEPENDENT
    assert row[["partial_rho", "partial_rho_lower", "partial_rho_upper"]].isna().all()
    said = term_frequency.sentence(row)
    assert f"independent terms where {LEAST_INDEPENDENT} are needed" in said
    assert "held fixed" not in said
    enough = table_of(60, 0.8, seed)
    assert enough["independent_terms"] >= LEAST_INDEPENDENT
    assert enough[["partial_rho", "partial_rho_lower", "partial_rho_upper"]].notna().all()
    assert "with operand size held fixed" in term_frequency.sentence(enough)


@given(st.integers(0, 1000), st.floats(-1, 1))
def test_no_more_terms_are_independent_than_there_are(terms, alike):
    assert 0 <= independent_terms(terms, alike) <= terms
