"""Attention in blocks, linear layers by oneDNN and the softmax in powers of two equal their textbook definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from workflow_scripts.evaluation.engine import attention, linear_layers, output_head
from workflow_scripts.evaluation.engine.row_tensors import Batch, make_batches
from workflow_scripts.evaluation.planning.prefix_trees import ScoredSequence, pack


def batches(seed, prompt, branches, count, joined_above=math.inf):
    """Batches of random trees: ``count`` documents whose prompts may begin alike, each with some continuations."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        first = np.concatenate([[7, number % 2], rng.integers(0, 9, prompt)])
        for _ in range(branches):
            tokens = np.concatenate([first, rng.integers(0, 9, rng.integers(2, 20))])
            made.append(ScoredSequence(tokens.astype(np.int32), len(first) - 1, number))
    return make_batches(pack(made), 1024, joined_above=joined_above)


def textbook(joint, batch, frequencies):
    """Rotary embedding of neighbours and softmax over the nodes that ``k <= q < end[k]`` shows, in float64."""
    query, key, value = joint.double().permute(2, 0, 3, 1, 4)
    angles = batch.depth[:, None, :, None] * frequencies.double()
    turned = []
    for vectors in (query, key):
        pairs = vectors[..., : 2 * len(frequencies)].reshape(*vectors.shape[:-1], -1, 2)
        spun = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * torch.polar(angles * 0 + 1, angles))
        turned.append(torch.cat([spun.flatten(-2), vectors[..., 2 * len(frequencies) :]], dim=-1))
    nodes = torch.arange(batch.end.shape[1])
    visible = (nodes <= nodes[:, None]) & (batch.end[:, None, :] > nodes[:, None])
    scores = turned[0] @ turned[1].transpose(-1, -2) / math.sqrt(query.shape[-1])
    weights = scores.masked_fill(~visible[:, None], -math.inf).softmax(-1)
    return (weights @ value).transpose(1, 2)


def compare(batch, joint, dtype=torch.float32, way="sdpa", tolerance=1e-5):
    """Difference between ours and the textbook's at every node."""
    frequencies = 1.0 / 10000 ** (torch.arange(0, 2, dtype=torch.float32) / 2)
    view = attention.make_view(batch, frequencies, dtype, way, joint.shape[3])
    ours = attention.attend(joint.to(dtype).clone(), view)
    torch.testing.assert_close(ours.double(), textbook(joint, batch, frequencies), atol=tolerance, rtol=tolerance)
    return view, ours


@pytest.fixture(autouse=True, scope="module")
def fixed_numbers():
    """The same random tensors each time."""
    torch.manual_seed(0)


@settings(deadline=None, max_examples=15)
@given(
    st.integers(0, 99),
    st.sampled_from([1, 40, 150, 400]),
    st.integers(1, 4),
    st.integers(1, 6),
    st.sampled_from([100, math.inf]),
)
def test_blocks_equal_the_textbook_on_any_trees(seed, prompt, branches, count, joined_above):
    for batch in batches(seed, prompt, branches, count, joined_above):
        torch.manual_seed(seed)
        compare(batch, torch.randn(*batch.token.shape, 3, 2, 8))


def test_long_rows_follow_each_other_without_padding():
    apart, joined = (list(batches(2, 150, 3, 6, above)) for above in (math.inf, 128))
    assert all(batch.token.shape == (1, batch.nodes) for batch in joined)
    assert any(batch.token.numel() > batch.nodes for batch in apart)
    for what in ("token", "depth"):
        seen = [torch.cat([getattr(batch, what).flatten()[batch.slots] for batch in made]) for made in (apart, joined)]
        assert torch.equal(*seen)


def test_shared_beginnings_are_repeated_and_the_last_layer_leaves_out_the_rest():
    batch = next(iter(batches(3, 400, 2, 4)))
    view, everything = compare(batch, joint := torch.randn(*batch.token.shape, 3, 2, 8))
    assert any(group.place is not None for group in view.groups)
    taken = sum(block.pairs for group in view.groups for block in group.blocks)
    assert taken < 1.5 * float((batch.depth + 1).sum())  # twice as many from each tree's root on
    few = view.at_slots
    assert sum(len(group.blocks) for group in few.groups) < sum(len(group.blocks) for group in view.groups)
    rows = attention.attend(joint.clone(), few).flatten(0, 1)[batch.slots]
    assert torch.equal(rows, everything.flatten(0, 1)[batch.slots])


@pytest.mark.parametrize("size", [30.0, 300.0])
def test_scores_far_from_zero_lose_nothing(size):
    batch = next(iter(batches(4, 40, 3, 4)))
    joint = torch.randn(*batch.token.shape, 3, 2, 8)
    joint[..., 0, :, :] *= size
    compare(batch, joint, tolerance=2e-3)


