"""Writes ``X.bin`` and ``X.idx`` while the sequences arrive; both appear only when all is written.

Memory is four bytes a sequence and eight a document, whatever the number of tokens. It must not choose a token type
that cannot hold a token: a value that does not fit is an error.
"""

from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from workflow_scripts.dataset.files.indexed import BLOCK, CODES, HEADER, MAGIC, VERSION, Array
from workflow_scripts.errors import ConfigError, DataError
from workflow_scripts.storage.atomic import atomic_path

# Longest sequence: sizes are stored as int32.
MAX_SEQUENCE = 2**31 - 1


def with_suffix(prefix: Path, suffix: str) -> Path:
    """``prefix`` plus ``suffix``; unlike Path.with_suffix it keeps dots inside the name (``pile_0.87_deduped``)."""
    return prefix.with_name(prefix.name + suffix)


class IndexedWriter:
    """Adds sequences and documents; made by ``indexed_writer``, which commits or discards the files."""

    def __init__(self, tokens_file: IO[bytes], dtype: np.dtype[np.generic]) -> None:
        """Tokens go to ``tokens_file`` as ``dtype``."""
        self.file = tokens_file
        self.dtype = dtype
        self.limits = np.iinfo(dtype.str) if dtype.kind in "iu" else None
        self.sizes = array("i")
        self.doc_idx = array("q", [0])
        self.n_tokens = 0

    def add(self, tokens: Array | list[int]) -> None:
        """Append one sequence of tokens (1-D; may be empty) to the present document."""
        values = np.asarray(tokens)
        if values.size > MAX_SEQUENCE:
            raise DataError(f"a sequence of {values.size} tokens is too long; the format allows {MAX_SEQUENCE}")
        self.check_fit(values)
        self.file.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.sizes.append(values.size)
        self.n_tokens += values.size

    def check_fit(self, values: Array) -> None:
        """Every value must be representable in the token type."""
        if self.limits is None or not values.size:
            return
        low, high = int(values.min()), int(values.max())
        if low < self.limits.min or high > self.limits.max:
            raise DataError(f"token {low if low < self.limits.min else high} does not fit into {self.dtype.name}")

    def end_document(self) -> None:
        """The sequences added since the last call are one document."""
        self.doc_idx.append(len(self.sizes))


@contextmanager
def indexed_writer(prefix: Path, dtype: np.dtype[np.generic]) -> Iterator[IndexedWriter]:
    """Writer of ``prefix.bin`` and ``prefix.idx``; when the block raises, neither file is touched."""
    if dtype not in CODES:
        raise ConfigError(f"token type {dtype} has no code in the .idx format")
    idx = with_suffix(prefix, ".idx")
    with atomic_path(with_suffix(prefix, ".bin")) as temporary:
        with temporary.open("wb") as file:
            writer = IndexedWriter(file, dtype)
            yield writer
        # The old index goes first: a kill between the two renames must not leave new tokens under an old index.
        idx.unlink(missing_ok=True)
    write_index(idx, dtype, np.frombuffer(writer.sizes, np.int32), writer.doc_idx)


def write_index(path: Path, dtype: np.dtype[np.generic], sizes: Array, doc_idx: Iterable[int]) -> None:
    """Write an ``.idx`` file; ``sizes`` int32 [n] in tokens, ``doc_idx`` the sequence at which documents start."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        for part in index_bytes(dtype, sizes, doc_idx):
            file.write(part)


def index_bytes(dtype: np.dtype[np.generic], sizes: Array, doc_idx: Iterable[int]) -> Iterator[bytes | memoryview]:
    """The bytes of an ``.idx`` file, in blocks."""
    starts = np.fromiter(doc_idx, dtype="<i8")
    yield HEADER.pack(MAGIC, VERSION, CODES[dtype], len(sizes), len(starts))
    for start in range(0, len(sizes), BLOCK):
        yield np.ascontiguousarray(sizes[start : start + BLOCK], dtype="<i4").data.cast("B")
    total = 0
    for start in range(0, len(sizes), BLOCK):
        block = sizes[start : start + BLOCK].astype(np.int64)
        ends = np.cumsum(block) + total
        yield ((ends - block) * dtype.itemsize).astype("<i8").data.cast("B")
        total = int(ends[-1])
    yield starts.data.cast("B")


def constant_index_bytes(dtype: np.dtype[np.generic], rows: int, row_tokens: int) -> Iterator[bytes | memoryview]:
    """The ``.idx`` of a preshuffled set: ``rows`` sequences of ``row_tokens`` tokens and the single document start 0.

    It is implied by the two numbers, so it need not be fetched; nothing of its size is held in memory.
    """
    return index_bytes(dtype, np.broadcast_to(np.int32(row_tokens), (rows,)), [0])
