"""Singular values against scipy's full decomposition, and the bounds of what is sampled against the truth."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.experiments.dynamics.spectra import exact_spectrum, gram, sampled_spectrum


def with_values(values, rows, seed=0):
    """A matrix [rows, len(values)] with the given singular values."""
    rng = np.random.default_rng(seed)
    left = scipy.linalg.qr(rng.standard_normal((rows, len(values))), mode="economic")[0]
    right = scipy.linalg.qr(rng.standard_normal((len(values), len(values))))[0]
    return ((left * values) @ right).astype(np.float32)


def entropy_rank(values):
    """Roy and Vetterli's definition by scipy's entropy."""
    return float(np.exp(scipy.stats.entropy(values)))


@pytest.mark.parametrize("shape", [(300, 40), (40, 300), (5000, 8), (64, 64), (1, 7)])
def test_exact_values_are_scipys(shape):
    matrix = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    wanted = scipy.linalg.svdvals(matrix.astype(np.float64))
    found = exact_spectrum(gram(matrix))
    assert found.values == pytest.approx(wanted, rel=1e-9)
    assert found.squares == pytest.approx(np.sum(wanted**2), rel=1e-12)
    assert found.norm().value == found.norm().upper == pytest.approx(wanted[0], rel=1e-12)
    assert found.stable_rank().value == pytest.approx(np.sum(wanted**2) / wanted[0] ** 2, rel=1e-10)
    assert found.effective_rank().value == pytest.approx(entropy_rank(wanted), rel=1e-9)


def test_ranks_of_an_orthogonal_matrix_and_of_one_direction():
    square = scipy.linalg.qr(np.random.default_rng(0).standard_normal((24, 24)))[0].astype(np.float32)
    found = exact_spectrum(gram(square))
    assert (found.norm().value, found.stable_rank().value) == pytest.approx((1, 24), rel=1e-6)
    assert found.effective_rank().value == pytest.approx(24, rel=1e-6)
    one = exact_spectrum(gram(np.outer(np.arange(1.0, 9), np.ones(5)).astype(np.float32)))
    assert (one.stable_rank().value, one.effective_rank().value) == pytest.approx((1, 1), abs=1e-3)


def test_a_matrix_of_zeros_has_no_rank():
    found = exact_spectrum(gram(np.zeros((5, 3), np.float32)))
    assert found.norm().value == 0
    assert np.isnan(found.stable_rank().value)
    assert np.isnan(found.effective_rank().value)
    assert np.isnan(sampled_spectrum(np.zeros((50, 30), np.float32), 4, 0.0).effective_rank().value)


@settings(max_examples=40, deadline=None)
@given(
    power=st.floats(0, 2),
    columns=st.integers(30, 120),
    rank=st.integers(4, 20),
    wide=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_sampled_bounds_hold_the_exact_values(power, columns, rank, wide, seed):
    values = np.arange(1, columns + 1) ** -power
    matrix = with_values(values, 2 * columns, seed)
    found = sampled_spectrum(matrix.T if wide else matrix, rank, float(np.sum(np.square(matrix, dtype=float))), seed)
    assert len(found.values) == rank
    slack = 1 + 1e-4  # products are float32
    for bounded, wanted in (
        (found.norm(), values[0]),
        (found.stable_rank(), np.sum(values**2) / values[0] ** 2),
        (found.effective_rank(), entropy_rank(values)),
    ):
        assert bounded.lower / slack <= wanted <= bounded.upper * slack
        assert bounded.lower <= bounded.value <= bounded.upper


def test_sampled_values_of_a_falling_spectrum_are_nearly_exact():
    values = np.arange(1, 201) ** -1.5
    matrix = with_values(values, 300)
    found = sampled_spectrum(matrix, 20, float(np.sum(values**2)))
    assert found.values == pytest.approx(values[:20], rel=1e-3)
    assert found.norm().upper == pytest.approx(1, rel=1e-3)


def test_without_any_decay_the_norm_is_between_its_bounds():
    matrix = np.random.default_rng(4).standard_normal((300, 200)).astype(np.float32)
    found = sampled_spectrum(matrix, 8, 1.0).norm()
    exact = float(scipy.linalg.svdvals(matrix)[0])
    assert found.value == found.lower < exact < found.upper < 1.1 * exact


def test_what_is_sampled_is_the_same_every_time():
    matrix = np.random.default_rng(3).standard_normal((90, 70)).astype(np.float32)
    one, other = (sampled_spectrum(matrix, 8, 1.0) for _ in range(2))
    assert (one.values == other.values).all()
    assert one.residual == other.residual