def test_half_precision_and_odd_heads_take_the_other_ways():
    batch = next(iter(batches(5, 150, 2, 3)))
    compare(batch, torch.randn(*batch.token.shape, 3, 2, 7))
    view, _ = compare(batch, torch.randn(*batch.token.shape, 3, 2, 8), torch.bfloat16, tolerance=0.05)
    assert view.groups is None
    assert view.at_slots is view


def test_numbers_that_are_not_finite_stay():
    batch = Batch(*(torch.zeros(1, 70, dtype=torch.int64) for _ in range(3)), torch.tensor([69]), 0, 70)
    batch = Batch(batch.token, torch.arange(70)[None], torch.full((1, 70), 70), batch.slots, 0, 70)
    joint = torch.randn(1, 70, 3, 2, 8)
    joint[0, 3, 1] = math.nan
    view = attention.make_view(batch, torch.ones(1), torch.float32, "sdpa", 2)
    found = attention.attend(joint, view)
    assert found[0, 3:].isnan().all()


@pytest.mark.parametrize("name", ["relu", "gelu", "gelu_new"])
@pytest.mark.parametrize("rows", [64, 65])
def test_linear_layers_equal_the_definition(name, rows):
    inputs, weight, bias = torch.randn(rows, 24), torch.randn(40, 24), torch.randn(40)
    assert linear_layers.is_fused(inputs) == (rows == 64)
    plain = inputs.double() @ weight.double().t() + bias.double()
    wanted = {
        "relu": plain.clamp(min=0),
        "gelu": plain * 0.5 * (1 + torch.erf(plain / math.sqrt(2))),
        "gelu_new": functional.gelu(plain, approximate="tanh"),
    }[name]
    found = linear_layers.linear(inputs, weight, bias, linear_layers.activation_function(name))
    torch.testing.assert_close(found.double(), wanted, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(
        linear_layers.linear(inputs, weight).double(), plain - bias.double(), atol=2e-5, rtol=1e-5
    )


@pytest.mark.parametrize("count", [0, 40, 512, 1200])
def test_rows_in_pieces_are_the_rows(count):
    rows = torch.randn(count, 6)
    sizes = []

    def double(part):
        sizes.append(part.stop - part.start)
        return 2 * rows[part, :4]

    assert linear_layers.in_pieces(rows, double).equal(2 * rows[:, :4])
    assert sizes == {1200: [512, 512, 128, 48]}.get(count, [count])


@pytest.mark.parametrize("offset", [0.0, 60.0, -500.0, 500.0])
@pytest.mark.parametrize("rows", [5, 64, 70])
@pytest.mark.parametrize("in_blocks", [True, False], ids=["as on a CPU", "as on a GPU"])
def test_logarithms_of_the_softmax_hold_wherever_the_logits_lie(offset, rows, in_blocks):
    weight = torch.randn(2000, 16)
    weight[:, 0] = offset
    hidden = torch.randn(rows, 16)
    hidden[:, 0] = 1.0
    slots, targets = torch.arange(rows), torch.randint(0, 2000, (rows,))
    logs = (hidden.double() @ weight.double().t()).log_softmax(-1)
    targets[0] = logs[0].argmax()
    head = output_head.Head(weight)
    head.in_blocks = in_blocks
    values, best, finite = head.predict(hidden, slots, targets)
    assert bool(finite)
    torch.testing.assert_close(values.double(), logs[slots, targets], atol=3e-4 if offset else 1e-5, rtol=1e-6)
    assert torch.equal(best, logs.argmax(-1) == targets)


@pytest.mark.parametrize("in_blocks", [True, False], ids=["as on a CPU", "as on a GPU"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_are_reported_even_where_no_target_is(in_blocks, bad):
    head = output_head.Head(torch.ones(900, 8))
    head.in_blocks = in_blocks
    head.weight[890] = bad
    assert not bool(head.predict(torch.ones(3, 8), torch.tensor([0]), torch.tensor([5]))[2])


@pytest.mark.parametrize("in_blocks", [True, False], ids=["as on a CPU", "as on a GPU"])
def test_of_equal_logits_the_lowest_token_is_the_most_likely(in_blocks):
    weight = torch.zeros(900, 8)
    weight[[7, 800]] = 1.0
    head = output_head.Head(weight)
    head.in_blocks = in_blocks
    _, best, _ = head.predict(torch.ones(2, 8), torch.tensor([0, 0, 1]), torch.tensor([800, 7, 7]))
    assert best.tolist() == [False, True, True]
