"""Counts bytes over the threads of one job and stops all of them together."""

from __future__ import annotations

import threading

from workflow_scripts.errors import TransferError
from workflow_scripts.progress import Progress


class Meter:
    """Bytes done over all files of a fetch; may be used by several threads, and stops them all."""

    def __init__(self, progress: Progress | None = None) -> None:
        """``progress`` counts bytes; none is shown without it."""
        self.progress = progress
        self.guard = threading.Lock()
        self.stopped = threading.Event()

    def add(self, amount: int) -> None:
        """Count bytes; a negative amount takes back what was lost. Raises TransferError when the fetch was stopped."""
        if self.progress is not None and amount:
            with self.guard:
                self.progress.advance(amount)
        self.sleep(0.0)

    def sleep(self, seconds: float) -> None:
        """Wait; raises TransferError as soon as the fetch is stopped."""
        if self.stopped.wait(seconds):
            raise TransferError("stopped because another file failed; its message says why")
