"""Progress of long work: a bar on a terminal, a line every 30 s or 5 % in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

LOG_SECONDS = 30.0
LOG_SHARE = 0.05
BAR_SECONDS = 0.2
BAR_WIDTH = 30


class Progress:
    """Counts work towards a known total and says so now and then.

    Use as a context manager: ``with Progress("unshard", total_bytes, unit="B") as progress: progress.advance(n)``.
    """

    def __init__(
        self,
        label: str,
        total: float,
        unit: str = "",
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``total`` is in ``unit``; ``stream`` defaults to standard error; ``clock`` returns seconds."""
        self.label = label
        self.total = max(float(total), 1e-9)
        self.unit = unit
        self.stream = stream if stream is not None else sys.stderr
        self.clock = clock
        self.done = 0.0
        self.started = clock()
        self.said_at = self.started
        self.said_share = 0.0

    def advance(self, amount: float = 1.0, note: str = "") -> None:
        """Add ``amount`` to the work done; prints when it is time to."""
        self.done += amount
        now, share = self.clock(), self.done / self.total
        if self.is_terminal():
            due = now - self.said_at >= BAR_SECONDS
        else:
            due = now - self.said_at >= LOG_SECONDS or share - self.said_share >= LOG_SHARE
        if due or self.done >= self.total:
            self.said_at, self.said_share = now, share
            self.say(note)

    def is_terminal(self) -> bool:
        """True when a moving bar can be drawn."""
        return self.stream.isatty()

    def say(self, note: str = "") -> None:
        """Print the present state."""
        share = min(self.done / self.total, 1.0)
        elapsed = self.clock() - self.started
        left = elapsed / share - elapsed if share > 0 else 0.0
        text = f"{self.label}: {share:4.0%} {amount_text(self.done, self.unit)}, {elapsed:.0f} s, {left:.0f} s left"
        text += f", {note}" if note else ""
        if self.is_terminal():
            bar = "#" * int(share * BAR_WIDTH)
            self.stream.write(f"\r[{bar:<{BAR_WIDTH}}] {text}\x1b[K")
        else:
            self.stream.write(text + "\n")
        self.stream.flush()

    def __enter__(self) -> Progress:
        """Start the clock."""
        self.started = self.said_at = self.clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the line of a bar."""
        if self.is_terminal():
            self.stream.write("\n")


def amount_text(amount: float, unit: str) -> str:
    """Amount with a readable scale: bytes get binary prefixes, the rest plain numbers.

    >>> amount_text(5 * 2**20, "B"), amount_text(12.0, "rows")
    ('5.0 MiB', '12 rows')
    """
    if unit != "B":
        return f"{amount:,.0f} {unit}".strip()
    for prefix in ("", "Ki", "Mi", "Gi"):
        if amount < 1024:
            return f"{amount:.1f} {prefix}B" if prefix else f"{amount:.0f} B"
        amount /= 1024
    return f"{amount:.1f} TiB"
