"""Gradient norm and gradient noise scale on a recorded batch (McCandlish et al. 2018, appendix A.1).

With g_i the gradient of row i and G their mean over B rows, |G|^2 and the mean of |g_i|^2 are the squared norms at
batch sizes B and 1. Without bias, |true gradient|^2 = (B |G|^2 - mean |g_i|^2) / (B - 1), and the trace of the
covariance of g_i = (mean |g_i|^2 - |G|^2) / (1 - 1 / B). Their ratio is the noise scale, in rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from workflow_scripts.experiments.dynamics.probe_model import ProbeModel
from workflow_scripts.experiments.dynamics.spectra import Bounded
from workflow_scripts.training.run.loss import chunked_cross_entropy


@dataclass(frozen=True)
class BatchGradients:
    """What is known of the gradients of B rows: |g_i|^2 [B], g_i G [B] and |G|^2, in float64."""

    squares: NDArray[np.float64]
    products: NDArray[np.float64]
    mean_square: float

    def norm(self) -> Bounded:
        """Norm of the mean gradient."""
        return Bounded.exact(math.sqrt(self.mean_square))

    def noise_scale(self) -> Bounded:
        """Noise scale in rows with a 95 % interval: the jackknife over rows, on a logarithmic scale.

        NaN where the noise hides the gradient (no positive estimate of its square); no upper bound where leaving out
        one row does that.
        """
        value = ratio(self.squares.mean(), self.mean_square, len(self.squares))
        left = [self.without(row) for row in range(len(self.squares))] if len(self.squares) > 2 else []
        if not value > 0 or not left:
            return Bounded(value, math.nan, math.nan)
        logs = np.log(np.array(left))
        if not np.isfinite(logs).all():
            return Bounded(value, math.nan, math.inf)
        n = len(logs)
        error = math.sqrt((n - 1) / n * float(np.sum((logs - logs.mean()) ** 2)))
        factor = math.exp(float(stats.t.ppf(0.975, n - 1)) * error)
        return Bounded(value, value / factor, value * factor)

    def without(self, row: int) -> float:
        """Noise scale of the other rows; NaN where it has none."""
        n = len(self.squares)
        rest = (n**2 * self.mean_square - 2 * n * self.products[row] + self.squares[row]) / (n - 1) ** 2
        found = ratio((self.squares.sum() - self.squares[row]) / (n - 1), rest, n - 1)
        return found if found > 0 else math.nan


def ratio(mean_of_squares: float, square_of_mean: float, rows: int) -> float:
    """Noise scale from the mean of |g_i|^2 and |G|^2; NaN where the estimate of the true square is not positive."""
    true_square = (rows * square_of_mean - mean_of_squares) / (rows - 1) if rows > 1 else 0.0
    return float((mean_of_squares - square_of_mean) / (1 - 1 / rows) / true_square) if true_square > 0 else math.nan


def batch_gradients(model: ProbeModel, rows: Tensor) -> BatchGradients:
    """Gradients of ``rows`` [B, length + 1], one at a time: twice, so that no more than two are held."""
    total = [torch.zeros_like(weight) for weight in model.weights.values()]
    squares = []
    for row in torch.split(rows, 1):
        found = row_gradient(model, row)
        squares.append(inner(found, found))
        for place, part in zip(total, found, strict=True):
            place.add_(part, alpha=1 / len(rows))
        del found
    products = [inner(row_gradient(model, row), total) for row in torch.split(rows, 1)]
    return BatchGradients(np.array(squares), np.array(products), inner(total, total))


def row_gradient(model: ProbeModel, row: Tensor) -> list[Tensor]:
    """Gradient of the mean loss of one row [1, length + 1] for every weight, in their order."""
    tokens = row.to(model.device)
    weights = list(model.weights.values())
    for weight in weights:
        weight.requires_grad_(True)
    with torch.enable_grad():
        loss = chunked_cross_entropy(model.final(tokens[:, :-1]).flatten(0, 1), model.head, tokens[:, 1:].flatten())
        found = list(torch.autograd.grad(loss, weights))
    for weight in weights:
        weight.requires_grad_(False)
    return found


def inner(one: list[Tensor], other: list[Tensor]) -> float:
    """Inner product of two gradients; sums of each tensor in float32, over tensors in float64."""
    return sum(float(torch.dot(a.flatten(), b.flatten())) for a, b in zip(one, other, strict=True))
