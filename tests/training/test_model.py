"""The network against transformers' GPTNeoXForCausalLM, and the true shapes against the published counts."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from workflow_scripts.errors import ModelError
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.publish import model_config
from workflow_scripts.training.recipe import Recipe, recipe_of
from workflow_scripts.training.run.initialisation import initialise, standard_deviation, starting_tensor
from workflow_scripts.training.run.model import GPTNeoX, rotary_tables

# Parameters, and parameters without embeddings, as EleutherAI's README and the Hub's weights have them.
PUBLISHED_COUNTS = {
    "14m": (14_067_712, 1_189_888),
    "31m": (30_494_720, 4_739_072),
    "70m": (70_426_624, 18_915_328),
    "160m": (162_322_944, 85_056_000),
    "410m": (405_334_016, 302_311_424),
    "1b": (1_011_781_632, 805_736_448),
    "1.4b": (1_414_647_808, 1_208_602_624),
    "2.8b": (2_775_208_960, 2_517_652_480),
    "6.9b": (6_857_302_016, 6_444_163_072),
    "12b": (11_846_072_320, 11_327_027_200),
}


def real(size: str) -> Recipe:
    return recipe_of(load_suite("pythia").model(f"pythia-{size}"))


def scaled_down(size: str) -> Recipe:
    """Same head size, rotated dims and depth ratio as the real model, two heads; float32 angles."""
    full = real(size)
    heads = 2
    return dataclasses.replace(
        full,
        layers=max(2, full.layers // 6),
        hidden_size=heads * full.head_size,
        heads=heads,
        vocab_size=160,
        sequence_length=48,
        rotary_precision="float32",
        compute_dtype="float32",
    )


def reference(recipe: Recipe, model: GPTNeoX, attention: str = "eager") -> GPTNeoXForCausalLM:
    """Transformers' model with the same weights and tanh GELU."""
    settings = {**model_config(recipe, "float32"), "hidden_act": "gelu_pytorch_tanh"}
    config = GPTNeoXConfig(**settings, attn_implementation=attention)
    net = GPTNeoXForCausalLM(config).eval()
    weights = {name.replace("embed_out", "lm_head"): value for name, value in model.state_dict().items()}
    known = set(net.state_dict())
    if "lm_head.weight" not in known:
        weights["embed_out.weight"] = weights.pop("lm_head.weight")
    net.load_state_dict(weights)
    return net


def disturbed(recipe: Recipe) -> GPTNeoX:
    """Model with large random weights everywhere, norms and biases included."""
    model = GPTNeoX(recipe)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if name.endswith("norm.weight") else 0.0, 0.15, generator=generator)
    return model


@pytest.mark.parametrize("size", PUBLISHED_COUNTS)
def test_parameter_counts_of_the_real_shapes(size: str) -> None:
    with torch.device("meta"):
        model = GPTNeoX(real(size))
    total = sum(parameter.numel() for parameter in model.parameters())
    embeddings = model.gpt_neox.embed_in.weight.numel() + model.embed_out.weight.numel()
    assert (total, total - embeddings) == PUBLISHED_COUNTS[size]
    assert real(size).parameters == total


@pytest.mark.parametrize("size", PUBLISHED_COUNTS)
def test_logits_equal_transformers(size: str) -> None:
    recipe = scaled_down(size)
    model = disturbed(recipe)
    tokens = torch.from_numpy(np.random.RandomState(1).randint(0, 160, (2, 48)))
    with torch.no_grad():
        ours, theirs = model(tokens), reference(recipe, model)(tokens).logits
    assert ours.abs().max() > 1
    assert (ours - theirs).abs().max() <= 1e-4


def test_names_are_those_of_transformers(recipe: Recipe) -> None:
    net = reference(recipe, GPTNeoX(recipe))
    theirs = {name.replace("lm_head", "embed_out"): value.shape for name, value in net.named_parameters()}
    assert {name: value.shape for name, value in GPTNeoX(recipe).state_dict().items()} == theirs


