"""Causal attention of short rows in bfloat16 on a CPU: plain products of blocks of queries with the keys before them.

PyTorch's fused kernel for CPUs takes two to three times as long there, forward and backward. Scores and the gradients
of weights are float32 products of the 16-bit numbers, and softmax is float32, as in the kernel; the backward pass makes
the weights again, so that nothing of the size of scores is kept. It must not be used for long rows, whose scores leave
the cache, nor change what a float32 training computes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

# Of 32 to 512 queries per block this costs least for rows of 128 to 512 tokens and heads of 16 and 32.
QUERIES = 64
LONGEST = 512


def is_short(query: Tensor) -> bool:
    """Whether rows like ``query`` ``[rows, heads, length, dims]`` are taken here."""
    return query.device.type == "cpu" and query.dtype is torch.bfloat16 and query.shape[2] <= LONGEST


def attend_short(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention ``[rows, heads, length, dims]`` of bfloat16 tensors of that shape; differentiable once.

    In memory the result is ``[rows, length, heads, dims]``, as the fused kernel's; no copy of the tensors is kept for
    the backward pass.
    """
    mixed: Tensor = ShortAttention.apply(query, key, value)  # type: ignore[no-untyped-call]
    return mixed.transpose(1, 2)


class ShortAttention(torch.autograd.Function):
    """The same, with a result ``[rows, length, heads, dims]``."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Weighted means of ``value``."""
        rows, heads, length, dims = query.shape
        scaled, keys, values = query.flatten(0, 1).float() / math.sqrt(dims), flat(key), value.flatten(0, 1)
        mixed = query.new_empty(rows, length, heads, dims)
        with torch.autocast("cpu", enabled=False):
            for first, last in blocks(length):
                given = weights(scaled[:, first:last], keys[:, :last]).to(value.dtype)
                part = torch.bmm(given, values[:, :last])
                mixed[:, first:last] = part.view(rows, heads, last - first, dims).transpose(1, 2)
        ctx.save_for_backward(query, key, value, mixed)
        return mixed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        """Gradients for queries, keys and values; those of the last two are added up in float32."""
        query, key, value, mixed = ctx.saved_tensors
        scale = 1 / math.sqrt(query.shape[-1])
        scaled, keys, values, wide = flat(query) * scale, flat(key), flat(value), flat(gradients[0].transpose(1, 2))
        common = (wide * flat(mixed.transpose(1, 2))).sum(-1, keepdim=True)
        queries, narrow, outer = (each.flatten(0, 1) for each in (query, key, gradients[0].transpose(1, 2)))
        for_query = torch.empty_like(queries)
        for_key, for_value = torch.zeros_like(keys), torch.zeros_like(values)
        with torch.autocast("cpu", enabled=False):
            for first, last in blocks(query.shape[2]):
                given = weights(scaled[:, first:last], keys[:, :last])
                for_value[:, :last] += torch.bmm(given.to(outer.dtype).transpose(1, 2), outer[:, first:last])
                scores = torch.bmm(wide[:, first:last], values[:, :last].transpose(1, 2))
                scores = scores.sub_(common[:, first:last]).mul_(given).mul_(scale).to(query.dtype)
                for_query[:, first:last] = torch.bmm(scores, narrow[:, :last])
                for_key[:, :last] += torch.bmm(scores.transpose(1, 2), queries[:, first:last])
        return tuple(each.to(query.dtype).view(query.shape) for each in (for_query, for_key, for_value))


def flat(tensor: Tensor) -> Tensor:
    """``[rows, heads, length, dims]`` as float32 ``[rows x heads, length, dims]``."""
    return tensor.flatten(0, 1).float()


def blocks(length: int) -> Iterator[tuple[int, int]]:
    """Bounds of the blocks of a row.

    >>> list(blocks(150))
    [(0, 64), (64, 128), (128, 150)]
    """
    return ((first, min(first + QUERIES, length)) for first in range(0, length, QUERIES))


def weights(queries: Tensor, keys: Tensor) -> Tensor:
    """Softmax over the keys up to each query, ``[n, queries, keys]``; the last query is that of the last key."""
    scores = torch.bmm(queries, keys.transpose(1, 2))
    count = queries.shape[1]
    future = torch.ones(count, count, dtype=torch.bool).triu(1)
    scores[..., -count:].masked_fill_(future, -math.inf)
    return torch.softmax(scores, dim=-1)
