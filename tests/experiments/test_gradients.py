"""Gradients against transformers and torch's autograd, the noise scale against a distribution that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.experiments.dynamics_models import SHAPES, save_random
from workflow_scripts.experiments.dynamics.gradients import BatchGradients, batch_gradients, ratio
from workflow_scripts.experiments.dynamics.probe_model import ProbeModel


def summed_up(gradients):
    """What :class:`BatchGradients` keeps of gradients [B, n]."""
    mean = gradients.mean(0)
    return BatchGradients((gradients**2).sum(1), gradients @ mean, float(mean @ mean))


@pytest.mark.parametrize("shape", list(SHAPES))
def test_gradients_are_those_of_transformers(tmp_path, shape):
    reference = save_random(tmp_path, shape, scale=1.0)
    rows = torch.randint(0, 200, (4, 17), generator=torch.Generator().manual_seed(1))
    wanted = []
    for row in rows:
        reference.zero_grad()
        logits = reference(row[None, :-1]).logits[0]
        torch.nn.functional.cross_entropy(logits, row[1:]).backward()
        wanted.append(torch.cat([weight.grad.flatten() for weight in reference.parameters()]).double().numpy())
    whole = summed_up(np.stack(wanted))
    found = batch_gradients(ProbeModel(tmp_path), rows)
    assert found.squares == pytest.approx(whole.squares, rel=1e-3)
    assert found.products == pytest.approx(whole.products, rel=1e-3)
    assert found.norm().value == pytest.approx(np.linalg.norm(np.stack(wanted).mean(0)), rel=1e-3)


def test_both_parts_of_the_ratio_are_without_bias():
    """Mean 2 in one of 50 directions, covariance 9 in all: |true|^2 is 4, the trace 450, over 4000 batches of 8."""
    rng = np.random.default_rng(0)
    squares, traces = [], []
    for _ in range(4000):
        batch = 3 * rng.standard_normal((8, 50))
        batch[:, 0] += 2
        known = summed_up(batch)
        mean, square = known.squares.mean(), known.mean_square
        squares.append((8 * square - mean) / 7)
        traces.append((mean - square) / (1 - 1 / 8))
        if square > mean / 8:
            assert ratio(mean, square, 8) == pytest.approx(traces[-1] / squares[-1])
    assert np.mean(squares) == pytest.approx(4, abs=4 * np.std(squares) / math.sqrt(4000))
    assert np.mean(traces) == pytest.approx(450, abs=4 * np.std(traces) / math.sqrt(4000))


def test_the_interval_holds_the_true_scale_about_as_often_as_it_says():
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        batch = rng.standard_normal((32, 20)) + 0.8  # true square 12.8, trace 20
        bounded = summed_up(batch).noise_scale()
        held += bounded.lower <= 20 / 12.8 <= bounded.upper
    assert 0.88 < held / 400 <= 0.995


def test_the_jackknife_leaves_out_one_row():
    batch = np.random.default_rng(2).standard_normal((6, 30)) + 1
    known = summed_up(batch)
    for row in range(6):
        other = summed_up(np.delete(batch, row, axis=0))
        assert known.without(row) == pytest.approx(ratio(other.squares.mean(), other.mean_square, 5))


def test_where_noise_hides_the_gradient_there_is_no_scale():
    opposite = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    assert math.isnan(summed_up(opposite).noise_scale().value)
    assert math.isnan(ratio(1.0, 1.0, 1))
    same = np.ones((5, 3))
    assert summed_up(same).noise_scale().value == pytest.approx(0, abs=1e-12)
