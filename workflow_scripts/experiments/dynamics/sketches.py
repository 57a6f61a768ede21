"""Sketches of tensors, a few kilobytes each, from which the distance of any two checkpoints follows.

A count sketch (Charikar, Chen and Farach-Colton 2002) adds each value, with a random sign, to one of k random places.
It is linear, and its inner products are those of the tensors in expectation: of a difference D, |sketch(D)|^2 has the
mean |D|^2 and a standard error of at most sqrt(2 / k) of it. A tensor with no more than k values is its own sketch. A
checkpoint is therefore read once, however many others it is compared with.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.experiments.dynamics.spectra import Bounded

Z95 = 1.96
BLOCK = 1 << 20


def sketch(name: str, values: NDArray[np.float32], places: int) -> NDArray[np.float32]:
    """Sketch of ``values`` (any shape) of the tensor ``name``, float32; ``places`` is a power of two.

    Places and signs depend on name, size and ``places`` alone, so sketches of one tensor at all steps compare.
    """
    flat = values.reshape(-1)
    if len(flat) <= places:
        return flat.copy()
    key = hashlib.sha256(f"{name} {len(flat)} {places}".encode()).digest()[:8]
    draws = np.random.default_rng(int.from_bytes(key, "little"))
    total = np.zeros(places)
    for start in range(0, len(flat), BLOCK):
        part = flat[start : start + BLOCK]
        drawn = draws.integers(0, 2 * places, size=len(part), dtype=np.uint32)
        signed = np.where(drawn & 1, part, -part)
        total += np.bincount((drawn >> 1).view(np.int32), weights=signed, minlength=places)
    return total.astype(np.float32)


def relative_error(places: int, elements: int) -> float:
    """Largest standard error of a squared distance, as a share of it; 0 where the sketch is the tensor itself."""
    return 0.0 if elements <= places else math.sqrt(2 / places)


def squared_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Squared Euclidean distance of two sketches of the same tensor."""
    difference = one.astype(np.float64) - other
    return float(difference @ difference)


def distance(squared: float, error: float) -> Bounded:
    """Distance with its 95 % bounds, from a squared distance with the standard error ``error`` (not relative)."""
    low, high = max(0.0, squared - Z95 * error), squared + Z95 * error
    return Bounded(math.sqrt(squared), math.sqrt(low), math.sqrt(high))


def cosine(squared: float, error: float, norms: tuple[float, float]) -> Bounded:
    """Cosine of two tensors from their squared distance and their exact ``norms``; NaN where one is zero.

    1 - cosine keeps the small relative error of the distance where the tensors are close.
    """
    one, other = norms
    if one == 0 or other == 0:
        return Bounded.exact(math.nan)
    low, middle, high = (
        (one**2 + other**2 - each) / (2 * one * other)
        for each in (squared + Z95 * error, squared, squared - Z95 * error)
    )
    return Bounded(*(min(1.0, max(-1.0, each)) for each in (middle, low, high)))
