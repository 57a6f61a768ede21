"""The header of a safetensors file, read by itself: names, types, shapes and places of the tensors.

The format: 8 bytes with the little-endian length N of the header, N bytes of JSON, then the data without gaps
(https://huggingface.co/docs/safetensors). A header comes from a stranger: its length is bounded, and every tensor must
lie where the ones before it end. Nothing else of the file is read.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

from workflow_scripts.errors import DataError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.storage.sources.source import RangeReader

LENGTH_BYTES = 8
# The library's own limit is 100 MB; the header of the 12b model has about 60 kB.
LARGEST_HEADER = 10_000_000
# One request fetches length and header of all but the largest files.
FIRST_READ = 1 << 16
ITEM_BYTES = {
    **{"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "BOOL": 1},
    **{f"{sign}{8 * size}": size for sign in "IU" for size in (1, 2, 4, 8)},
}


@dataclass(frozen=True)
class Tensor:
    """Where a tensor lies: bytes ``[begin, end)`` of the whole file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def elements(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """Tensors of one file by name, and the length in bytes that the file must have."""

    tensors: Mapping[str, Tensor]
    file_bytes: int


def read_header(source: RangeReader, path: str, size: int) -> Header:
    """Header of ``path``, which has ``size`` bytes; raises DataError when it is damaged."""
    first = source.read_range(path, 0, min(size, FIRST_READ))
    if len(first) < LENGTH_BYTES:
        raise DataError(f"{path}: {size} bytes, too short for a safetensors file")
    length = int.from_bytes(first[:LENGTH_BYTES], "little")
    if length > min(LARGEST_HEADER, size - LENGTH_BYTES):
        raise DataError(f"{path}: says that its header has {length} bytes, the file has {size}; it is damaged")
    have = len(first) - LENGTH_BYTES
    rest = source.read_range(path, len(first), length - have) if length > have else b""
    return parse_header((first + rest)[LENGTH_BYTES : LENGTH_BYTES + length], path)


def parse_header(text: bytes, where: str) -> Header:
    """Header in ``text``; ``where`` names the file in messages."""
    try:
        content = json.loads(text)
        named = {str(name): value for name, value in content.items() if name != "__metadata__"}
        start = LENGTH_BYTES + len(text)
        tensors = {name: parse_tensor(value, start, where) for name, value in named.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DataError(f"{where}: not a safetensors header ({type(error).__name__}: {error})") from None
    end = start
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].begin):
        if tensor.begin != end or tensor.end - tensor.begin != tensor.elements * ITEM_BYTES[tensor.dtype]:
            raise DataError(f"{where}: {name} does not start where the previous tensor ends, or has a wrong length")
        end = tensor.end
    return Header(tensors, end)


def parse_tensor(value: JsonMapping, start: int, where: str) -> Tensor:
    """One entry of the header; ``start`` is where the data begin.

    Raises DataError for a type that is not supported, KeyError, TypeError or ValueError for what is no entry.
    """
    dtype, shape, (begin, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
    numbers = (*shape, begin, end)
    if not isinstance(dtype, str):
        raise TypeError("a tensor type that is no text")
    if dtype not in ITEM_BYTES:
        raise DataError(f"{where}: tensor type {dtype[:20]} is not supported; supported are {', '.join(ITEM_BYTES)}")
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a shape or place in numbers that are not whole")
    return Tensor(dtype, shape, start + begin, start + end)
