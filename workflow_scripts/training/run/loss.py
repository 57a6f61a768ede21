"""Mean cross-entropy of next tokens in float32 without ever holding ``[tokens, vocabulary]`` in full.

The loss and both gradients are computed chunk by chunk in the forward pass and written in place; the backward pass only
scales them. Memory is two chunks of logits plus one gradient of the unembedding. It must not change the value: equal
to ``torch.nn.functional.cross_entropy(logits.float(), targets)`` up to float32 rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Summed loss of a chunk's logits under its targets, and the gradient for the logits.
ChunkLoss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
# On CPUs 2 x 512 x 1024 float32 logits (4 MB) stay in a core's cache for small vocabularies, and 256 to 1024 tokens
# were equally fast at 50304; an accelerator needs larger products (8192 x 50304 float32 logits are 1.6 GB).
CHUNK_TOKENS = {"cpu": 512}
ACCELERATOR_CHUNK_TOKENS = 8192


def chunked_cross_entropy(
    hidden: Tensor,
    unembedding: Tensor,
    targets: Tensor,
    chunk_tokens: int | None = None,
    loss_of: ChunkLoss | None = None,
) -> Tensor:
    """Mean over tokens of ``-log softmax(hidden @ unembedding.T)[target]``; float32 scalar.

    ``hidden`` is ``[tokens, hidden_size]``, ``unembedding`` ``[vocab_size, hidden_size]``, ``targets`` int64
    ``[tokens]``, ``chunk_tokens`` of them at once, by default what suits the device. Products are made in the dtype of
    ``hidden``, or of autocast where it is on; softmax and sums in float32. Gradients of 16-bit logits are kept as p - 1
    in [-1, 1] and scaled in float32, so that none underflows. ``loss_of`` is ``chunk_loss`` or a compiled form of it.
    """
    if chunk_tokens is None:
        chunk_tokens = CHUNK_TOKENS.get(hidden.device.type, ACCELERATOR_CHUNK_TOKENS)
    total: Tensor = ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden, unembedding, targets, chunk_tokens, loss_of or chunk_loss
    )
    return total / targets.shape[0]


class ChunkedCrossEntropy(torch.autograd.Function):
    """Summed loss and its gradients under one unembedding, chunk by chunk."""

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes positions only
        ctx: Any, hidden: Tensor, unembedding: Tensor, targets: Tensor, chunk_tokens: int, loss_of: ChunkLoss
    ) -> Tensor:
        """Compute the loss and keep the gradients for ``hidden`` and ``unembedding``."""
        device = hidden.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
        with torch.autocast(device, enabled=False):
            states, weight = hidden.to(dtype), unembedding.to(dtype)
            grad_states = torch.empty_like(states)
            grad_weight = torch.zeros(unembedding.shape[::-1], dtype=unembedding.dtype, device=hidden.device)
            total = torch.zeros((), dtype=torch.float32, device=hidden.device)
            for start in range(0, states.shape[0], chunk_tokens):
                part = slice(start, start + chunk_tokens)
                loss, grad_logits = loss_of(states[part] @ weight.t(), targets[part])
                total += loss
                torch.mm(grad_logits, weight, out=grad_states[part])
                accumulate(grad_weight, grad_logits, states[part])
        ctx.save_for_backward(grad_states.to(hidden.dtype), grad_weight.t().contiguous())
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Scale the gradients that ``forward`` made."""
        grad_states, grad_weight = ctx.saved_tensors
        return grad_states * gradients[0], grad_weight * gradients[0], None, None, None


def chunk_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Summed loss of one chunk (float32) and its gradient for ``logits``, in their dtype.

    The largest probability p of a row is at least 1 / vocab_size, so log-sum-exp = max - log p is exact to rounding and
    needs no second pass over the row.
    """
    scores = logits.float()
    probabilities = torch.softmax(scores, dim=-1)
    log_sum = scores.amax(dim=-1) - probabilities.amax(dim=-1).log()
    column = targets[:, None]
    loss = (log_sum - scores.gather(1, column).squeeze(1)).sum()
    gradient = probabilities.scatter_add_(1, column, torch.full_like(column, -1, dtype=probabilities.dtype))
    return loss, gradient.to(logits.dtype)


def accumulate(total: Tensor, grad_logits: Tensor, states: Tensor) -> None:
    """Add ``states.T @ grad_logits`` to ``total`` ``[hidden_size, vocab_size]`` in the dtype of ``total``.

    On CPUs this orientation is up to 1.7 times faster than its transpose, which a narrow model would feel.
    """
    if grad_logits.dtype == total.dtype:
        total.addmm_(states.t(), grad_logits)
    else:
        total.add_(states.t() @ grad_logits)
