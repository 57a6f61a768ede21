"""Self-attention among the nodes of packed prefix trees: query q sees key k exactly when ``k <= q < end[k]``.

Two ways with the same result: ``sdpa`` runs PyTorch's fused attention on stretches of queries, each against the keys
that any of them can see, so neither the future nor other trees of a row cost much (in float32 on a CPU by products
fitted still closer to the trees, blockwise_attention.py); ``flex`` gives the rule to FlexAttention, which skips masked
blocks itself (made for CUDA; without compilation, as on a CPU, it is slow and for tests). Neither ever makes a [T, T]
mask of a whole row.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import numpy as np
import torch
from torch.nn import functional

from workflow_scripts.evaluation.engine.blockwise_attention import Group, Indices, attend_in_blocks, make_groups
from workflow_scripts.evaluation.engine.row_tensors import Batch

WAYS = ("sdpa", "flex")
# Queries per stretch. Shorter stretches leave out more of the masked pairs and cost more calls.
QUERIES = {"cpu": 128, "cuda": 1024}
MASK_STEP = 16


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

    ``turns`` complex64 [B, 1, T, half the rotary size]: cosine and sine of their angles; ``stretches`` or ``groups``
    for sdpa, ``flex_mask`` for flex.
    """

    turns: torch.Tensor
    stretches: list[Stretch] = field(default_factory=list)
    groups: list[Group] | None = None
    flex_mask: Any = None

    @property
    def at_slots(self) -> Self:
        """What the last layer needs of it."""
        return self if self.groups is None else replace(self, groups=[group.at_slots for group in self.groups])


def make_view(batch: Batch, frequencies: torch.Tensor, dtype: torch.dtype, way: str, heads: int) -> View:
    """View of ``batch`` on the device of ``frequencies`` for ``heads`` heads in ``dtype``."""
    device = frequencies.device
    # Small copies from plain memory: the driver takes them at once, and nothing waits for the GPU.
    depth, end = (each.to(device, non_blocking=True) for each in (batch.depth, batch.end))
    angles = (depth[..., None].float() * frequencies)[:, None]
    turns = torch.complex(angles.cos(), angles.sin())
    if way == "flex":
        return View(turns, flex_mask=block_mask(end))
    if in_blocks(device, dtype, way):
        return View(turns, groups=make_groups(batch.depth.numpy(), batch.end.numpy(), batch.slots.numpy(), heads))
    return View(turns, make_stretches(batch.depth.numpy(), end, dtype))


def in_blocks(device: torch.device, dtype: torch.dtype, way: str) -> bool:
    """True when attention is computed by blockwise_attention.py."""
    return device.type == "cpu" and dtype == torch.float32 and way == "sdpa"


def make_stretches(depth: Indices, end: torch.Tensor, dtype: torch.dtype) -> list[Stretch]:
    """Stretches of the rows with ``depth`` and ``end`` [B, T]; only the latter is on the device."""
    width, size = depth.shape[1], QUERIES[end.device.type]
    nodes = np.arange(width)
    roots = np.maximum.accumulate(np.where(depth == 0, nodes, 0), axis=1).min(axis=0)  # first key that a query may see
    stretches = []
    for first in range(0, width, size):
        last, key = min(first + size, width), int(roots[first])
        mask = visible_mask(end, first, last, key)
        # Fused kernels of a GPU want rows that begin at multiples of 16 bytes, and would copy the mask in every layer.
        columns = -(-mask.shape[2] // MASK_STEP) * MASK_STEP
        room = torch.zeros((*mask.shape[:2], columns), dtype=dtype, device=end.device)
        added = room[..., : mask.shape[2]].masked_fill_(~mask, float("-inf"))
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
    """Rotary position embedding of ``vectors`` [2, B, heads, T, rotary size], in place.

    Coordinates 2i and 2i + 1, which GPT-NeoX keeps half the rotary size apart, are turned as one complex number.
    """
    pairs = vectors.view(*vectors.shape[:-1], view.turns.shape[-1], 2)
    if vectors.dtype == torch.float32 and vectors.stride(-2) % 2 == 0:
        torch.view_as_complex(pairs).mul_(view.turns)
    else:
        turned = torch.view_as_complex(pairs.float().contiguous()) * view.turns
        pairs.copy_(torch.view_as_real(turned))


def attend(joint: torch.Tensor, view: View) -> torch.Tensor:
    """Attention of each node over the nodes it sees; [B, T, heads, head size].

    ``joint`` [B, T, 3, heads, head size] holds queries, keys and values; it may be overwritten.
    """
    packed = joint.permute(2, 0, 3, 1, 4)
    if view.groups is not None:
        packed = packed.contiguous()
    rotate(packed[:2, ..., : 2 * view.turns.shape[-1]], view)
    if view.groups is not None:
        return attend_in_blocks(packed, view.groups)
    query, key, value = packed
    if view.flex_mask is not None:
        return flex(query.device.type)(query, key, value, block_mask=view.flex_mask).transpose(1, 2)
    return attend_in_stretches(query, key, value, view.stretches)


def attend_in_stretches(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, stretches: list[Stretch]
) -> torch.Tensor:
    """Attention by PyTorch's fused kernel; from [B, heads, T, head size] to [B, T, heads, head size]."""
    parts = [
        functional.scaled_dot_product_attention(
            query[:, :, part.first : part.last],
            key[:, :, part.key : part.last],
            value[:, :, part.key : part.last],
            attn_mask=part.mask,
        ).transpose(1, 2)
        for part in stretches
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


@functools.cache
def flex(device: str) -> Callable[..., torch.Tensor]:
    """FlexAttention, compiled where there is a GPU to compile for."""
    from torch.nn.attention.flex_attention import flex_attention

    if device == "cuda":
        return cast("Callable[..., torch.Tensor]", torch.compile(flex_attention))
    return cast("Callable[..., torch.Tensor]", flex_attention)
