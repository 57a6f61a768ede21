"""Metrics of the probe in closed form: attention that is uniform, copies, or looks at one token."""

from __future__ import annotations

import math

import pytest
import torch

from tests.experiments.dynamics_models import save_random
from workflow_scripts.experiments.dynamics.probe_metrics import (
    PROBE_METRICS,
    attention_entropy,
    induction,
    residual_norm,
)
from workflow_scripts.experiments.dynamics.probe_model import Place, ProbeModel


def place(attention=None, states=None):
    length = attention.shape[-1] if attention is not None else states.shape[1]
    tokens = torch.zeros((1, length + 1), dtype=torch.int64)
    return Place(None, 0, tokens, torch.zeros(1, length, 4) if states is None else states, attention)


def uniform(length):
    lower = torch.ones(length, length).tril()
    return (lower / lower.sum(-1, keepdim=True))[None, None]


def test_uniform_attention_has_entropy_one_and_induction_by_chance():
    attention = uniform(16)
    assert attention_entropy(place(attention)).item() == pytest.approx(1, abs=1e-6)
    wanted = sum(1 / (query + 1) for query in range(8, 15)) / 7
    assert induction(place(attention)).item() == pytest.approx(wanted, rel=1e-6)


def test_attention_to_one_token_has_no_entropy():
    attention = torch.eye(12)[None, None]
    assert attention_entropy(place(attention)).item() == 0
    assert induction(place(attention)).item() == 0


def test_entropy_is_that_of_scipy():
    from scipy.stats import entropy

    attention = torch.rand(2, 3, 9, 9, generator=torch.Generator().manual_seed(0)).tril()
    attention /= attention.sum(-1, keepdim=True)
    found = attention_entropy(place(attention))
    for row in range(2):
        for head in range(3):
            shares = [entropy(attention[row, head, q, : q + 1].numpy()) / math.log(q + 1) for q in range(1, 9)]
            assert found[row, head].item() == pytest.approx(sum(shares) / 8, rel=1e-5)


def test_a_head_that_copies_has_induction_one():
    """From each token of the second half to the token behind its first occurrence, counted by hand."""
    half, tokens = 5, [7, 3, 9, 1, 4] * 2
    attention = torch.zeros(1, 2, 10, 10)
    for query in range(half, 10):
        first = tokens.index(tokens[query])
        attention[0, 0, query, first + 1] = 1.0
        attention[0, 1, query, first] = 1.0  # looks at the occurrence itself
    assert induction(place(attention)).tolist() == [[1.0, 0.0]]


def test_norms_are_means_over_tokens():
    states = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [6.0, 8.0]]])
    assert residual_norm(place(states=states)).item() == pytest.approx(5)


def test_every_metric_gives_a_value_per_row_and_head(tmp_path):
    save_random(tmp_path, "wide")
    model = ProbeModel(tmp_path)
    tokens = torch.randint(0, 200, (3, 21))
    with torch.inference_mode():
        places = list(model.places(tokens))
    for metric in PROBE_METRICS.values():
        for each in places[:-1] if metric.of_attention else places:
            found = metric.measure(each)
            assert found.shape == ((3, 6) if metric.of_attention else (3,))
            assert torch.isfinite(found).all()
    with pytest.raises(TypeError):
        attention_entropy(places[-1])
