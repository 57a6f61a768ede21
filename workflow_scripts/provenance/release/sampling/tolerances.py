"""How far a recomputed number may be from the stored one and still be the same work: by what computed it.

On the arithmetic that made it (type, device, number of threads, kind of processor, versions) everything here is the
same bits. Elsewhere sums are added in another order. What that does was measured with ``benchmarks/arithmetic.py``;
what is allowed is ten times the largest difference seen, rounded up to 1, 2 or 5. docs/verification.md has the table.
"""

from __future__ import annotations

from dataclasses import dataclass

STATISTICS = 1e-12  # relative; metrics from equal loglikelihoods, numpy's sums on another processor


@dataclass(frozen=True)
class Allowed:
    """Of a forward pass: ``loglikelihood`` in nats per square root of its tokens, ``logit`` of a near-tie."""

    loglikelihood: float
    logit: float


@dataclass(frozen=True)
class AllowedTraining:
    """Of a training: relative difference of loss and norm of one iteration, of a replay, and of its weights.

    ``weights`` is the unexplained share of their movement (training/replay.py).
    """

    line: float
    replayed: float
    weights: float


FORWARD = {
    "float32": Allowed(5e-5, 2e-4),
    "bfloat16": Allowed(0.5, 0.5),
    "float16": Allowed(0.05, 0.1),
}
TRAINING = {
    "float32": AllowedTraining(1e-5, 1e-3, 1e-2),
    "bfloat16": AllowedTraining(1e-2, 0.05, 0.2),
    "float16": AllowedTraining(1e-2, 0.05, 0.2),
}
