"""Shares a server's request to slow down among all processes of this user.

When a server answers 429 with a time to wait, the time is written to ``<cache>/pythia-workflow/pauses/<host>``, and
every process on every machine that shares the home folder waits for it before its next request to that host. Where the
cache cannot be written, each process waits on its own.

Kept although each process could wait for its own 429: the Hub counts requests per user over minutes, a sweep has dozens
of processes, and each one that asks into a pause lengthens it for all; no library shares that between processes.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from pathlib import Path

from workflow_scripts.storage.atomic import write_text
from workflow_scripts.storage.http.retry import PausedError

# A wrong clock or a damaged file must not stop anybody for longer than this.
LONGEST_PAUSE = 900.0


def pause_file(host: str) -> Path:
    """Where the pause of ``host`` is written."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(cache) if cache else Path.home() / ".cache"
    return folder / "pythia-workflow" / "pauses" / (re.sub(r"[^A-Za-z0-9.-]", "_", host) or "_")


def remaining(host: str) -> float:
    """Seconds until ``host`` may be asked again."""
    try:
        until = float(pause_file(host).read_text("utf-8"))
    except (OSError, ValueError, RuntimeError):
        return 0.0
    return min(max(until - time.time(), 0.0), LONGEST_PAUSE) if math.isfinite(until) else 0.0


def note(host: str, seconds: float | None) -> None:
    """Remember that ``host`` asked for a pause; an earlier, longer one stays."""
    if seconds is None or seconds <= remaining(host):
        return
    with contextlib.suppress(OSError, RuntimeError):
        write_text(pause_file(host), f"{time.time() + min(seconds, LONGEST_PAUSE):.3f}\n")


def obey(host: str) -> None:
    """Raise PausedError, with the time to wait, when ``host`` may not be asked yet.

    The wait is left to the caller, because that can be interrupted.
    """
    seconds = remaining(host)
    if seconds > 0.0:
        raise PausedError(f"{host} requested a pause", seconds)
