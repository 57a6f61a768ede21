r"""Megatron's indexed data sets: tokens back to back in ``X.bin``, lengths of the sequences in ``X.idx``.

Layout of ``.idx`` (little endian; GPT-NeoX ``megatron/data/indexed_dataset.py``)::

    offset     bytes  content
    0          9      magic "MMIDIDX\0\0"
    9          8      uint64 version = 1
    17         1      uint8 code of the token type, see ``DTYPES``
    18         8      uint64 n, number of sequences
    26         8      uint64 m, length of doc_idx
    34         4 n    int32 sizes, in tokens; zero is legal
    34 +  4 n  8 n    int64 pointers, in bytes: exclusive cumulative sum of sizes * itemsize
    34 + 12 n  8 m    int64 doc_idx: sequence at which each document starts; first 0

Everything that can be wrong is found when the file is opened. The loader of GPT-NeoX calls each *sequence* a document
and never reads ``doc_idx``. This module must not repair a file.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workflow_scripts.errors import DataError, MissingInputError

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
HEADER = struct.Struct("<9sQBQQ")
DTYPES: dict[int, np.dtype[np.generic]] = {
    1: np.dtype("u1"),
    2: np.dtype("i1"),
    3: np.dtype("<i2"),
    4: np.dtype("<i4"),
    5: np.dtype("<i8"),
    6: np.dtype("<f4"),
    7: np.dtype("<f8"),
    8: np.dtype("<u2"),
}
CODES = {dtype: code for code, dtype in DTYPES.items()}
# A vocabulary below this size is stored in two bytes a token, any other in four (the original writer's rule).
UINT16_VOCABULARY = 65500
INT32, INT64 = np.dtype("<i4"), np.dtype("<i8")
SIZES_AT = HEADER.size
BLOCK = 1 << 20  # sequences checked or hashed at a time

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Index:
    """An opened and checked ``.idx`` file; the arrays are read-only views of the file.

    ``sizes`` int32 [n] in tokens, ``pointers`` int64 [n] in bytes, ``doc_idx`` int64 [m].
    """

    path: Path
    dtype: np.dtype[np.generic]
    sizes: Array
    pointers: Array
    doc_idx: Array
    n_tokens: int

    @property
    def n_sequences(self) -> int:
        """Number of sequences (what GPT-NeoX's loader calls documents)."""
        return len(self.sizes)

    @property
    def bin_bytes(self) -> int:
        """Size that the ``.bin`` (or all its shards together) must have."""
        return self.n_tokens * self.dtype.itemsize

    def sizes_sha256(self) -> str:
        """sha256 of the little-endian int32 sizes: with seed and lengths it decides the whole order of training."""
        return self._sizes_sha256

    @cached_property
    def _sizes_sha256(self) -> str:
        """Computed once: there may be 210 million sizes."""
        digest = hashlib.sha256()
        for block in blocks_of(self.path, SIZES_AT, self.n_sequences, INT32):
            digest.update(block.data)
        return digest.hexdigest()

    def read_sizes(self) -> Array:
        """The sizes copied into memory, int32 [n]: aligned, and without pages of the file beside them."""
        return np.fromfile(self.path, INT32, self.n_sequences, offset=SIZES_AT)


def dtype_for_vocabulary(vocabulary_size: int) -> np.dtype[np.generic]:
    """Token type that the original writer picks.

    >>> str(dtype_for_vocabulary(50277)), str(dtype_for_vocabulary(65500))
    ('uint16', 'int32')
    """
    return np.dtype("<u2") if vocabulary_size < UINT16_VOCABULARY else np.dtype("<i4")


def open_index(path: Path) -> Index:
    """Open and check an ``.idx`` file.

    Raises MissingInputError when it is absent and DataError when its content breaks the format.
    """
    if not path.is_file():
        raise MissingInputError(f"{path}: no such .idx file; fetch it or write it with dataset.tokenize_corpus")
    dtype, n_sequences, n_documents = read_header(path)
    n_tokens = check_sizes_and_pointers(path, dtype, n_sequences)
    check_documents(path, n_sequences, n_documents)
    content = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    pointers_at, doc_idx_at = SIZES_AT + 4 * n_sequences, SIZES_AT + 12 * n_sequences
    sizes, pointers = content[SIZES_AT:pointers_at].view(INT32), content[pointers_at:doc_idx_at].view(INT64)
    return Index(path, dtype, sizes, pointers, content[doc_idx_at:].view(INT64), n_tokens)


def blocks_of(path: Path, offset: int, count: int, dtype: np.dtype[np.generic]) -> Iterator[Array]:
    """``count`` numbers of ``path`` from byte ``offset`` on, read (not mapped) in blocks of ``BLOCK``."""
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        for start in range(0, count, BLOCK):
            yield np.fromfile(file, dtype, min(BLOCK, count - start))


def read_header(path: Path) -> tuple[np.dtype[np.generic], int, int]:
    """Token type, number of sequences and length of doc_idx; the file size must be what they ask for."""
    with path.open("rb") as file:
        head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        raise DataError(f"{path}: {len(head)} bytes, an .idx header alone has {HEADER.size}; the file is truncated")
    magic, version, code, n_sequences, n_documents = HEADER.unpack(head)
    if magic != MAGIC:
        raise DataError(
            f"{path}: starts with {magic!r}, an .idx file starts with {MAGIC!r}; this is another kind of file"
        )
    if version != VERSION:
        raise DataError(f"{path}: version {version} of the format, only version {VERSION} is known")
    if code not in DTYPES:
        known = ", ".join(f"{number} {dtype.name}" for number, dtype in DTYPES.items())
        raise DataError(f"{path}: unknown token type code {code}; known are {known}")
    expected = HEADER.size + 12 * n_sequences + 8 * n_documents
    seen = path.stat().st_size
    if n_sequences and seen == expected + n_sequences:
        raise DataError(
            f"{path}: one byte per sequence follows the document starts: the modes of Megatron-Core's multimodal data "
            "sets, which are not supported; give an .idx of text"
        )
    if seen != expected:
        said = f"{n_sequences} sequences and {n_documents} document starts need {expected}"
        raise DataError(f"{path}: {seen} bytes, but {said}; the file is damaged, fetch it again")
    return DTYPES[code], n_sequences, n_documents


def check_sizes_and_pointers(path: Path, dtype: np.dtype[np.generic], n_sequences: int) -> int:
    """Sizes must not be negative and pointers must be their exclusive cumulative sum in bytes; returns all tokens."""
    total, start = 0, 0
    all_sizes = blocks_of(path, SIZES_AT, n_sequences, INT32)
    all_pointers = blocks_of(path, SIZES_AT + 4 * n_sequences, n_sequences, INT64)
    for sizes, pointers in zip(all_sizes, all_pointers, strict=True):
        if int(sizes.min()) < 0:
            where = int(np.flatnonzero(sizes < 0)[0])
            raise DataError(f"{path}: sequence {start + where} has the negative size {sizes[where]}")
        ends = np.cumsum(sizes, dtype=np.int64) + total
        expected = (ends - sizes) * dtype.itemsize
        wrong = np.flatnonzero(expected != pointers)
        if wrong.size:
            first = int(wrong[0])
            raise DataError(
                f"{path}: pointer of sequence {start + first} is {pointers[first]}, the sizes before it with "
                f"{dtype.itemsize} bytes a token ({dtype.name}) give {expected[first]}; wrong token type or damaged"
            )
        total, start = int(ends[-1]), start + len(sizes)
    return total


def check_documents(path: Path, n_sequences: int, n_documents: int) -> None:
    """doc_idx must start at 0, never fall and stay within the sequences (the preshuffled sets have only the 0)."""
    before = 0
    blocks = blocks_of(path, SIZES_AT + 12 * n_sequences, n_documents, INT64)
    for number, block in enumerate(blocks):
        if number == 0 and block[0] != 0:
            raise DataError(f"{path}: doc_idx must start with 0, it starts with {block[0]}")
        if int(block[0]) < before or np.any(block[1:] < block[:-1]) or int(block[-1]) > n_sequences:
            raise DataError(f"{path}: doc_idx must increase and stay within {n_sequences} sequences")
        before = int(block[-1])
    if not n_documents:
        raise DataError(f"{path}: doc_idx is empty, it must start with 0")


def check_bin_bytes(index: Index, seen: int, where: Path) -> None:
    """The token file (or all shards together) must have exactly the size that the ``.idx`` asks for."""
    if seen == index.bin_bytes:
        return
    word = "too short" if seen < index.bin_bytes else "too long"
    raise DataError(
        f"{where}: {word}: {seen} bytes of tokens, but {index.path.name} describes {index.n_tokens} {index.dtype.name} "
        f"tokens = {index.bin_bytes} bytes; damaged, incomplete or of another data set"
    )


def check_token_range(tokens: Array, vocabulary_size: int, first_position: int, where: Path) -> None:
    """Every token must lie in [0, vocabulary_size); names the first that does not and its position in the data."""
    wrong = np.flatnonzero((tokens < 0) | (tokens >= vocabulary_size))
    if wrong.size:
        raise DataError(
            f"{where}: token {tokens[wrong[0]]} at position {first_position + int(wrong[0])} is outside the vocabulary "
            f"of {vocabulary_size}; damaged data, wrong token type or wrong tokenizer"
        )
