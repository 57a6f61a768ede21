"""Metrics of the probe in closed form: attention that is uniform, copies, or looks at one token."""

from __future__ import annotations

import math

import pytest
import torch

from tests.experiments.dynamics_models import save_random
from tests.experiments.experiment_models import write_folder
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


WORDS, WIDTH, HEAD = 16, 64, 32


def copying_model(folder):
    """Two layers of two heads that copy by construction: (0, 0) looks one token back, (1, 0) for the same token there.

    Tokens are unit vectors in the first 16 dims of the stream; head (0, 0) writes the previous token into the next 16.
    Half of a head is rotated, with 8 frequencies f; a query turned back by f meets the key one place before it.
    """
    weights = {"gpt_neox.embed_in.weight": torch.eye(WORDS, WIDTH), "embed_out.weight": torch.eye(WORDS, WIDTH)}
    shapes = {"attention.query_key_value": (3 * WIDTH, WIDTH), "attention.dense": (WIDTH, WIDTH)}
    shapes |= {"mlp.dense_h_to_4h": (4 * WIDTH, WIDTH), "mlp.dense_4h_to_h": (WIDTH, 4 * WIDTH)}
    norms = ["gpt_neox.final_layer_norm"]
    for layer in range(2):
        prefix = f"gpt_neox.layers.{layer}"
        norms += [f"{prefix}.input_layernorm", f"{prefix}.post_attention_layernorm"]
        for name, shape in shapes.items():
            weights[f"{prefix}.{name}.weight"] = torch.zeros(shape)
            weights[f"{prefix}.{name}.bias"] = torch.zeros(shape[0])
    for name in norms:
        weights |= {f"{name}.weight": torch.ones(WIDTH), f"{name}.bias": torch.zeros(WIDTH)}
    frequencies = 10000.0 ** -(torch.arange(0, 16, 2) / 16)
    query, key, value = (slice(HEAD * part, HEAD * (part + 1)) for part in range(3))  # rows of head 0
    bias = weights["gpt_neox.layers.0.attention.query_key_value.bias"]
    bias[query][:8], bias[query][8:16] = 200 * frequencies.cos(), -200 * frequencies.sin()
    bias[key][:8] = 1.0
    weights["gpt_neox.layers.0.attention.query_key_value.weight"][value][:WORDS, :WORDS] = torch.eye(WORDS)
    weights["gpt_neox.layers.0.attention.dense.weight"][WORDS : 2 * WORDS, :WORDS] = torch.eye(WORDS) / 8
    joint = weights["gpt_neox.layers.1.attention.query_key_value.weight"]
    joint[query][16:, :WORDS] = 5 * torch.eye(WORDS)
    joint[key][16:, WORDS : 2 * WORDS] = torch.eye(WORDS)
    return ProbeModel(write_folder(folder, weights, 2, 2 * WORDS, rotary_pct=0.5))


def test_the_head_that_copies_by_construction_is_found(tmp_path):
    """It does so where tokens repeat and not where they do not; the one before it looks back whatever the tokens."""
    model = copying_model(tmp_path)
    first, second = (torch.stack([torch.randperm(WORDS) for _ in range(8)]) for _ in range(2))
    found = {}
    with torch.inference_mode():
        for name, half in (("repeated", first), ("unrepeated", second)):
            tokens = torch.cat([first, half, first[:, :1]], dim=1)
            places = [each for each in model.places(tokens) if each.attention is not None]
            found[name] = torch.stack([induction(each).mean(0) for each in places])
            back = places[0].attention[:, 0].diagonal(-1, dim1=-2, dim2=-1)
            assert back.min() > 0.99
    assert found["repeated"][1, 0] > 0.95
    assert found["unrepeated"][1, 0] < 0.2
    others = torch.tensor([[True, True], [False, True]])
    assert (found["repeated"] - found["unrepeated"])[others].abs().max() < 0.01
