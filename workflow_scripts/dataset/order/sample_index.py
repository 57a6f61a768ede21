"""Where each sample starts: GPT-NeoX's ``sample_idx``, made in one pass and given out in blocks.

The *stream* of a set is its documents one after another in the order of ``doc_idx``. Row i of the sample index, for
i = 0 .. N, is (position in doc_idx, offset in that document) of stream token i * seq_length; row 0 is (0, 0) even where
the first document is empty. Token i * seq_length belongs to the first document whose end lies beyond it.
Memory is one block, whatever N is. It must not look at tokens.
"""

from collections.abc import Iterator

import numpy as np

from workflow_scripts.dataset.files.compiled import compiled
from workflow_scripts.dataset.files.indexed import Array

ROWS = 1 << 18  # rows given out at a time (2 MiB of int32 pairs)
GATHER = 1 << 14  # sizes looked up ahead of use, so that their cache misses overlap


def sample_rows(
    sizes: Array, documents: Array, seq_length: int, samples: int, dtype: np.dtype[np.generic]
) -> Iterator[Array]:
    """Blocks of the sample index, together [samples + 1, 2] of ``dtype``.

    ``sizes`` int32 [n] in tokens; ``documents`` int32, the shuffled doc_idx. The stream must hold more than
    ``samples * seq_length`` tokens. Each block is valid until the next one is asked for.
    """
    block = np.zeros((min(ROWS, samples + 1), 2), dtype)
    state = np.array([0, 0, 1], np.int64)  # position in documents, stream position of its start, next row
    first = np.zeros((1, 2), dtype)
    yield first
    done = 0
    while done < samples:
        wanted = min(len(block), samples - done)
        fill_rows(sizes, documents, seq_length, block[:wanted], state)
        yield block[:wanted]
        done += wanted


@compiled
def fill_rows(sizes: Array, documents: Array, seq_length: int, rows: Array, state: Array) -> None:
    """Fill ``rows`` with the next rows of the sample index and move ``state`` behind them.

    Indices are unsigned, which spares the compiler the case of counting from the end of an array.
    """
    ahead = np.empty(GATHER, np.int32)
    position, start, row = np.uint64(state[0]), state[1], state[2]
    target = row * seq_length
    filled, wanted = np.uint64(0), np.uint64(len(rows))
    while filled < wanted:
        count = np.uint64(min(np.int64(GATHER), np.int64(len(documents)) - np.int64(position)))
        look_up_sizes(sizes, documents, position, count, ahead)
        used = np.uint64(0)
        while used < count and filled < wanted:
            end = start + np.int64(ahead[used])
            # How many rows start in a document cannot be predicted. Two are written before it is known whether it has
            # them, and those that it has not are overwritten by the next: only a third one is a branch.
            if filled + np.uint64(2) <= wanted:
                rows[filled, 0] = rows[filled + np.uint64(1), 0] = np.int64(position + used)
                rows[filled, 1] = target - start
                rows[filled + np.uint64(1), 1] = target - start + seq_length
                begun = np.int64(target < end) + np.int64(target + seq_length < end)
                filled += np.uint64(begun)
                target += begun * seq_length
            while target < end and filled < wanted:
                rows[filled, 0] = np.int64(position + used)
                rows[filled, 1] = target - start
                filled += np.uint64(1)
                target += seq_length
            # A document stays current while the block of rows ended inside it.
            if target >= end:
                start = end
                used += np.uint64(1)
        position += used
    state[0], state[1], state[2] = np.int64(position), start, row + np.int64(filled)


@compiled
def look_up_sizes(sizes: Array, documents: Array, position: np.uint64, count: np.uint64, ahead: Array) -> None:
    """``ahead[k] = sizes[documents[position + k]]``: nothing else is in this loop, so that many misses overlap."""
    for k in range(count):
        ahead[k] = sizes[np.uint32(documents[position + k])]
