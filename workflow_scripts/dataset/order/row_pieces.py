"""Compiled kernels that turn rows into runs of the token file.

The *stream* of a set is its shuffled documents one after another; a row is a run of the stream, hence a few runs of the
token file. These kernels check nothing: their callers give rows and positions that exist.
"""

from typing import NamedTuple

import numpy as np

from workflow_scripts.dataset.files.compiled import compiled
from workflow_scripts.dataset.files.indexed import Array


class Stream(NamedTuple):
    """Arrays that describe a stream: int32 doc_idx, int32 sizes [n] in tokens, int64 pointers [n] in bytes."""

    documents: Array
    sizes: Array
    pointers: Array


@compiled
def stream_starts(documents: Array, sizes: Array) -> Array:
    """Stream position at which each 64th entry of ``documents`` starts, and behind them the total: int64."""
    starts = np.empty((len(documents) + 63) // 64 + 1, np.int64)
    position = np.int64(0)
    for entry in range(len(documents)):
        if entry % 64 == 0:
            starts[entry // 64] = position
        position += sizes[documents[entry]]
    starts[-1] = position
    return starts


@compiled
def locate(documents: Array, sizes: Array, starts: Array, positions: Array) -> Array:
    """(Entry of ``documents``, offset in that document) of stream ``positions``: int64 [n, 2].

    ``starts`` comes from ``stream_starts``. Documents without tokens are passed over.
    """
    found = np.empty((len(positions), 2), np.int64)
    for k in range(len(positions)):
        position = positions[k]
        block = np.searchsorted(starts, position, side="right") - 1
        start = starts[block]
        entry = block * 64
        size = np.int64(sizes[documents[entry]])
        while start + size <= position:
            start += size
            entry += 1
            size = np.int64(sizes[documents[entry]])
        found[k, 0] = entry
        found[k, 1] = position - start
    return found


@compiled
def split_rows(stream: Stream, itemsize: int, firsts: Array, row_tokens: int, pieces: Array) -> int:
    """Write the runs of each row to ``pieces`` int64 [capacity, 4].

    Columns: first token in the file, number of tokens, document, row (its place in ``firsts``).

    ``firsts`` [n, 2] are the (entry, offset) at which rows start. Returns the number of runs there are, which may
    exceed the capacity; then the caller comes again with more room.
    """
    count = 0
    for k in range(len(firsts)):
        entry = np.int64(firsts[k, 0])
        offset = np.int64(firsts[k, 1])
        left = np.int64(row_tokens)
        while left > 0:
            document = stream.documents[entry]
            taken = min(np.int64(stream.sizes[document]) - offset, left)
            if taken > 0:
                if count < len(pieces):
                    pieces[count, 0] = stream.pointers[document] // itemsize + offset
                    pieces[count, 1] = taken
                    pieces[count, 2] = document
                    pieces[count, 3] = k
                count += 1
            left -= taken
            entry += 1
            offset = np.int64(0)
    return count
