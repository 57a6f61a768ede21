"""Metrics of weights against torch on whole matrices, on checkpoints of three shapes, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.experiments.dynamics_models import SHAPES, save_random
from workflow_scripts.evaluation.scoring.model_folder import read_config
from workflow_scripts.experiments.dynamics.weight_metrics import (
    ATTENTION_OUT,
    EMBEDDINGS,
    MATRICES,
    MLP_OUT,
    WEIGHT_METRICS,
    Accuracy,
    Weight,
    measure,
)
from workflow_scripts.experiments.dynamics.weight_stream import place_of, read_weights


@pytest.fixture(scope="module", params=list(SHAPES))
def checkpoint(request, tmp_path_factory):
    """Transformers' weights by their names on the Hub, and what is measured of each."""
    folder = tmp_path_factory.mktemp(request.param)
    model = save_random(folder, request.param)
    config = read_config(folder)
    found = {
        name: measure(Weight(place_of(name)[1], values, config.heads), WEIGHT_METRICS)
        for name, values in read_weights(folder, config)
    }
    weights = {name.replace("lm_head", "embed_out"): weight.detach() for name, weight in model.named_parameters()}
    return weights, found


def test_every_tensor_is_measured_and_every_metric_used(checkpoint):
    weights, found = checkpoint
    assert set(found) == set(weights)
    assert {metric for values in found.values() for metric in values} == set(WEIGHT_METRICS)


def test_norms_and_ranks_are_torchs(checkpoint):
    weights, found = checkpoint
    for name, parameter in weights.items():
        whole = parameter.double()
        assert found[name]["norm"].value == pytest.approx(float(torch.linalg.norm(whole)), rel=1e-9)
        if place_of(name)[1] not in MATRICES:
            assert set(found[name]) == {"norm"}
            continue
        values = torch.linalg.svdvals(whole)
        shares = values / values.sum()
        wanted = {
            "spectral_norm": float(torch.linalg.matrix_norm(whole, 2)),
            "stable_rank": float(torch.linalg.norm(whole) ** 2 / values[0] ** 2),
            "effective_rank": float(torch.exp(-(shares * shares.log()).sum())),
        }
        for metric, value in wanted.items():
            assert found[name][metric].value == pytest.approx(value, rel=1e-7)


def test_directions_of_the_embeddings_are_those_of_all_pairs(checkpoint):
    weights, found = checkpoint
    for part in ("gpt_neox.embed_in", "embed_out"):
        rows = weights[f"{part}.weight"].double()
        between = torch.nn.functional.cosine_similarity(rows[:, None], rows[None], dim=-1)
        off = ~torch.eye(len(rows), dtype=torch.bool)
        assert found[f"{part}.weight"]["mean_cosine"].value == pytest.approx(float(between[off].mean()), abs=1e-9)
        vectors = torch.linalg.svd(rows, full_matrices=False).Vh
        sums = torch.exp(torch.cat([rows @ vectors.T, -rows @ vectors.T], dim=1)).sum(0)
        assert found[f"{part}.weight"]["isotropy"].value == pytest.approx(float(sums.min() / sums.max()), rel=1e-4)


def test_isotropy_and_cosine_have_their_closed_forms():
    cross = Weight(EMBEDDINGS[0], np.concatenate([np.eye(4), -np.eye(4)]).astype(np.float32), 1)
    found = measure(cross, ["isotropy", "mean_cosine"])
    assert found["isotropy"].value == pytest.approx(1, rel=1e-6)
    assert found["mean_cosine"].value == pytest.approx(-1 / 7)
    same = Weight(EMBEDDINGS[0], np.tile(np.float32([3, 4]), (10, 1)), 1)
    found = measure(same, ["isotropy", "mean_cosine"])
    assert found["mean_cosine"].value == pytest.approx(1)
    assert found["isotropy"].value == pytest.approx(math.exp(-10), rel=1e-4)  # exp(5) along, exp(-5) against


def test_heads_and_neurons_that_write_nothing_are_counted():
    values = np.random.default_rng(0).standard_normal((12, 12)).astype(np.float32)
    values[:, 3:6] *= 1e-3  # head 1 of four
    assert measure(Weight(ATTENTION_OUT, values, 4), WEIGHT_METRICS)["near_zero_heads"].value == 0.25
    assert (
        measure(Weight(ATTENTION_OUT, values, 4, Accuracy(near_zero=1e-6)), WEIGHT_METRICS)["near_zero_heads"].value
        == 0
    )
    assert measure(Weight(MLP_OUT, values, 4), WEIGHT_METRICS)["near_zero_neurons"].value == 0.25
    assert measure(Weight(MLP_OUT, np.zeros((4, 8), np.float32), 4), WEIGHT_METRICS)["near_zero_neurons"].value == 1


def test_only_what_is_wanted_is_measured_and_large_matrices_are_sampled():
    values = np.random.default_rng(0).standard_normal((80, 60)).astype(np.float32)
    weight = Weight(MLP_OUT, values, 2, Accuracy(exact_below=30, rank=5))
    found = measure(weight, ["spectral_norm"])
    assert set(found) == {"spectral_norm"}
    assert len(weight.spectrum.values) == 5
    assert found["spectral_norm"].lower < np.linalg.norm(values, 2) < found["spectral_norm"].upper
