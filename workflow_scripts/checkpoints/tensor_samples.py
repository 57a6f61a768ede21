"""Samples of a checkpoint's tensors: a few kilobytes tell two steps apart, and a wrong step from a right one.

Of each sampled tensor a run of values in its middle is read. Kept are a hash of the bytes (equal only for equal
content), the root mean square, whether all values are finite, and sixteen of the values. Which tensors are read when
there are too many: both embeddings and one matrix of each layer first, then the other matrices, then the rest. Ranges
that lie close together are read by one request.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from workflow_scripts.checkpoints.safetensors_header import ITEM_BYTES, Tensor
from workflow_scripts.storage.sources.source import RangeReader
from workflow_scripts.training.tensor_shapes import BUFFERS, EMBED_IN, EMBED_OUT, layer_prefix

VALUES = 1024  # values of one sample
SKETCH = 16
# Ranges with a smaller gap are read together: the bytes between cost less than another request.
GAP_BYTES = 32_768
MATRICES = (
    "attention.query_key_value.weight",
    "attention.dense.weight",
    "mlp.dense_h_to_4h.weight",
    "mlp.dense_4h_to_h.weight",
)


@dataclass(frozen=True)
class Sample:
    """What is kept of one tensor; ``rms`` and ``sketch`` are of the sampled values, 0 where one is not finite."""

    digest: str
    rms: float
    finite: bool
    sketch: tuple[float, ...]

    def as_json(self) -> list[Any]:
        """Plain values."""
        return [self.digest, self.rms, self.finite, list(self.sketch)]

    @classmethod
    def from_json(cls, value: Sequence[Any]) -> Self:
        """Sample from its plain values."""
        digest, rms, finite, sketch = value
        return cls(str(digest), float(rms), bool(finite), tuple(float(number) for number in sketch))


def chosen_tensors(names: Sequence[str], layers: int, limit: int) -> list[str]:
    """At most ``limit`` of ``names``, the most telling first; ``layers`` is the number of layers of the model."""
    turns = [
        layer_prefix(layer) + MATRICES[(layer + turn) % len(MATRICES)]
        for turn in range(len(MATRICES))
        for layer in range(layers)
    ]
    known = set(names)
    telling = [name for name in (EMBED_IN, EMBED_OUT, *turns) if name in known]
    rest = sorted(name for name in known - set(telling) if not name.endswith(BUFFERS))
    return [*telling, *rest][:limit]


def middle(tensor: Tensor) -> tuple[int, int]:
    """Byte range of the sample of ``tensor`` in its file."""
    item, count = ITEM_BYTES[tensor.dtype], min(tensor.elements, VALUES)
    begin = tensor.begin + (tensor.elements - count) // 2 * item
    return begin, begin + count * item


def merged(ranges: Sequence[tuple[int, int]], gap: int = GAP_BYTES) -> list[tuple[int, int]]:
    """Sorted ranges, those with less than ``gap`` bytes between them joined.

    >>> merged([(0, 10), (12, 20), (100, 110)], gap=5)
    [(0, 20), (100, 110)]
    """
    joined: list[tuple[int, int]] = []
    for begin, end in sorted(ranges):
        if joined and begin - joined[-1][1] <= gap:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def read_samples(source: RangeReader, path: str, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Sample]]:
    """Sample of each of ``tensors``, which lie in file ``path``."""
    wanted = {name: middle(tensor) for name, tensor in tensors.items()}
    pieces = {begin: source.read_range(path, begin, end - begin) for begin, end in merged(list(wanted.values()))}
    for name, (begin, end) in wanted.items():
        start = max(place for place in pieces if place <= begin)
        yield name, summary(pieces[start][begin - start : end - start], tensors[name].dtype)


def summary(content: bytes, dtype: str) -> Sample:
    """What is kept of the bytes of a sample."""
    numbers = values(content, dtype)
    finite = bool(np.isfinite(numbers).all())
    places = np.linspace(0, len(numbers) - 1, min(SKETCH, len(numbers))).round().astype(int)
    kept = numbers if finite else np.zeros_like(numbers)
    return Sample(
        digest=hashlib.sha256(content).hexdigest()[:16],
        rms=math.sqrt(float(np.mean(kept**2))) if len(kept) else 0.0,
        finite=finite,
        sketch=tuple(float(f"{number:.6g}") for number in kept[places]) if len(kept) else (),
    )


def values(content: bytes, dtype: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Values of ``content`` as float64."""
    return stored_values(content, dtype).astype(np.float64)


def stored_values(content: bytes, dtype: str) -> np.ndarray[Any, np.dtype[Any]]:
    """Values of ``content`` in their own type; bfloat16, the upper half of a float32, as float32."""
    if dtype == "BF16":
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
    kinds = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1"}
    return np.frombuffer(content, kinds.get(dtype, "u1"))
