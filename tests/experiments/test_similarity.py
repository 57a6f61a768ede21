"""CKA against its definition, on what it must not see (rotation, scale, shift) and on noise."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.experiments.dynamics.similarity import cka, fingerprint, u_centred


def states(n=40, width=12, seed=0):
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


def hsic(one, other):
    """The unbiased estimator as Song et al. 2012 write it (equation 5)."""
    n = len(one)
    k, m = (x.astype(float) @ x.astype(float).T for x in (one, other))
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    ones = np.ones(n)
    total = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return (total - 2 / (n - 2) * ones @ k @ m @ ones) / (n * (n - 3))


@settings(max_examples=25, deadline=None)
@given(n=st.integers(6, 40), p=st.integers(2, 60), q=st.integers(2, 60), seed=st.integers(0, 999))
def test_it_is_the_ratio_of_unbiased_estimators(n, p, q, seed):
    one, other = states(n, p, seed), states(n, q, seed + 1)
    wanted = hsic(one, other) / np.sqrt(hsic(one, one) * hsic(other, other))
    assert cka(fingerprint(one), fingerprint(other)) == pytest.approx(wanted, abs=1e-5)


def test_with_itself_rotated_scaled_or_shifted_it_is_one():
    one = states()
    rotation = scipy.stats.ortho_group.rvs(12, random_state=0).astype(np.float32)
    for same in (one, one @ rotation, 7 * one, one + np.arange(12, dtype=np.float32)):
        assert cka(fingerprint(one), fingerprint(same)) == pytest.approx(1, abs=1e-5)
    # Another linear map is seen: only orthogonal ones are not.
    assert cka(fingerprint(one), fingerprint(one * np.geomspace(1, 100, 12).astype(np.float32))) < 0.9


def test_independent_noise_is_near_zero_where_the_usual_estimate_is_near_one():
    found, usual = [], []
    for seed in range(60):
        one, other = states(30, 200, 2 * seed), states(30, 300, 2 * seed + 1)
        found.append(cka(fingerprint(one), fingerprint(other)))
        centred = [x - x.mean(0) for x in (one, other)]
        grams = [x @ x.T for x in centred]
        usual.append(np.sum(grams[0] * grams[1]) / np.prod([np.linalg.norm(gram) for gram in grams]))
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(60)
    assert np.std(found) < 0.1
    assert np.mean(usual) > 0.8


def test_a_mixture_has_the_expected_value():
    """X and X + noise of equal size, many dimensions: 1 / sqrt(2) of the variance ratio, here 1 / 2 over sqrt(1/2)."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(40):
        one = rng.standard_normal((200, 5)).astype(np.float32)
        both = np.concatenate([one, rng.standard_normal((200, 5)).astype(np.float32)], axis=1)
        found.append(cka(fingerprint(one), fingerprint(both)))
    assert np.mean(found) == pytest.approx(1 / np.sqrt(2), abs=0.02)


def test_rows_of_the_centred_matrix_sum_to_zero():
    centred = u_centred(states() @ states().T)
    assert centred.sum(axis=0) == pytest.approx(np.zeros(40), abs=1e-3)
    assert (np.diag(centred) == 0).all()


def test_states_that_do_not_differ_are_like_nothing():
    same = np.tile(np.float32([1, 2, 3]), (10, 1))
    assert not fingerprint(same).any()
    assert np.isnan(cka(fingerprint(same), fingerprint(states(10, 3))))
