"""Writes ``.npy`` files larger than memory, block by block, with their sha256; same bytes as ``numpy.save``."""

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.storage.atomic import atomic_path

BLOCK = 1 << 22  # entries written at a time


def npy_header(dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> bytes:
    """Header of a C-ordered array, format version 1.0."""
    buffer = io.BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


def write_npy(path: Path, dtype: np.dtype[np.generic], shape: tuple[int, ...], blocks: Iterable[Array]) -> str:
    """Write ``blocks`` (together an array of ``shape``) to ``path`` atomically; returns the file's sha256."""
    digest = hashlib.sha256()
    expected = int(np.prod(shape, dtype=np.int64))
    written = 0
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        header = npy_header(dtype, shape)
        digest.update(header)
        file.write(header)
        for block in blocks:
            content = np.ascontiguousarray(block, dtype=dtype).reshape(-1).view(np.uint8).data
            digest.update(content)
            file.write(content)
            written += block.size
        if written != expected:
            raise DataError(f"{path}: {written} entries written, the shape {shape} needs {expected}")
    return digest.hexdigest()


def in_blocks(values: Array) -> Iterable[Array]:
    """A 1-D array cut into blocks."""
    return (values[start : start + BLOCK] for start in range(0, len(values), BLOCK))


def map_npy(path: Path) -> Array:
    """The array in ``path``, read on demand; raises MissingInputError or DataError."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file; build the index maps with dataset.build_index_maps")
    try:
        values: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path}: not a readable .npy array: {error}") from error
    return values
