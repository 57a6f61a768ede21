"""Power laws of loss against parameters N and tokens D, and what the data allow to say about them.

``L = E + A N^-a`` in one variable and ``L = E + A N^-a + B D^-b`` in two, after Hoffmann et al. 2022 (arXiv 2203.15556,
approach 3): Huber loss on the logarithm, many starts, E, A and B fitted as logarithms so that they stay positive. A fit
is made on three or more sizes only, carries the range it was made on, and extrapolates nothing by itself. Products such
as 6 N D are floats: for the 12b model they exceed 2^63.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from workflow_scripts.errors import DataError

Floats = NDArray[np.float64]
FEWEST_SIZES = 3
HUBER_DELTA = 1e-3
# Starting points: logarithms of the floor and of each factor relative to the mean loss, and exponents.
FLOORS, FACTORS, EXPONENTS = (-2.0, -0.3), (-1.0,), (0.1, 0.4, 0.9)
MOST_STEPS = 300
REFITS = 200


@dataclass(frozen=True)
class PowerLaw:
    """A fit and the range of the data it was made on; ``factors`` and ``exponents`` are per variable (N, then D).

    ``error`` is the root mean square of the residuals of log L, ``points`` the number of losses. ``exponent_bounds`` is
    the 95 % interval of each exponent over refits, empty where no degree of freedom is left.
    """

    irreducible: float
    factors: tuple[float, ...]
    exponents: tuple[float, ...]
    points: int
    error: float
    ranges: tuple[tuple[float, float], ...]
    exponent_bounds: tuple[tuple[float, float], ...] = ()

    def __call__(self, *variables: ArrayLike) -> Floats:
        """Losses at the given N (and D)."""
        terms = zip(variables, self.factors, self.exponents, strict=True)
        powers = [factor * np.asarray(x, dtype=np.float64) ** -exponent for x, factor, exponent in terms]
        return np.asarray(self.irreducible + sum(powers), dtype=np.float64)

    @property
    def degrees_of_freedom(self) -> int:
        """Points minus fitted numbers; at 0 or below the fit says nothing about its own error."""
        return self.points - 1 - 2 * len(self.factors)


def fit(losses: ArrayLike, *variables: ArrayLike) -> PowerLaw:
    """Fit a power law to ``losses`` at ``variables`` (parameters, and tokens where both vary).

    Raises DataError for fewer than three sizes, fewer points than fitted numbers, or values that are not positive.
    """
    y = np.asarray(losses, dtype=np.float64)
    columns = [np.asarray(variable, dtype=np.float64) for variable in variables]
    check(y, columns)
    centres = [float(np.exp(np.log(column).mean())) for column in columns]
    logs = [np.log(column / centre) for column, centre in zip(columns, centres, strict=True)]
    _, numbers = min(attempts(y, logs), key=itemgetter(0))
    exponents = tuple(float(value) for value in numbers[2::2])
    factors = tuple(
        math.exp(float(value)) * centre**exponent
        for value, centre, exponent in zip(numbers[1::2], centres, exponents, strict=True)
    )
    error = float(np.sqrt((residuals(numbers, y, logs) ** 2).mean()))
    ranges = tuple((float(column.min()), float(column.max())) for column in columns)
    bounds = exponent_bounds(numbers, y, logs)
    return PowerLaw(math.exp(float(numbers[0])), factors, exponents, len(y), error, ranges, bounds)


def exponent_bounds(numbers: Floats, losses: Floats, logs: list[Floats]) -> tuple[tuple[float, float], ...]:
    """95 % intervals of the exponents: refits to the fitted curve with resampled residuals (inflated by n / dof).

    Losses of one run hang together, so the intervals are too narrow rather than too wide. Empty without a residual.
    """
    freedom = len(losses) - len(numbers)
    if freedom < 1:
        return ()
    errors = -residuals(numbers, losses, logs)
    centred = (errors - errors.mean()) * math.sqrt(len(losses) / freedom)
    random = np.random.default_rng(0)
    curve = np.log(losses) - errors
    refits = [solve(numbers, np.exp(curve + random.choice(centred, len(losses))), logs).x[2::2] for _ in range(REFITS)]
    return tuple((float(low), float(high)) for low, high in np.quantile(refits, [0.025, 0.975], axis=0).T)


def check(losses: Floats, columns: list[Floats]) -> None:
    """Refuse what cannot be fitted."""
    sizes = len(np.unique(columns[0]))
    if sizes < FEWEST_SIZES:
        raise DataError(f"a power law needs at least {FEWEST_SIZES} sizes of models, there are {sizes}; add sizes")
    if any(len(column) != len(losses) for column in columns) or len(losses) < 1 + 2 * len(columns):
        raise DataError(f"{len(losses)} losses are not enough for the {1 + 2 * len(columns)} numbers of the fit")
    if min(float(values.min()) for values in (losses, *columns)) <= 0:
        raise DataError("losses, parameters and tokens must be above 0 for a power law; leave out step 0")


def residuals(numbers: Floats, losses: Floats, logs: list[Floats]) -> Floats:
    """Log of the predicted over the true loss; ``numbers`` are log E and, per variable, log factor and exponent."""
    powers = [
        np.exp(np.clip(factor - exponent * column, -60, 60))
        for factor, exponent, column in zip(numbers[1::2], numbers[2::2], logs, strict=True)
    ]
    return np.asarray(np.log(np.exp(np.clip(numbers[0], -60, 60)) + sum(powers)) - np.log(losses), dtype=np.float64)


def slopes(numbers: Floats, losses: Floats, logs: list[Floats]) -> Floats:
    """Derivatives of the residuals by the fitted numbers, [points, numbers]."""
    powers = [
        np.exp(np.clip(factor - exponent * column, -60, 60))
        for factor, exponent, column in zip(numbers[1::2], numbers[2::2], logs, strict=True)
    ]
    floor = np.full(len(losses), np.exp(np.clip(numbers[0], -60, 60)))
    total = floor + sum(powers)
    columns = [floor, *(part for power, column in zip(powers, logs, strict=True) for part in (power, -power * column))]
    return np.asarray(np.stack(columns, axis=1) / total[:, None], dtype=np.float64)


def attempts(losses: Floats, logs: list[Floats]) -> Iterator[tuple[float, Floats]]:
    """Cost and fitted numbers from a grid of starting points."""
    scale = math.log(float(losses.mean()))
    for floor, factor, exponent in product(FLOORS, FACTORS, EXPONENTS):
        found = solve(np.array([scale + floor, *([scale + factor, exponent] * len(logs))]), losses, logs)
        yield float(found.cost), np.asarray(found.x, dtype=np.float64)


def solve(start: Floats, losses: Floats, logs: list[Floats]) -> Any:
    """Huber fit from one starting point (scipy's result); exponents are kept above 0."""
    lower = [-20.0, *([-20.0, 1e-3] * len(logs))]
    upper = [math.log(float(losses.mean())) + 1.0, *([20.0, 5.0] * len(logs))]
    return optimize.least_squares(
        residuals,
        np.clip(start, lower, upper),
        jac=slopes,
        bounds=(lower, upper),
        loss="huber",
        f_scale=HUBER_DELTA,
        args=(losses, logs),
        max_nfev=MOST_STEPS,
    )


def describe(law: PowerLaw, names: tuple[str, ...]) -> str:
    """The fit in words, with its range.

    >>> describe(PowerLaw(1.5, (400.0,), (0.34,), 8, 0.01, ((7e7, 1.2e10),)), ("N",))
    'L = 1.5 + 400 N^-0.34, 8 points, N from 7e+07 to 1.2e+10, root mean square error of log L 0.010'
    """
    terms = " + ".join(
        f"{factor:.3g} {name}^-{exponent:.2f}"
        for name, factor, exponent in zip(names, law.factors, law.exponents, strict=True)
    )
    spans = ", ".join(
        f"{name} from {low:.3g} to {high:.3g}" for name, (low, high) in zip(names, law.ranges, strict=True)
    )
    bounds = ", ".join(
        f"{name} {low:.2f} to {high:.2f}" for name, (low, high) in zip(names, law.exponent_bounds, strict=False)
    )
    interval = f", 95 % of the exponents over refits: {bounds}" if bounds else ""
    warning = "" if law.degrees_of_freedom > 0 else " (as many parameters as points: the form is not tested)"
    return (
        f"L = {law.irreducible:.3g} + {terms}, {law.points} points, {spans}, root mean square error of log L "
        f"{law.error:.3f}{interval}{warning}"
    )
