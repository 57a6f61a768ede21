"""Attention among packed prefix trees as plain matrix products: the way of attention.py for float32 on a CPU.

Queries are taken in blocks of one row (of several, where rows are short), each against one range of keys, and a mask
is added only where one of them may not see a key. Where branches that no query of a block descends from lie in the way,
the ancestors' keys are repeated in front of the block, so that its range is short again. Scores of a block stay in the
processor's cache. Exponentials are powers of two, from which the largest score is subtracted only where it must be. The
result is that of a fused kernel, whose products of few rows a CPU finishes more slowly and which knows one range of
keys for all rows. A [T, T] matrix never exists, nor does anything for more than one block.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

Indices = NDArray[np.int64]

# Queries per block: fewer leave out more of the masked pairs and cost more calls.
QUERIES = 64
# Rows up to this wide are taken together, as many as have scores (float32) that fit the cache.
SHORT_ROW = 128
CACHED_SCORES = 1 << 18
# Powers of scores and logits up to this far from zero, and sums of them, neither overflow nor lose bits in float32.
SAFE = 64.0


@dataclass(frozen=True)
class Block:
    """Queries ``first`` to ``last`` of a group of rows against ``keys`` of the group.

    All of them see the first ``seen`` of the keys; ``hidden`` float32 [rows, 1, queries, keys - seen] is added to the
    scores of the others, minus infinity where a key is not seen. ``wanted``: someone reads what comes out in the last
    layer.
    """

    first: int
    last: int
    keys: slice
    seen: int
    hidden: torch.Tensor
    wanted: bool

    @property
    def pairs(self) -> int:
        """Number of scores per head."""
        keys: int = self.keys.stop - self.keys.start
        return len(self.hidden) * (self.last - self.first) * keys


@dataclass(frozen=True)
class Group:
    """Rows that are taken together, and their blocks; ``place`` int64: the nodes whose keys follow each other.

    Without ``place`` keys are those of the nodes in their order.
    """

    rows: slice
    blocks: list[Block]
    place: torch.Tensor | None = None

    @property
    def at_slots(self) -> Self:
        """What the last layer needs of it."""
        return replace(self, blocks=[block for block in self.blocks if block.wanted])


def make_groups(depth: Indices, end: Indices, slots: Indices, heads: int) -> list[Group]:
    """Blocks that cover the rows with ``depth`` and ``end`` [B, T]; the last layer wants ``slots`` [S] only."""
    wanted = np.zeros(depth.shape, dtype=np.bool_)
    wanted.flat[slots] = True
    rows, width = depth.shape
    if width > SHORT_ROW:
        return [make_long_group(row, depth[row], end[row], wanted[row]) for row in range(rows)]
    together = max(1, CACHED_SCORES // (heads * min(width, QUERIES) * width))
    return [make_short_group(slice(*bounds), end, wanted) for bounds in pieces(rows, together)]


def make_short_group(rows: slice, end: Indices, wanted: NDArray[np.bool_]) -> Group:
    """Short rows, in which each query is compared with all keys before it."""
    nodes = np.arange(end.shape[1])
    bounds = pieces(len(nodes), QUERIES)
    blocks = [make_block(end[rows], nodes[:last], (first, last), 0, wanted[rows]) for first, last in bounds]
    return Group(rows, blocks)


def make_long_group(row: int, depth: Indices, end: Indices, wanted: NDArray[np.bool_]) -> Group:
    """One row, in which a block's keys are those of its first node's ancestors, of itself, and little else."""
    latest = np.zeros(len(depth), dtype=np.int64)  # by depth: ancestors of the next node
    position = np.zeros(len(depth), dtype=np.int64)  # of each node among the keys
    place: Indices = np.zeros(0, dtype=np.int64)
    blocks = []
    for first, last in pieces(len(depth), QUERIES):
        path = latest[: depth[first]]
        start = int(position[path[0]]) if len(path) else len(place)
        if len(place) - start - len(path) > QUERIES:
            start = len(place)
            position[path] = np.arange(start, start + len(path))
            place = np.concatenate([place, path])
        nodes = np.arange(first, last)
        position[first:last] = np.arange(len(place), len(place) + len(nodes))
        place = np.concatenate([place, nodes])
        latest[depth[first:last]] = nodes  # of equal depths the last counts
        blocks.append(make_block(end[None], place[start:], (first, last), start, wanted[None]))
    repeats = len(place) > len(depth)
    return Group(slice(row, row + 1), blocks, torch.from_numpy(place) if repeats else None)


def make_block(end: Indices, keys: Indices, queries: tuple[int, int], start: int, wanted: NDArray[np.bool_]) -> Block:
    """Block of ``queries``, first and last, against the nodes ``keys``, which are stored from ``start`` on.

    ``end``, ``wanted`` [rows, T].
    """
    first, last = queries
    ends = end[:, keys]
    hides = (ends.min(axis=0) < last) | (keys > first)  # from one query at least
    seen = int(hides.argmax()) if hides.any() else len(keys)
    asking = np.arange(first, last)[:, None]
    visible = (keys[seen:] <= asking) & (ends[:, None, seen:] > asking)
    hidden = np.where(visible, np.float32(0), np.float32("-inf"))[:, None]
    taken = slice(start, start + len(keys))
    return Block(first, last, taken, seen, torch.from_numpy(hidden), bool(wanted[:, first:last].any()))


def pieces(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Bounds of pieces of ``size`` of a range.

    >>> list(pieces(5, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    return ((first, min(first + size, total)) for first in range(0, total, size))


def attend_in_blocks(packed: torch.Tensor, groups: Sequence[Group]) -> torch.Tensor:
    """Attention of the queries in ``groups``; [B, T, heads, head size].

    ``packed`` [3, B, heads, T, head size], contiguous: queries, which are scaled in place, keys and values. Nodes of no
    block hold anything.
    """
    _, rows, heads, length, size = packed.shape
    packed[0].mul_(1 / (math.log(2) * math.sqrt(size)))
    result = packed.new_empty(rows, length, heads, size)
    scratch = packed.new_empty(heads * max((block.pairs for group in groups for block in group.blocks), default=0))
    for group in groups:
        if not group.blocks:
            continue
        query, pair = packed[0, group.rows].flatten(0, 1), packed[1:, group.rows].flatten(1, 2)
        key, value = pair if group.place is None else pair.index_select(2, group.place)
        key = key.transpose(1, 2)
        for block in group.blocks:
            queries = query[:, block.first : block.last]
            mixed, sums = mix_block(queries, key[..., block.keys], value[:, block.keys], block, scratch)
            out = result[group.rows, block.first : block.last].transpose(1, 2)
            torch.div(mixed.view(out.shape), sums.view(*out.shape[:-1], 1), out=out)
    return result


def mix_block(
    queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, block: Block, scratch: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weighted sums of values [rows x heads, queries, head size] and the sums of their weights [..., 1].

    ``queries`` [rows x heads, queries, head size]; ``keys`` [rows x heads, head size, keys]; ``values`` the other way.
    """
    shape = (*queries.shape[:2], keys.shape[2])
    weights = scratch[: math.prod(shape)].view(shape)
    torch.bmm(queries, keys, out=weights)
    take_powers(weights, block)
    return torch.bmm(weights, values), weights.sum(-1, keepdim=True)


def take_powers(scores: torch.Tensor, block: Block) -> None:
    """Turn ``scores`` [rows x heads, queries, keys] into weights that are not yet divided by their sum, in place."""
    low, high = torch.aminmax(scores)
    scores.view(len(block.hidden), -1, *scores.shape[1:])[..., block.seen :].add_(block.hidden)
    if not (float(low) > -SAFE and float(high) < SAFE):  # NaN comes here too, and stays
        scores.sub_(scores.amax(-1, keepdim=True))
    scores.exp2_()
