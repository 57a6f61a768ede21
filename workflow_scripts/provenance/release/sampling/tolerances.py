"""How far a recomputed number may be from the stored one and still be the same work: declared by rule and type.

With the same type, device, number of threads, versions and kind of processor everything here is the same bits.
Elsewhere sums are added in another order. What that does was measured with ``benchmarks/arithmetic.py`` (threads, and
the instructions of older processors); ten times the largest difference, rounded up to 1, 2 or 5, is allowed.
docs/verification.md has this table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

STATISTICS = 1e-12  # relative; metrics from equal loglikelihoods, numpy's sums on another processor
MARGIN = 10.0
FORWARD_RULES = "score_checkpoint, score_memorization"
TRAINING_RULES = "train_model, train_arm"


@dataclass(frozen=True)
class Declared:
    """The largest difference of a ``quantity`` that was ``measured`` between ways of computing in one ``dtype``."""

    rules: str
    quantity: str
    dtype: str
    measured: float

    @property
    def allowed(self) -> float:
        """The difference up to which a number counts as the same."""
        return rounded_up(MARGIN * self.measured)


def rounded_up(value: float) -> float:
    """The next number of the form 1, 2 or 5 times a power of ten.

    >>> [rounded_up(each) for each in (0.3, 0.00021, 1.0, 7e-6)]
    [0.5, 0.0005, 1.0, 1e-05]
    """
    power = math.floor(math.log10(value))
    return min(each for each in (float(f"{m}e{power}") for m in (1, 2, 5, 10)) if each >= value * (1 - 1e-9))


LOGLIKELIHOOD = "loglikelihood of a request, in nats per square root of its tokens"
LOGIT = "difference of two logits"
LINE = "loss or gradient norm of one iteration, relative"
REPLAYED = "loss or gradient norm in a replay of up to 64 iterations, relative"
WEIGHTS = "weights after a replay, share of their movement"
DECLARED = (
    Declared(FORWARD_RULES, LOGLIKELIHOOD, "float32", 2.9e-6),
    Declared(FORWARD_RULES, LOGLIKELIHOOD, "bfloat16", 3.5e-2),
    Declared(FORWARD_RULES, LOGLIKELIHOOD, "float16", 4.5e-3),
    Declared(FORWARD_RULES, LOGIT, "float32", 1.2e-5),
    Declared(FORWARD_RULES, LOGIT, "bfloat16", 3.1e-2),
    Declared(FORWARD_RULES, LOGIT, "float16", 7.8e-3),
    Declared(TRAINING_RULES, LINE, "float32", 1.8e-7),
    Declared(TRAINING_RULES, LINE, "bfloat16", 3.6e-3),
    Declared(TRAINING_RULES, LINE, "float16", 4.0e-4),
    Declared(TRAINING_RULES, REPLAYED, "float32", 4.3e-6),
    Declared(TRAINING_RULES, REPLAYED, "bfloat16", 2.9e-2),
    Declared(TRAINING_RULES, REPLAYED, "float16", 3.8e-3),
    Declared(TRAINING_RULES, WEIGHTS, "float32", 2.7e-3),
    Declared(TRAINING_RULES, WEIGHTS, "bfloat16", 3.4e-2),
    Declared(TRAINING_RULES, WEIGHTS, "float16", 3.0e-2),
)


@dataclass(frozen=True)
class Allowed:
    """Of a forward pass: ``loglikelihood`` in nats per square root of its tokens, ``logit`` of a near-tie."""

    loglikelihood: float
    logit: float


@dataclass(frozen=True)
class AllowedTraining:
    """Of a training: relative difference in a ``line`` of one iteration, in a replay, and of the replayed weights.

    ``weights`` is the unexplained share of their movement (training/replay.py).
    """

    line: float
    replayed: float
    weights: float


def allowed(quantity: str, dtype: str) -> float:
    """What is declared."""
    return next(each.allowed for each in DECLARED if (each.quantity, each.dtype) == (quantity, dtype))


TYPES = ("float32", "bfloat16", "float16")
FORWARD = {dtype: Allowed(allowed(LOGLIKELIHOOD, dtype), allowed(LOGIT, dtype)) for dtype in TYPES}
TRAINING = {
    dtype: AllowedTraining(allowed(LINE, dtype), allowed(REPLAYED, dtype), allowed(WEIGHTS, dtype)) for dtype in TYPES
}
