"""Lines about what a run on a cluster waits for: Slurm being away, and a queue in which nothing moves."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping

from workflow_scripts.workflow.cluster.slurm_answers import QueuedJob, nodes_out_of_service

PAUSES = (5.0, 10.0, 20.0, 30.0)  # seconds between questions while Slurm is away; the last one is repeated
REMIND_SECONDS = 600.0
QUIET_SECONDS = 600.0  # without a job that starts or ends, after which the reasons are given
QUIET_AGAIN_SECONDS = 3600.0
Say = Callable[[str], None]
Clock = Callable[[], float]


class Outage:
    """Says when Slurm stops answering, every ten minutes that it is still away, and when it is back."""

    def __init__(self, say: Say, clock: Clock = time.monotonic) -> None:
        """``say`` prints a line; ``clock`` returns seconds."""
        self.say, self.clock = say, clock
        self.lock = threading.Lock()
        self.since: float | None = None
        self.said_at = 0.0

    def note(self, reason: str, submitted: int) -> None:
        """Slurm did not answer for ``reason`` while it has ``submitted`` jobs of ours."""
        with self.lock:
            now = self.clock()
            if self.since is None:
                self.since = now
            elif now - self.said_at < REMIND_SECONDS:
                return
            self.said_at = now
            away = f" for {duration(now - self.since)}" if now > self.since else ""
        self.say(
            f"Slurm has not answered{away} ({reason}): {submitted} submitted jobs continue without it, "
            f"submissions wait; asking again every {PAUSES[-1]:.0f} s"
        )

    def over(self) -> None:
        """Slurm answered."""
        with self.lock:
            since, self.since = self.since, None
        if since is not None:
            self.say(f"Slurm answers again, after {duration(self.clock() - since)}")


class Quiet:
    """Says why nothing moves once no job has started or ended for ten minutes and none is running."""

    def __init__(self, say: Say, clock: Clock = time.monotonic) -> None:
        """``say`` prints a line; ``clock`` returns seconds."""
        self.say, self.clock = say, clock
        self.states: dict[str, str] = {}
        self.since = self.said_at = clock()

    def look(self, jobs: Mapping[str, QueuedJob], out_of_service: Callable[[], str] = nodes_out_of_service) -> None:
        """Take the present state of our jobs."""
        now, states = self.clock(), {number: job.state for number, job in jobs.items()}
        if states != self.states or set(states.values()) != {"PENDING"}:
            self.states, self.since, self.said_at = states, now, now - QUIET_AGAIN_SECONDS
        elif now - self.since >= QUIET_SECONDS and now - self.said_at >= QUIET_AGAIN_SECONDS:
            self.said_at = now
            reasons = Counter(job.reason for job in jobs.values()).most_common(3)
            waits = ", ".join(f"{count} for {reason}" for reason, count in reasons)
            nodes = out_of_service()
            self.say(
                f"no job has started or ended for {duration(now - self.since)}: {len(jobs)} are pending ({waits})"
                + (f"; out of service: {nodes}" if nodes else "")
            )


def duration(seconds: float) -> str:
    """Time in words.

    >>> duration(9.4), duration(190), duration(7300)
    ('9 s', '3 min 10 s', '2 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, left = divmod(minutes, 60)
    return f"{hours} h {left} min" if hours else f"{minutes} min {rest} s"
