"""The chunked loss against torch's own, its gradients included."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from workflow_scripts.training.run.loss import chunked_cross_entropy


def tensors(tokens: int, width: int, vocabulary: int, spread: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(tokens * 1000 + vocabulary)
    hidden = torch.randn(tokens, width, generator=generator) * spread
    weight = torch.randn(vocabulary, width, generator=generator)
    return hidden, weight, torch.randint(0, vocabulary, (tokens,), generator=generator)


@given(st.integers(1, 70), st.integers(1, 20), st.integers(2, 90), st.integers(1, 80), st.sampled_from([0.1, 1.0, 3.0]))
@settings(deadline=None, max_examples=40)
def test_value_and_gradients_equal_torch(tokens: int, width: int, vocabulary: int, chunk: int, spread: float) -> None:
    hidden, weight, targets = tensors(tokens, width, vocabulary, spread)
    ours = (hidden.clone().requires_grad_(), weight.clone().requires_grad_())
    theirs = (hidden.clone().requires_grad_(), weight.clone().requires_grad_())
    loss = chunked_cross_entropy(ours[0], ours[1], targets, chunk)
    known = functional.cross_entropy(theirs[0] @ theirs[1].t(), targets)
    (loss * 3.0).backward()
    (known * 3.0).backward()
    assert loss.item() == pytest.approx(known.item(), rel=1e-5, abs=1e-6)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_extreme_logits_stay_finite() -> None:
    hidden = torch.tensor([[500.0], [-500.0]], requires_grad=True)
    weight = torch.tensor([[1.0], [-1.0], [0.0]], requires_grad=True)
    loss = chunked_cross_entropy(hidden, weight, torch.tensor([0, 0]))
    loss.backward()
    assert loss.item() == pytest.approx(500.0)
    assert torch.isfinite(hidden.grad).all()


def test_chunks_do_not_change_the_value() -> None:
    hidden, weight, targets = tensors(64, 8, 50, 1.0)
    losses = [chunked_cross_entropy(hidden, weight, targets, chunk).item() for chunk in (1, 7, 64, 1000)]
    assert losses == pytest.approx([losses[0]] * 4, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_softmax_and_sum_stay_in_float32(dtype: torch.dtype) -> None:
    hidden, weight, targets = tensors(40, 16, 64, 1.0)
    hidden.requires_grad_()
    with torch.autocast("cpu", dtype):
        loss = chunked_cross_entropy(hidden, weight.requires_grad_(), targets, 16)
    known = functional.cross_entropy((hidden.detach().to(dtype) @ weight.detach().to(dtype).t()).float(), targets)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(known.item(), rel=1e-3)
    assert hidden.grad.dtype == torch.float32
    assert weight.grad.dtype == torch.float32


def test_gradients_of_16_bit_logits_do_not_underflow() -> None:
    """A mean over many tokens would be below float16's smallest number if it were taken before the cast."""
    hidden, weight, targets = tensors(4, 8, 16, 1.0)
    hidden.requires_grad_()
    with torch.autocast("cpu", torch.float16):
        loss = chunked_cross_entropy(hidden, weight, targets) * 1e-9
    loss.backward()
    assert (hidden.grad != 0).all()


def test_no_tensor_of_all_logits_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, targets = tensors(64, 4, 30, 1.0)
    seen: list[int] = []
    original = torch.softmax

    def watched(scores: torch.Tensor, dim: int) -> torch.Tensor:
        seen.append(scores.shape[0])
        return original(scores, dim=dim)

    monkeypatch.setattr(torch, "softmax", watched)
    chunked_cross_entropy(hidden, weight, targets, 16)
    assert seen == [16, 16, 16, 16]
