"""What a GPU would see of the engine, without one: PyTorch's meta device has types and shapes and no numbers.

An operation on tensors of two devices raises, and so does whatever needs a number on the host, which on a GPU waits for
everything that was started. Numbers on a GPU are compared by benchmarks/gpu.sh.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from workflow_scripts.evaluation.engine import attention, output_head
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.engine.output_head import Head
from workflow_scripts.evaluation.planning.prefix_trees import ScoredSequence, pack


@pytest.fixture
def meta(monkeypatch):
    """The name of a device that the engine treats as a GPU."""
    monkeypatch.setitem(attention.QUERIES, "meta", attention.QUERIES["cuda"])
    monkeypatch.setitem(output_head.ROWS, "meta", 64)
    return "meta"


def forest(count=40, vocabulary=512):
    rng = np.random.default_rng(0)
    made = [rng.integers(0, vocabulary, rng.integers(3, 60)).astype(np.int32) for _ in range(count)]
    return pack([ScoredSequence(tokens, len(tokens) // 2, number // 2) for number, tokens in enumerate(made)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stretch_of_a_plan_waits_for_the_gpu_only_at_its_end(checkpoint, monkeypatch, meta, dtype):
    made, found = forest(), []
    predict = Head.predict

    def counted(self, hidden, slots, targets):
        assert hidden.device.type == meta
        found.append(predict(self, hidden, slots, targets))
        return found[-1]

    monkeypatch.setattr(Head, "predict", counted)
    engine = Engine(checkpoint, meta, dtype)
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta"):  # whether all logits were finite
        engine.score_rows(made, 0, len(made.row_start) - 1, tokens=500)
    assert sum(len(values) for values, _, _ in found) == len(made.edge_token)
    assert all(part.device.type == meta for parts in found for part in parts)
    assert {values.dtype for values, _, _ in found} == {torch.float32}


def test_rows_of_a_mask_begin_where_a_fused_kernel_can_read_them():
    depth = np.tile(np.arange(37), (2, 1))
    stretch = attention.make_stretches(depth, torch.full((2, 37), 37), torch.bfloat16)[0]
    assert stretch.mask.shape == (2, 1, 37, 37)
    assert not any(step % 8 for step in stretch.mask.stride()[:-1])


def test_a_pass_on_a_gpu_holds_more_tokens_of_a_narrow_network(checkpoint):
    engine = Engine(checkpoint)
    assert engine.tokens_per_pass() == 2048
    engine.device = torch.device("cuda:0")
    widths = {512: 65536, 2048: 16384, 5120: 6553, 1 << 20: 2048}
    for width, tokens in widths.items():
        engine.config = dataclasses.replace(engine.config, hidden_size=width)
        assert engine.tokens_per_pass() == tokens
