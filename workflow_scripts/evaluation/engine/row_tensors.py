"""Rows of a plan as tensors: what one forward pass takes, and the stretches between two rests."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from workflow_scripts.evaluation.planning.prefix_trees import Forest, Indices

# Nodes between two places where scores may be put aside and taken up again; the same on every machine, so that a job
# that was interrupted ends with the bits of one that was not.
SEGMENT_NODES = 65536


@dataclass(frozen=True)
class Batch:
    """Rows of a plan side by side, padded to one width T, or one after the other as a single row.

    ``token``, ``depth`` int64 [B, T]; ``end`` int64 [B, T], padding sees only itself; ``slots`` int64 [S] indices into
    the flattened rows; ``first_slot`` is the plan's number of the first of them; ``nodes`` counts without padding.
    """

    token: torch.Tensor
    depth: torch.Tensor
    end: torch.Tensor
    slots: torch.Tensor
    first_slot: int
    nodes: int


def segments(forest: Forest, nodes: int = SEGMENT_NODES) -> Iterator[tuple[int, int]]:
    """First and last row (exclusive) of stretches of about ``nodes`` nodes, in the plan's order."""
    first, rows = 0, len(forest.row_start) - 1
    while first < rows:
        last = int(np.searchsorted(forest.row_start, forest.row_start[first] + nodes, side="right")) - 1
        last = min(max(last, first + 1), rows)
        yield first, last
        first = last


def edges_before(forest: Forest, row: int) -> int:
    """Number of edges whose slots lie before row ``row``."""
    slot = int(np.searchsorted(forest.slot_node, forest.row_start[row]))
    return int(np.searchsorted(forest.edge_slot, slot))


def make_batches(
    forest: Forest, tokens: int, first: int = 0, last: int | None = None, joined_above: float = math.inf
) -> Iterator[Batch]:
    """Batches of about ``tokens`` nodes of rows ``first`` to ``last`` in the plan's order, which is by length.

    Rows wider than ``joined_above`` are put one after the other, others side by side.
    """
    widths = np.diff(forest.row_start)
    final = len(widths) if last is None else last
    while first < final:
        if widths[first] > joined_above:
            fitting = int(np.searchsorted(forest.row_start, forest.row_start[first] + tokens, side="right")) - 1
            end = min(max(fitting, first + 1), final)
            yield join_rows(forest, first, end)
            first = end
            continue
        end, widest = first + 1, int(widths[first])
        while end < final and max(widest, int(widths[end])) * (end - first + 1) <= tokens:
            widest = max(widest, int(widths[end]))
            end += 1
        yield make_batch(forest, first, end, widest)
        first = end


def make_batch(forest: Forest, first: int, last: int, width: int) -> Batch:
    """Rows ``first`` to ``last`` of a plan as one batch of ``width`` columns."""
    begin, end = int(forest.row_start[first]), int(forest.row_start[last])
    lengths = np.diff(forest.row_start[first : last + 1])
    row = np.repeat(np.arange(last - first), lengths)
    column = np.arange(begin, end) - forest.row_start[first + row]
    token = np.zeros((last - first, width), dtype=np.int64)
    depth = np.zeros_like(token)
    ends = np.broadcast_to(np.arange(1, width + 1), token.shape).copy()
    token[row, column] = forest.token[begin:end]
    depth[row, column] = forest.depth[begin:end]
    ends[row, column] = forest.end[begin:end]
    first_slot, nodes = batch_slots(forest, begin, end)
    slots = row[nodes] * width + column[nodes]
    return Batch(
        torch.from_numpy(token),
        torch.from_numpy(depth),
        torch.from_numpy(ends),
        torch.from_numpy(slots),
        first_slot,
        end - begin,
    )


def join_rows(forest: Forest, first: int, last: int) -> Batch:
    """Rows ``first`` to ``last`` of a plan one after the other: trees follow each other in a row anyway."""
    begin, end = int(forest.row_start[first]), int(forest.row_start[last])
    before = np.repeat(forest.row_start[first:last] - begin, np.diff(forest.row_start[first : last + 1]))
    first_slot, nodes = batch_slots(forest, begin, end)
    return Batch(
        torch.from_numpy(forest.token[None, begin:end].astype(np.int64)),
        torch.from_numpy(forest.depth[None, begin:end].astype(np.int64)),
        torch.from_numpy((forest.end[begin:end] + before)[None]),
        torch.from_numpy(nodes),
        first_slot,
        end - begin,
    )


def batch_slots(forest: Forest, begin: int, end: int) -> tuple[int, Indices]:
    """Number of the first slot among the nodes ``begin`` to ``end``, and where the slots lie in them."""
    first, last = np.searchsorted(forest.slot_node, [begin, end])
    return int(first), forest.slot_node[first:last] - begin
