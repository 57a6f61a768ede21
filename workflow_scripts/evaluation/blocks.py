"""Attention among packed prefix trees as plain matrix products: the way of attention.py for float32 on a CPU.

Queries are taken in blocks of one row (of several, where rows are short), each against the keys from the root of its
first tree on, and a mask is added only where one of them may not see a key. Scores of a block stay in the processor's
cache. Exponentials are powers of two, from which the largest score is subtracted only where it must be. The result is
that of a fused kernel, whose products of few rows a CPU finishes more slowly and which knows one range of keys for all
rows. A [T, T] matrix never exists, nor does anything for more than one block.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

# Queries per block: fewer leave out more of the masked pairs and cost more calls.
QUERIES = 64
# Rows up to this wide are taken together, as long as their scores (float32) fit the cache.
SHORT_ROW = 128
CACHED_SCORES = 1 << 18
# Powers of two of scores up to this far from zero, and sums of them, neither overflow nor lose bits in float32.
SAFE = 64.0


@dataclass(frozen=True)
class Block:
    """Queries ``first`` to ``last`` of ``rows`` against keys ``key`` to ``last``.

    All of them see the keys before ``seen``; ``hidden`` float32 [rows, 1, queries, last - seen] is added to the scores
    of the others, minus infinity where a key is not seen. ``wanted``: someone reads what comes out in the last layer.
    """

    rows: slice
    first: int
    last: int
    key: int
    seen: int
    hidden: torch.Tensor
    wanted: bool

    @property
    def pairs(self) -> int:
        """Number of scores per head."""
        return len(self.hidden) * (self.last - self.first) * (self.last - self.key)


def make_blocks(depth: NDArray[np.int64], end: NDArray[np.int64], slots: NDArray[np.int64], heads: int) -> list[Block]:
    """Blocks that cover the rows with ``depth`` and ``end`` [B, T]; the last layer wants ``slots`` [S] only."""
    wanted = np.zeros(depth.shape, dtype=np.bool_)
    wanted.flat[slots] = True
    rows, width = depth.shape
    nodes = np.arange(width)
    roots = np.maximum.accumulate(np.where(depth == 0, nodes, 0), axis=1)
    return [
        make_block(end, group, (int(roots[group, first].min()), first, last), bool(wanted[group, first:last].any()))
        for group in row_groups(rows, width, heads)
        for first, last in pieces(width, QUERIES)
    ]


def make_block(end: NDArray[np.int64], rows: slice, bounds: tuple[int, int, int], wanted: bool) -> Block:
    """Block with these ``bounds``: first key, first query, last of both."""
    key, first, last = bounds
    hides_some = end[rows, key : first + 1].min(axis=0) < last  # later keys hide from the first query in any case
    seen = key + int(hides_some.argmax()) if hides_some.any() else first + 1
    queries, keys = np.arange(first, last)[:, None], np.arange(seen, last)
    visible = (keys <= queries) & (end[rows, None, seen:last] > queries)
    hidden = np.where(visible, np.float32(0), np.float32("-inf"))[:, None]
    return Block(rows, first, last, key, seen, torch.from_numpy(hidden), wanted)


def row_groups(rows: int, width: int, heads: int) -> Iterator[slice]:
    """Rows that are taken together."""
    together = CACHED_SCORES // (heads * min(width, QUERIES) * width) if width <= SHORT_ROW else 1
    return (slice(first, last) for first, last in pieces(rows, max(1, together)))


def pieces(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Bounds of pieces of ``size`` of a range.

    >>> list(pieces(5, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    return ((first, min(first + size, total)) for first in range(0, total, size))


def attend_in_blocks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, blocks: Sequence[Block]
) -> torch.Tensor:
    """Attention of the queries in ``blocks``; from contiguous [B, heads, T, head size] to [B, T, heads, head size].

    ``query`` is scaled in place. Nodes of no block hold anything.
    """
    rows, heads, length, size = query.shape
    query.mul_(1 / (math.log(2) * math.sqrt(size)))
    result = query.new_empty(rows, length, heads, size)
    scratch = query.new_empty(max((block.pairs for block in blocks), default=0) * heads)
    for block in blocks:
        mixed, sums = mix_block(query, key, value, block, scratch)
        out = result[block.rows, block.first : block.last].transpose(1, 2)
        torch.div(mixed.view(out.shape), sums.view(*out.shape[:-1], 1), out=out)
    return result


def mix_block(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, block: Block, scratch: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sums of values [rows x heads, queries, head size] and the sums of their weights [..., 1]."""
    queries = query[block.rows, :, block.first : block.last].flatten(0, 1)
    keys = key[block.rows, :, block.key : block.last].flatten(0, 1)
    values = value[block.rows, :, block.key : block.last].flatten(0, 1)
    shape = (len(queries), queries.shape[1], keys.shape[1])
    weights = scratch[: math.prod(shape)].view(shape)
    torch.bmm(queries, keys.transpose(1, 2), out=weights)
    take_powers(weights, block)
    return torch.bmm(weights, values), weights.sum(-1, keepdim=True)


def take_powers(scores: torch.Tensor, block: Block) -> None:
    """Turn ``scores`` [rows x heads, queries, keys] into weights that are not yet divided by their sum, in place."""
    low, high = torch.aminmax(scores)
    masked = scores.view(len(block.hidden), -1, *scores.shape[1:])[..., block.seen - block.key :]
    masked.add_(block.hidden)
    if not (float(low) > -SAFE and float(high) < SAFE):  # NaN comes here too, and stays
        scores.sub_(scores.amax(-1, keepdim=True))
    scores.exp2_()
