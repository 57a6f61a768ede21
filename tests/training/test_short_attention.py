"""Attention of short rows in bfloat16 beside the definition in float64 and beside PyTorch's fused kernel."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch.nn import functional

from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.recipe import recipe_of
from workflow_scripts.training.run import short_attention
from workflow_scripts.training.run.initialisation import initialise
from workflow_scripts.training.run.model import GPTNeoX
from workflow_scripts.training.run.short_attention import attend_short, is_short
from workflow_scripts.training.run.trainer import Objective


def defined(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    future = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool).triu(1)
    scores = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
    return scores.masked_fill(future, -math.inf).softmax(-1) @ value


def fused(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return functional.scaled_dot_product_attention(query, key, value, is_causal=True)


def run(attend, parts, outer):
    """Result and gradients, float64."""
    leaves = [part.clone().requires_grad_() for part in parts]
    result = attend(*leaves)
    result.backward(outer)
    return [tensor.detach().double() for tensor in (result, *(leaf.grad for leaf in leaves))]


@pytest.mark.parametrize(("length", "dims"), [(1, 16), (63, 16), (64, 32), (150, 8), (512, 32)])
@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_is_as_near_to_the_definition_as_the_fused_kernel(length, dims, spread):
    generator = torch.Generator().manual_seed(length)
    # Laid out as the network has them: [rows, length, heads, dims], turned.
    parts = [
        (torch.randn(2, length, 3, dims, generator=generator) * spread).bfloat16().transpose(1, 2) for _ in range(3)
    ]
    outer = torch.randn(2, 3, length, dims, generator=generator).bfloat16()
    wanted = run(defined, [part.double() for part in parts], outer.double())
    ours, theirs = (
        [float((a - b).norm() / b.norm().clamp(min=1e-9)) for a, b in zip(run(way, parts, outer), wanted, strict=True)]
        for way in (attend_short, fused)
    )
    if length > 1:  # of one key the weight is 1, and no gradient is left for scores
        assert all(mine < 1.5 * other for mine, other in zip(ours, theirs, strict=True)), (ours, theirs)
    assert ours[0] < 4e-3
    assert ours[3] < 4e-3


def test_only_short_rows_in_bfloat16_on_a_cpu_are_taken():
    assert is_short(torch.empty(1, 1, 512, 8, dtype=torch.bfloat16))
    assert not is_short(torch.empty(1, 1, 513, 8, dtype=torch.bfloat16))
    assert not is_short(torch.empty(1, 1, 8, 8))
    assert not is_short(torch.empty(1, 1, 8, 8, dtype=torch.float16))
    assert not is_short(torch.empty(1, 1, 8, 8, dtype=torch.bfloat16, device="meta"))


def test_a_later_token_changes_nothing_before_it():
    parts = [torch.randn(1, 2, 100, 16).bfloat16() for _ in range(3)]
    before = attend_short(*parts)
    for part in parts:
        part[:, :, 70:] = 9
    assert torch.equal(attend_short(*parts)[:, :, :70], before[:, :, :70])


def test_gradients_of_a_network_are_as_near_to_float64_as_with_the_fused_kernel(monkeypatch):
    model = load_suite("pocket").model("pocket-90k")
    recipe = dataclasses.replace(recipe_of(model), compute_dtype="bfloat16", rotary_precision="float32")
    tokens = torch.randint(0, recipe.vocab_size, (8, 129), generator=torch.Generator().manual_seed(0))

    def gradients(net, loss_of):
        loss_of(net)(tokens[:, :-1], tokens[:, 1:]).backward()
        return torch.cat([parameter.grad.double().flatten() for parameter in net.parameters()])

    def fresh():
        net = GPTNeoX(recipe)
        initialise(net, recipe)
        return net

    def exact(net):
        return lambda inputs, targets: functional.cross_entropy(net(inputs).flatten(0, 1), targets.flatten())

    wanted = gradients(fresh().double(), exact)
    far = {}
    for longest in (512, 0):
        monkeypatch.setattr(short_attention, "LONGEST", longest)
        found = gradients(fresh(), lambda net: Objective(net, recipe))
        far[longest] = float((found - wanted).norm() / wanted.norm())
    assert 0 < far[512] < 1.1 * far[0] < 0.02
    assert far[512] != far[0]  # the rows were short
