"""Metrics of one weight tensor, each a function of it under its name. To add one, see docs/experiments/dynamics.md.

A metric returns a number, or a number with bounds where it is not exact. Its name stands in
config/schemas/dynamics.schema.yaml too, which is what a configuration is held to.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.experiments.dynamics.spectra import (
    Bounded,
    Spectrum,
    eigenvectors,
    exact_spectrum,
    gram,
    sampled_spectrum,
)

EMBEDDINGS = ("embed_in.weight", "embed_out.weight")
ATTENTION_OUT, MLP_OUT = "attention.dense.weight", "mlp.dense_4h_to_h.weight"
MATRICES = (*EMBEDDINGS, "attention.query_key_value.weight", ATTENTION_OUT, "mlp.dense_h_to_4h.weight", MLP_OUT)
BLOCK_ROWS = 4096


@dataclass(frozen=True)
class Accuracy:
    """How exact the metrics are, and what counts as near zero.

    Matrices whose smaller side is at most ``exact_below`` get all their singular values, others the ``rank`` largest.
    A head or neuron is near zero below ``near_zero`` times the median norm of its layer.
    """

    exact_below: int = 2048
    rank: int = 64
    near_zero: float = 0.05


@dataclass(frozen=True)
class Weight:
    """One tensor: float32 ``values`` [outputs, inputs] or [n], its name within the layer, the heads of the model."""

    part: str
    values: NDArray[np.float32]
    heads: int
    accuracy: Accuracy = Accuracy()

    @functools.cached_property
    def squares(self) -> float:
        """Sum of the squared values, in float64."""
        flat = self.values.reshape(-1)
        return float(
            sum(np.sum(np.square(part, dtype=np.float64)) for part in np.array_split(flat, len(flat) // 1_000_000 + 1))
        )

    @functools.cached_property
    def gram(self) -> NDArray[np.float64]:
        """The smaller Gram matrix."""
        return gram(self.values)

    @functools.cached_property
    def spectrum(self) -> Spectrum:
        """Singular values, as exact as ``accuracy`` asks."""
        if min(self.values.shape) <= self.accuracy.exact_below:
            return exact_spectrum(self.gram)
        return sampled_spectrum(self.values, self.accuracy.rank, self.squares)


@dataclass(frozen=True)
class WeightMetric:
    """A metric and the tensors that it is taken of; every tensor where ``parts`` is None."""

    measure: Callable[[Weight], Bounded | float]
    parts: Collection[str] | None


WEIGHT_METRICS: dict[str, WeightMetric] = {}
Function = Callable[[Weight], Bounded | float]


def weight_metric(parts: Collection[str] | None = None) -> Callable[[Function], Function]:
    """Decorator: the function is a metric under its own name, of the named parts of a model."""

    def register(function: Function) -> Function:
        WEIGHT_METRICS[function.__name__] = WeightMetric(function, parts)
        return function

    return register


def measure(weight: Weight, wanted: Collection[str]) -> Mapping[str, Bounded]:
    """Every metric among ``wanted`` that applies to ``weight``, by name."""
    found = {}
    for name, metric in WEIGHT_METRICS.items():
        if name in wanted and (metric.parts is None or weight.part in metric.parts):
            value = metric.measure(weight)
            found[name] = value if isinstance(value, Bounded) else Bounded.exact(value)
    return found


@weight_metric()
def norm(weight: Weight) -> float:
    """Frobenius norm: the root of the sum of squares."""
    return math.sqrt(weight.squares)


@weight_metric(MATRICES)
def spectral_norm(weight: Weight) -> Bounded:
    """Largest singular value."""
    return weight.spectrum.norm()


@weight_metric(MATRICES)
def stable_rank(weight: Weight) -> Bounded:
    """Squared Frobenius norm by squared spectral norm."""
    return weight.spectrum.stable_rank()


@weight_metric(MATRICES)
def effective_rank(weight: Weight) -> Bounded:
    """Exponential of the entropy of the singular values."""
    return weight.spectrum.effective_rank()


@weight_metric(EMBEDDINGS)
def mean_cosine(weight: Weight) -> float:
    """Mean cosine of two different rows (Ethayarajh 2019): 0 for rows in all directions, 1 for parallel ones.

    The sum over all pairs is the squared length of the sum of the unit rows; rows of zeros are left out.
    """
    total, rows = np.zeros(weight.values.shape[1]), 0
    for start in range(0, len(weight.values), BLOCK_ROWS):
        block = weight.values[start : start + BLOCK_ROWS].astype(np.float64)
        lengths = np.linalg.norm(block, axis=1)
        total += (block[lengths > 0] / lengths[lengths > 0, None]).sum(axis=0)
        rows += int(np.sum(lengths > 0))
    return float(total @ total - rows) / (rows * (rows - 1)) if rows > 1 else math.nan


@weight_metric(EMBEDDINGS)
def isotropy(weight: Weight) -> float:
    """Smallest by largest partition function Z(c), the sum of exp(c w) over the rows w; 1 is isotropic.

    Over the unit eigenvectors c of W^T W (Arora et al. 2016; Mu and Viswanath 2018) and their opposites, since the sign
    of an eigenvector means nothing. NaN for a matrix with fewer rows than columns.
    """
    if weight.values.shape[0] < weight.values.shape[1]:
        return math.nan
    vectors = eigenvectors(weight.gram).astype(np.float32)
    sums = np.full(2 * vectors.shape[1], -np.inf)
    for start in range(0, len(weight.values), BLOCK_ROWS):
        along = (weight.values[start : start + BLOCK_ROWS] @ vectors).astype(np.float64)
        both = np.concatenate([along, -along], axis=1)
        top = both.max(axis=0)
        sums = np.logaddexp(sums, top + np.log(np.exp(both - top).sum(axis=0)))
    return float(np.exp(sums.min() - sums.max()))


@weight_metric([ATTENTION_OUT])
def near_zero_heads(weight: Weight) -> float:
    """Share of heads whose columns of the output projection have a norm near zero beside the layer's median."""
    per_head = weight.values.reshape(len(weight.values), weight.heads, -1)
    return share_near_zero(np.sqrt(np.square(per_head, dtype=np.float64).sum(axis=(0, 2))), weight.accuracy)


@weight_metric([MLP_OUT])
def near_zero_neurons(weight: Weight) -> float:
    """Share of the neurons of the MLP whose output weights have a norm near zero beside the layer's median."""
    return share_near_zero(np.sqrt(np.square(weight.values, dtype=np.float64).sum(axis=0)), weight.accuracy)


def share_near_zero(norms: NDArray[np.float64], accuracy: Accuracy) -> float:
    """Share of ``norms`` up to ``near_zero`` times their median; all of them where that is zero."""
    return float(np.mean(norms <= accuracy.near_zero * np.median(norms)))
