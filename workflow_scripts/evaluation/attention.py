"""Self-attention among the nodes of packed prefix trees: query q sees key k exactly when ``k <= q < end[k]``.

Two ways with the same result: ``sdpa`` runs PyTorch's fused attention on stretches of queries, each against the keys
that any of them can see, so neither the future nor other trees of a row cost much; ``flex`` gives the rule to
FlexAttention, which skips masked blocks by itself (made for CUDA; without compilation, as on a CPU, it is slow and for
tests). A [T, T] mask of a whole row is never made by either.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch.nn import functional

from workflow_scripts.evaluation.batches import Batch

WAYS = ("sdpa", "flex")
# Queries per stretch. Shorter stretches leave out more of the masked pairs and cost more calls; of 64, 128, 256 and 512
# this costs least for rows of 256 to 2048 nodes on a CPU.
QUERIES = {"cpu": 128, "cuda": 1024}


@dataclass(frozen=True)
class Stretch:
    """Queries ``first`` to ``last`` against keys ``key`` to ``last``; ``mask`` [B, 1, queries, keys] is added."""

    first: int
    last: int
    key: int
    mask: torch.Tensor


@dataclass(frozen=True)
class View:
    """How nodes of a batch see each other.

    ``cos``, ``sin`` [B, T, 1, 1, half the rotary size] of their positions; ``stretches`` for sdpa, ``blocks`` for flex.
    """

    cos: torch.Tensor
    sin: torch.Tensor
    stretches: list[Stretch] = field(default_factory=list)
    blocks: Any = None


def make_view(batch: Batch, frequencies: torch.Tensor, dtype: torch.dtype, way: str) -> View:
    """View of ``batch`` on the device of ``frequencies``; masks and rotary factors are in ``dtype``."""
    device = frequencies.device
    depth, end = batch.depth.to(device), batch.end.to(device)
    angles = (depth[..., None].float() * frequencies)[:, :, None, None]
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    if way == "flex":
        return View(cos, sin, blocks=block_mask(end))
    return View(cos, sin, make_stretches(batch.depth, end, dtype))


def make_stretches(depth: torch.Tensor, end: torch.Tensor, dtype: torch.dtype) -> list[Stretch]:
    """Stretches of the rows with ``depth`` (on the CPU) and ``end`` [B, T]."""
    width, size = depth.shape[1], QUERIES[end.device.type]
    nodes = torch.arange(width)
    roots = torch.where(depth == 0, nodes, 0).cummax(dim=1).values.amin(dim=0)  # first key that a query may see
    stretches = []
    for first in range(0, width, size):
        last, key = min(first + size, width), int(roots[first])
        mask = visible_mask(end, first, last, key)
        added = torch.zeros(mask.shape, dtype=dtype, device=end.device).masked_fill_(~mask, float("-inf"))
        stretches.append(Stretch(first, last, key, added[:, None]))
    return stretches


def visible_mask(end: torch.Tensor, first: int, last: int, key: int) -> torch.Tensor:
    """Which of the keys ``key`` to ``last`` the queries ``first`` to ``last`` see; bool [B, queries, keys]."""
    queries = torch.arange(first, last, device=end.device)
    keys = torch.arange(key, last, device=end.device)
    return (keys[None, None, :] <= queries[None, :, None]) & (end[:, None, key:last] > queries[None, :, None])


def block_mask(end: torch.Tensor) -> Any:
    """The rule as a block mask of FlexAttention."""
    from torch.nn.attention.flex_attention import create_block_mask

    def rule(row: torch.Tensor, head: torch.Tensor, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
        return (key <= query) & (end[row, key] > query)

    return create_block_mask(rule, end.shape[0], None, end.shape[1], end.shape[1], device=end.device.type)


def rotate(vectors: torch.Tensor, view: View) -> None:
    """Rotary position embedding of ``vectors`` [B, T, 2, heads, rotary size], in place.

    Coordinate i is turned with coordinate i + half the rotary size, as GPT-NeoX does.
    """
    half = vectors.shape[-1] // 2
    first, second = vectors[..., :half], vectors[..., half:]
    turned = first * view.cos - second * view.sin
    second.mul_(view.cos).add_(first * view.sin)
    first.copy_(turned)


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, view: View) -> torch.Tensor:
    """Attention of each node over the nodes it sees; from [B, heads, T, head size] to [B, T, heads, head size]."""
    if view.blocks is not None:
        return flex(query.device.type)(query, key, value, block_mask=view.blocks).transpose(1, 2)
    parts = [
        functional.scaled_dot_product_attention(
            query[:, :, part.first : part.last],
            key[:, :, part.key : part.last],
            value[:, :, part.key : part.last],
            attn_mask=part.mask,
        ).transpose(1, 2)
        for part in view.stretches
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


@functools.cache
def flex(device: str) -> Callable[..., torch.Tensor]:
    """FlexAttention, compiled where there is a GPU to compile for."""
    from torch.nn.attention.flex_attention import flex_attention

    if device == "cuda":
        return cast("Callable[..., torch.Tensor]", torch.compile(flex_attention))
    return cast("Callable[..., torch.Tensor]", flex_attention)
