"""Singular values of a matrix: all of them from its smaller Gram matrix, or the largest by random sampling.

Sampling is subspace iteration with re-orthonormalisation (Halko, Martinsson and Tropp 2011, "Finding structure with
randomness", algorithm 4.4). What it leaves out is known exactly: A = Q Q^T A + E, and |E|_F^2 = |A|_F^2 - |Q^T A|_F^2.
From that follow the bounds that every number here carries; where all values are known, bounds and value agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh, eigvalsh, qr
from scipy.linalg.blas import dsyrk

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
BLOCK_ROWS = 4096  # of a matrix that is turned into float64 at once
OVERSAMPLING = 10
POWER_ITERATIONS = 3


@dataclass(frozen=True)
class Bounded:
    """A number and the bounds within which the exact one, or the expected one, lies."""

    value: float
    lower: float
    upper: float

    @classmethod
    def exact(cls, value: float) -> Bounded:
        """A number without an error."""
        return cls(value, value, value)


@dataclass(frozen=True)
class Spectrum:
    """Singular values of a matrix, largest first: float64 [k] of ``count`` in all.

    ``squares`` is the sum of the squares of all of them; ``residual`` bounds the relative error of the square of the
    largest, 0 where all are known.
    """

    values: Doubles
    count: int
    squares: float
    residual: float = 0.0

    @property
    def tail(self) -> tuple[int, float]:
        """Number of the values that are not known, and the sum of their squares."""
        missing = self.count - len(self.values)
        return missing, max(0.0, self.squares - float(np.sum(self.values**2))) if missing else 0.0

    def norm(self) -> Bounded:
        """The largest value, with the bound on its error."""
        largest = float(self.values[0])
        return Bounded(largest, largest, largest * math.sqrt(1 + self.residual))

    def stable_rank(self) -> Bounded:
        """|A|_F^2 / |A|_2^2 (Rudelson and Vershynin 2007), between 1 and the rank; NaN for a matrix of zeros."""
        norm = self.norm()
        if norm.value == 0:
            return Bounded.exact(math.nan)
        return Bounded(self.squares / norm.value**2, self.squares / norm.upper**2, self.squares / norm.lower**2)

    def effective_rank(self) -> Bounded:
        """Exponential of the entropy of the normalised values (Roy and Vetterli 2007); NaN for a matrix of zeros.

        Of values that are not known the sum of squares is: equal ones give the upper bound, as few as possible (none is
        larger than the smallest known) the lower one, and the value lies between the two on a logarithmic scale.
        """
        missing, rest = self.tail
        if self.squares == 0:
            return Bounded.exact(math.nan)
        if missing == 0 or rest == 0:
            return Bounded.exact(entropy_rank(self.values))
        flat = np.full(missing, math.sqrt(rest / missing))
        largest = max(float(self.values[-1]), float(flat[0]))
        full, part = divmod(rest, largest**2)
        few = np.append(np.full(int(full), largest), math.sqrt(part))
        lower, upper = sorted(entropy_rank(np.concatenate([self.values, tail])) for tail in (flat, few))
        return Bounded(math.sqrt(lower * upper), lower, upper)


def entropy_rank(values: Doubles) -> float:
    """Exponential of the entropy of non-negative ``values`` as shares of their sum.

    >>> round(entropy_rank(np.ones(5)), 9), round(entropy_rank(np.array([1.0, 0.0])), 9)
    (5.0, 1.0)
    """
    shares = values[values > 0] / values.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def gram(matrix: Floats) -> Doubles:
    """A^T A or A A^T, whichever is smaller, in float64; both triangles."""
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    total = np.zeros((tall.shape[1], tall.shape[1]), order="F")
    for start in range(0, len(tall), BLOCK_ROWS):
        block = np.ascontiguousarray(tall[start : start + BLOCK_ROWS], dtype=np.float64)
        total = dsyrk(1.0, block.T, beta=1.0, c=total, overwrite_c=True)
    upper: Doubles = np.triu(total)
    return upper + np.triu(upper, 1).T


def exact_spectrum(smaller_gram: Doubles) -> Spectrum:
    """All singular values from :func:`gram`; those below 1e-8 of the largest are rounding."""
    squares = np.maximum(eigvalsh(smaller_gram)[::-1], 0.0)
    return Spectrum(np.sqrt(squares), len(squares), float(np.trace(smaller_gram)))


def eigenvectors(smaller_gram: Doubles) -> Doubles:
    """Orthonormal eigenvectors of a Gram matrix as columns [n, n]."""
    vectors: Doubles = eigh(smaller_gram)[1]
    return vectors


def sampled_spectrum(matrix: Floats, rank: int, squares: float, seed: int = 0) -> Spectrum:
    """The ``rank`` largest singular values of ``matrix``, of which the sum of all squares is ``squares``.

    Products run in float32. The residual is |A^T A v - s^2 v| / s^2 of the largest pair: a singular value of A lies
    that near; that none is larger follows from the random start with probability one, and its distance from 1 shrinks
    with the power ``4 POWER_ITERATIONS`` of the ratio to value number ``rank``.
    """
    tall = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    width = min(rank + OVERSAMPLING, tall.shape[1])
    start = np.random.default_rng(seed).standard_normal((tall.shape[1], width), dtype=np.float32)
    basis = orthonormal(tall @ start)
    for _ in range(POWER_ITERATIONS):
        basis = orthonormal(tall @ orthonormal(tall.T @ basis))
    small = (tall.T @ basis).astype(np.float64)
    found, vectors = eigh(small.T @ small)
    largest = max(float(found[-1]), 0.0)
    right = small @ vectors[:, -1]
    length = float(np.linalg.norm(right))
    residual = 0.0
    if length > 0:
        right /= length
        image = (tall.T @ (tall @ right.astype(np.float32))).astype(np.float64)
        residual = float(np.linalg.norm(image - float(right @ image) * right)) / largest
    kept = np.sqrt(np.maximum(found[::-1], 0.0))[: min(rank, width)]
    return Spectrum(kept, tall.shape[1], squares, residual)


def orthonormal(columns: Floats) -> Floats:
    """An orthonormal basis of the space that ``columns`` span."""
    basis: Floats = qr(columns, mode="economic", check_finite=False)[0]
    return basis
