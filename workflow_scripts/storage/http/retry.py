"""When to try again and how long to wait: failures count only while nothing moves."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from workflow_scripts.errors import TransferError

Result = TypeVar("Result")
WITHOUT_NETWORK = (
    "without a network take a mirror (source: mirror) or fetch on another machine first, see "
    "docs/how-to/offline-cluster.md"
)
# Bytes per second below which a source counts as silent.
SLOWEST = 1000
log = logging.getLogger(__name__)


class RetryableError(TransferError):
    """A source failed in a way that may pass; ``retry_after`` is the wait in seconds that it asked for, if any."""

    # How many failures it counts for, and how many in a row are enough whatever the policy says.
    counts = 1
    enough = 1 << 30

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        """``message`` is what the user reads when it did not pass."""
        super().__init__(message)
        self.retry_after = retry_after


class PausedError(RetryableError):
    """A request that was not made, because the server had asked for a pause; waiting for that is no failure."""

    counts = 0


class NoConnectionError(RetryableError):
    """No connection could be made: refused, or no answer at all."""


class NoNetworkError(NoConnectionError):
    """The name of a server cannot be resolved, or there is no way to it: most likely a machine without a network.

    Three attempts are enough: seconds instead of minutes for each file, on a node that cannot reach the Hub.
    """

    enough = 3


@dataclass(frozen=True)
class RetryPolicy:
    """Give up after ``attempts`` failures in a row without progress; waits double from ``first_wait`` seconds.

    The defaults wait 1 + 2 + 4 + 8 + 16 + 32 + 60 = 123 seconds in all before a silent source is given up.
    ``patience`` is the longest Retry-After, in seconds, that is obeyed.
    """

    attempts: int = 8
    first_wait: float = 1.0
    longest_wait: float = 60.0
    patience: float = 900.0

    def seconds(self, failures: int, error: RetryableError) -> float:
        """Wait before the next attempt, after ``failures`` (>= 1) in a row.

        >>> RetryPolicy(first_wait=1.0).seconds(1, RetryableError("busy", retry_after=7.0))
        7.0
        """
        backoff = min(self.first_wait * 2.0 ** (failures - 1), self.longest_wait)
        # A random part keeps many processes that failed together from coming back together.
        return max(backoff * random.uniform(0.75, 1.0), error.retry_after or 0.0)

    def wait(self, failures: int, error: RetryableError, sleep: Callable[[float], object] = time.sleep) -> None:
        """Sleep before the next attempt, or raise TransferError when there is to be none."""
        if failures >= min(self.attempts, error.enough):
            raise TransferError(f"{error}; given up after {failures} attempt(s) without progress") from error
        if (error.retry_after or 0.0) > self.patience:
            raise TransferError(
                f"{error}; it requests a wait of {error.retry_after:.0f} s, rerun after that"
            ) from error
        seconds = self.seconds(max(failures, 1), error)
        log.info("%s; attempt %d of %d in %.1f s", error, failures + 1, self.attempts, seconds)
        sleep(seconds)


def retrying(policy: RetryPolicy, action: Callable[[], Result]) -> Result:
    """Result of ``action``, tried again by ``policy`` when it raises RetryableError."""
    failures = 0
    while True:
        try:
            return action()
        except RetryableError as error:
            failures += error.counts
            policy.wait(failures, error)