def test_a_later_token_changes_no_earlier_logit(recipe: Recipe) -> None:
    model = disturbed(recipe)
    tokens = torch.arange(16)[None] % recipe.vocab_size
    changed = tokens.clone()
    changed[0, 9] = 50
    with torch.no_grad():
        before, after = model(tokens), model(changed)
    assert torch.equal(before[0, :9], after[0, :9])
    assert not torch.equal(before[0, 9:], after[0, 9:])


def test_a_row_that_is_too_long_is_refused(recipe: Recipe) -> None:
    with pytest.raises(ModelError, match="row of 17 tokens"):
        GPTNeoX(recipe)(torch.zeros(1, 17, dtype=torch.long))


# Largest angle error of half precision over 2048 positions, in radians, as measured in the specification.
ANGLE_ERRORS = [
    ("float16", 32, 0.10),
    ("float16", 64, 0.37),
    ("float16", 80, 0.42),
    ("float16", 128, 0.82),
    ("bfloat16", 256, 7.2),
]


@pytest.mark.parametrize(("precision", "head_size", "error"), ANGLE_ERRORS)
def test_half_precision_angles_are_as_wrong_as_the_originals(precision: str, head_size: int, error: float) -> None:
    full = dataclasses.replace(real("70m"), hidden_size=head_size, heads=1, rotary_precision=precision)
    exact = dataclasses.replace(full, rotary_precision="float32")
    wrong, right = rotary_tables(full), rotary_tables(exact)
    off = torch.atan2(wrong[1], wrong[0]) - torch.atan2(right[1], right[0])
    off = (off + math.pi) % (2 * math.pi) - math.pi
    assert off.abs().max() == pytest.approx(min(error, math.pi), rel=0.15)


def test_initial_standard_deviations() -> None:
    small, default = real("410m"), real("6.9b")
    assert standard_deviation(small, "embed_out.weight") == pytest.approx(math.sqrt(2 / 5120))
    assert standard_deviation(small, "gpt_neox.layers.0.attention.dense.weight") == pytest.approx(2 / 24 / 32)
    assert standard_deviation(small, "gpt_neox.layers.0.mlp.dense_h_to_4h.weight") == pytest.approx(0.019764, rel=1e-4)
    assert standard_deviation(default, "gpt_neox.layers.3.mlp.dense_4h_to_h.weight") == pytest.approx(0.0025)
    assert standard_deviation(default, "gpt_neox.embed_in.weight") == 0.02


def test_initial_weights_have_their_deviation_and_norms_are_neutral(variant: Callable[..., Recipe]) -> None:
    recipe = variant(hidden_size=64, vocab_size=512)
    model = GPTNeoX(recipe)
    initialise(model, recipe)
    for name, parameter in model.named_parameters():
        if "norm" in name or name.endswith("bias"):
            assert torch.equal(parameter, torch.full_like(parameter, float(name.endswith("weight"))))
        else:
            assert parameter.std().item() == pytest.approx(standard_deviation(recipe, name), rel=0.05)


def test_initial_weights_depend_on_the_seed_and_on_nothing_else(variant: Callable[..., Recipe]) -> None:
    torch.manual_seed(1)
    first = starting_tensor(variant(), "gpt_neox.embed_in.weight", 0, torch.Size([4, 8]))
    torch.manual_seed(2)
    np.random.seed(5)
    again = starting_tensor(variant(), "gpt_neox.embed_in.weight", 0, torch.Size([4, 8]))
    other = starting_tensor(variant(weight_seed=1), "gpt_neox.embed_in.weight", 0, torch.Size([4, 8]))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    # numpy's MT19937 seeded with SeedSequence((1234, 0)), times sqrt(2 / 160): the same on every machine.
    stream = np.random.RandomState(np.random.MT19937(np.random.SeedSequence((1234, 0))))
    assert first.flatten()[0].item() == pytest.approx(stream.standard_normal() * math.sqrt(2 / 160), rel=1e-6)
