"""What a result file holds, as every reader returns it: measurements, and what the file claims about itself.

A reader returns what is written and changes no number. A metric whose number cannot be a result (NaN, infinite, an
accuracy outside [0, 1]) is left out and listed with its reason; the rest of its file is read.
"""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from workflow_scripts.errors import DataError
from workflow_scripts.json_values import JsonMapping, JsonObject, JsonValue
from workflow_scripts.published.claims import Claim

SHARES = frozenset({"acc", "acc_norm", "pct_stereotype", "em"})  # means of 0/1 items: n follows from the error


class Measurement(NamedTuple):
    """One number of a result file; ``n`` is the number of items behind it, None where it cannot be told."""

    task: str
    task_version: str | None
    metric: str
    value: float
    stderr: float | None
    n: int | None


@dataclass(frozen=True)
class Content:
    """What one result file holds for one model, step and number of shots."""

    claim: Claim
    harness: str
    measurements: list[Measurement]
    facts: JsonMapping = field(default_factory=dict)  # recipe and settings, for the audit
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()  # metrics that were left out, each with its reason


def limit_notes(config: JsonMapping) -> tuple[str, ...]:
    """A note when only some items of each task were evaluated."""
    return () if config.get("limit") is None else ("limited-items",)


def flat_metrics(
    task: str, version: str | None, metrics: JsonMapping, refused: list[str] | None = None
) -> list[Measurement]:
    """Measurements of one task; ``metrics`` maps ``m`` and ``m_stderr`` to numbers.

    A metric whose number cannot be a result is added to ``refused``, or is a DataError where there is no such list. All
    metrics of a task come from the same items, so one that is no share takes n from a share beside it.
    """
    found = {}
    for metric, value in metrics.items():
        stderr = metrics.get(f"{metric}_stderr")
        reason = "" if metric.endswith("_stderr") else fault_of(metric, value, stderr)
        if reason and refused is None:
            raise DataError(f"{task} {reason}")
        if reason and refused is not None:
            refused.append(f"{task} {reason}")
        elif not metric.endswith("_stderr"):
            found[metric] = float(value), stderr
    counts = {metric: count_of(*number) for metric, number in found.items() if metric in SHARES}
    shared = next((count for count in counts.values() if count is not None), None)
    return [Measurement(task, version, metric, *found[metric], counts.get(metric) or shared) for metric in found]


def count_of(share: float, stderr: float | None) -> int | None:
    """Items behind a share p with lm-eval's standard error s: n = p(1-p)/s^2 + 1; None where s is 0 or absent.

    >>> count_of(0.5, (0.25 / 99) ** 0.5), count_of(0.0, 0.0)
    (100, None)
    """
    # The square of a number below 1e-154 is zero: no sample of items has such an error.
    if not stderr or not (stderr**2):
        return None
    count = share * (1 - share) / stderr**2 + 1
    if not math.isfinite(count):
        return None
    return round(count) if abs(count - round(count)) < 1e-3 * count else None


def is_finite(value: object) -> bool:
    """True for a number that a double can hold; JSON may have whole numbers of any length."""
    try:
        return isinstance(value, int | float) and math.isfinite(value)
    except OverflowError:
        return False


def fault_of(metric: str, value: JsonValue, stderr: JsonValue) -> str:
    """Why ``value`` with its ``stderr`` cannot be a result of ``metric``; empty where it can.

    >>> fault_of("acc", 0.5, 0.01), fault_of("acc", 1.5, None)
    ('', 'acc is 1.5: outside [0, 1]')
    """
    if isinstance(value, bool) or not is_finite(value):
        return f"{metric} is {value!r}: not a finite number"
    if metric in SHARES and not 0 <= value <= 1:
        return f"{metric} is {value}: outside [0, 1]"
    if stderr is not None and (not is_finite(stderr) or stderr < 0):
        return f"{metric}_stderr is {stderr!r}: not a standard error"
    return ""


def mapping(holder: JsonMapping, key: str) -> JsonObject:
    """The table at ``holder[key]``, empty where there is none; raises DataError where it is something else."""
    value = holder.get(key)
    if value is not None and not isinstance(value, dict):
        raise DataError(f"{key} is a {type(value).__name__}, a table was expected")
    return value or {}


def whole(value: object) -> int | None:
    """A whole number, None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: object) -> str | None:
    """Version number as text."""
    return None if value is None else str(value)
