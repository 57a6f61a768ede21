"""Scored token sequences packed into rows that share prefixes; imports numpy only.

Sequences that begin alike are walked once. A row holds the nodes of a prefix tree in depth-first order; a node's
*depth* is its position in every sequence through it, and *end* is the index in the row just after its last descendant.
Node q may attend to node k exactly when k is q or an ancestor of q, which in this order is ``k <= q < end[k]``. A
*slot* is a node whose next-token distribution is needed; an *edge* is a (slot, next token) pair whose log-probability
is needed. Nothing else is ever computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
Indices = NDArray[np.int64]

# A row is this many times as long as the longest input of its bucket: long enough to share prefixes and to keep padding
# small, short enough that attention over masked pairs stays cheap. Of 1, 2, 4 and 8, 2 costs least at 14M and at 70M
# parameters (24 L d^2 operations per node, 4 L d per pair), zero-shot and five-shot.
ROW_FACTOR = 2
SMALLEST_ROW = 64
LONGEST_SHARED_ROW = 2048
TOKEN_BITS = 20
TOKEN_MASK = (1 << TOKEN_BITS) - 1


@dataclass(frozen=True)
class ScoredSequence:
    """One scored sequence: input tokens followed by the last target; targets before ``start`` are not scored.

    ``tokens`` int32 [L + 1]; position i of the input predicts ``tokens[i + 1]``; scored are positions start .. L - 1.
    ``family`` numbers the document, so that the choices of one document land in one bucket.
    """

    tokens: Tokens
    start: int
    family: int


@dataclass(frozen=True)
class Forest:
    """Packed rows (see the module's first lines for the words).

    ``row_start`` int64 [rows + 1] into the nodes; ``token``, ``depth``, ``end`` int32 [nodes]; ``slot_node`` int64
    [slots], rising; ``edge_slot``, ``edge_token`` int32 [edges], ordered by slot; ``piece_start`` int64 [sequences + 1]
    into ``piece_edge`` int32: the edges of each sequence, in the order the sequences were given.
    """

    row_start: Indices
    token: Tokens
    depth: Tokens
    end: Tokens
    slot_node: Indices
    edge_slot: Tokens
    edge_token: Tokens
    piece_start: Indices
    piece_edge: Tokens

    @property
    def counts(self) -> dict[str, int]:
        """Sizes, for the plan's header and for cost estimates."""
        return {
            "rows": len(self.row_start) - 1,
            "nodes": len(self.token),
            "slots": len(self.slot_node),
            "edges": len(self.edge_token),
            "sequences": len(self.piece_start) - 1,
            "longest_row": int(np.diff(self.row_start).max(initial=0)),
        }

    def sequence(self, number: int) -> ScoredSequence:
        """Scored sequence ``number`` by itself again, as it was given to :func:`pack`; its family is not kept."""
        edges = self.piece_edge[self.piece_start[number] : self.piece_start[number + 1]]
        node = int(self.slot_node[self.edge_slot[edges[-1]]])
        begin = int(self.row_start[np.searchsorted(self.row_start, node, side="right") - 1])
        ancestors = self.end[begin : node + 1] > node - begin
        inputs = self.token[begin : node + 1][ancestors]
        return ScoredSequence(np.append(inputs, self.edge_token[edges[-1]]), len(inputs) - len(edges), 0)


@dataclass
class RowBuilder:
    """Grows rows node by node; ``path`` are the open nodes of the sequence added last."""

    tokens: list[Tokens] = field(default_factory=list)
    depths: list[Tokens] = field(default_factory=list)
    ends: list[Tokens] = field(default_factory=list)
    row_starts: list[int] = field(default_factory=lambda: [0])
    path: Indices = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    previous: Tokens = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    open_end: Tokens = field(default_factory=lambda: np.zeros(0, dtype=np.int32))
    length: int = 0

    def add(self, inputs: Tokens, capacity: int) -> Indices:
        """Add one input sequence, opening a new row when it does not fit; returns its nodes, int64 [L]."""
        shared = common_prefix(self.previous, inputs)
        if self.length and self.length + len(inputs) - shared > capacity:
            self.close_row()
            shared = 0
        self.close_nodes(self.path[shared:])
        fresh = np.arange(self.length, self.length + len(inputs) - shared, dtype=np.int64)
        self.path = np.concatenate([self.path[:shared], fresh])
        self.tokens.append(inputs[shared:])
        self.depths.append(np.arange(shared, len(inputs), dtype=np.int32))
        self.length += len(fresh)
        if self.length > len(self.open_end):
            self.open_end = np.resize(self.open_end, max(self.length, 2 * len(self.open_end), SMALLEST_ROW))
        self.previous = inputs
        return self.row_starts[-1] + self.path

    def close_nodes(self, nodes: Indices) -> None:
        """The subtrees of ``nodes`` end where the row now ends."""
        self.open_end[nodes] = self.length

    def close_row(self) -> None:
        """Finish the row that is being filled, if there is one."""
        if not self.length:
            return
        self.close_nodes(self.path)
        self.ends.append(self.open_end[: self.length].copy())
        self.row_starts.append(self.row_starts[-1] + self.length)
        self.path, self.previous, self.length = self.path[:0], self.previous[:0], 0


def common_prefix(first: Tokens, second: Tokens) -> int:
    """Number of equal tokens at the beginning of both.

    >>> common_prefix(np.array([1, 2, 3], dtype=np.int32), np.array([1, 2, 4, 5], dtype=np.int32))
    2
    """
    length = min(len(first), len(second))
    different = np.flatnonzero(first[:length] != second[:length])
    return int(different[0]) if len(different) else length


def row_capacity(longest: int) -> int:
    """Nodes per row for inputs of up to ``longest`` tokens: a power of two, at least the longest input.

    >>> [row_capacity(length) for length in (5, 32, 33, 100, 2000, 2048, 3000)]
    [64, 64, 128, 256, 2048, 2048, 4096]
    """
    power = 1 << (longest - 1).bit_length()
    return max(SMALLEST_ROW, power, min(ROW_FACTOR * power, LONGEST_SHARED_ROW))


def pack(sequences: Sequence[ScoredSequence]) -> Forest:
    """Pack ``sequences`` into rows that share prefixes; the result depends on nothing but their content and order."""
    capacities = bucket_capacities(sequences)
    keys = [sequence.tokens[:-1].astype(">u4").tobytes() for sequence in sequences]  # bytes sort like token lists
    order = sorted(range(len(sequences)), key=lambda index: (capacities[index], keys[index], index))
    builder = RowBuilder()
    pieces: list[Indices] = [np.zeros(0, dtype=np.int64)] * len(sequences)
    last_capacity = 0
    for index in order:
        sequence, capacity = sequences[index], int(capacities[index])
        if capacity != last_capacity:
            builder.close_row()
            last_capacity = capacity
        nodes = builder.add(sequence.tokens[:-1], capacity)
        scored = nodes[sequence.start :] << TOKEN_BITS
        pieces[index] = scored | sequence.tokens[sequence.start + 1 :]
    builder.close_row()
    return finish(builder, pieces)


def bucket_capacities(sequences: Sequence[ScoredSequence]) -> Indices:
    """Row capacity for each sequence, from the longest input of its family; int64 [sequences]."""
    lengths = np.array([len(sequence.tokens) - 1 for sequence in sequences], dtype=np.int64)
    families = np.array([sequence.family for sequence in sequences], dtype=np.int64)
    longest = np.zeros(int(families.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(longest, families, lengths)
    return np.array([row_capacity(int(length)) for length in longest], dtype=np.int64)[families]


def finish(builder: RowBuilder, pieces: Sequence[Indices]) -> Forest:
    """Sort rows by length, give equal (node, token) pairs one edge and turn the builder's lists into arrays."""
    row_start, nodes = sort_rows(np.array(builder.row_starts, dtype=np.int64))
    place = np.empty_like(nodes)
    place[nodes] = np.arange(len(nodes))
    counts = [len(piece) for piece in pieces]
    scored = np.concatenate([np.zeros(0, dtype=np.int64), *pieces])
    scored = (place[scored >> TOKEN_BITS] << TOKEN_BITS) | (scored & TOKEN_MASK)
    keys, piece_edge = np.unique(scored, return_inverse=True)
    slot_node, edge_slot = np.unique(keys >> TOKEN_BITS, return_inverse=True)
    return Forest(
        row_start=row_start,
        token=joined(builder.tokens)[nodes],
        depth=joined(builder.depths)[nodes],
        end=joined(builder.ends)[nodes],
        slot_node=slot_node,
        edge_slot=edge_slot.astype(np.int32),
        edge_token=(keys & TOKEN_MASK).astype(np.int32),
        piece_start=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        piece_edge=piece_edge.astype(np.int32),
    )


def joined(parts: Sequence[Tokens]) -> Tokens:
    """``parts`` one after the other; empty for a plan without sequences."""
    return np.concatenate([np.zeros(0, dtype=np.int32), *parts]).astype(np.int32)


def sort_rows(row_start: Indices) -> tuple[Indices, Indices]:
    """Bounds of the rows sorted by length (equal lengths keep their order), and the old place of each node.

    Rows of like length side by side need little padding.

    >>> bounds, nodes = sort_rows(np.array([0, 3, 5]))
    >>> bounds.tolist(), nodes.tolist()
    ([0, 2, 5], [3, 4, 0, 1, 2])
    """
    lengths = np.diff(row_start)
    order = np.argsort(lengths, kind="stable")
    sorted_start = np.concatenate([[0], np.cumsum(lengths[order])]).astype(np.int64)
    within = np.arange(row_start[-1]) - np.repeat(sorted_start[:-1], lengths[order])
    return sorted_start, np.repeat(row_start[:-1][order], lengths[order]) + within
