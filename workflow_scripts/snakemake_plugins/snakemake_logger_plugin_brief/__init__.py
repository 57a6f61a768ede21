"""``snakemake --logger brief``: a progress line while all is well, and one readable block for each job that fails.

Snakemake prints about ten lines per job, which hides an error among thousands; its quiet modes hide the error too.
Its own complete log is written to ``.snakemake/log`` as always. ``bootstrap.py`` puts this folder
on the path of the environment, where Snakemake finds plugins by their name.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

if TYPE_CHECKING:
    from workflow_scripts.progress import Progress

LOG_LINES = 12
# Messages without an event that say nothing a person needs.
CHATTER = (
    "Using workflow specific profile", "Config file", "Assuming unrestricted", "Building DAG", "Using shell",
    "Select jobs", "Execute ", "Complete log", "Elapsed time", "Conda environments", "SNAKEMAKE", "Removing ",
    "Exiting because", "Touching",
)  # fmt: skip

# Snakemake's advice on these is dangerous while another run is alive; `make unlock` looks before it leaps.
LEFT_BEHIND = {
    "LockException": "this folder is locked, by a run that was killed or by one on another machine; `make unlock` "
    "frees it when no run is alive here, then start again",
    "IncompleteFilesException": "a run was killed while it made some files, or another run makes them now; when none "
    "is alive, start again with --rerun-incomplete (the profiles have it)",
}


def job_bar(total: float) -> Progress:
    """A bar of jobs.

    Snakemake imports each plugin that it finds, before the Snakefile says which folder's package is the right one.
    """
    from workflow_scripts.progress import Progress

    return Progress("run", total, "jobs")


class LogHandler(LogHandlerBase):
    """Turns Snakemake's log records into progress and error blocks on standard error."""

    def __post_init__(self) -> None:
        """Start without a job."""
        self.progress: Progress | None = None
        self.labels: dict[int, str] = {}
        self.failed: set[str] = set()

    @property
    def writes_to_stream(self) -> bool:
        """This handler takes the place of the one that prints to the terminal."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Files are left to Snakemake's own log."""
        return False

    @property
    def has_filter(self) -> bool:
        """Every record is looked at here."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Records are not formatted by Snakemake."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """The graph is not drawn."""
        return False

    def emit(self, record: logging.LogRecord) -> None:
        """Handle one record."""
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            self.labels[int(getattr(record, "jobid", -1))] = label(record)
        elif event == LogEvent.PROGRESS:
            self.advance(record)
        elif event == LogEvent.JOB_ERROR:
            self.report(record)
        elif event == LogEvent.ERROR and getattr(record, "exception", None) in LEFT_BEHIND:
            self.print([f"error: {LEFT_BEHIND[record.exception]}"])  # type: ignore[attr-defined]
        elif event in (None, LogEvent.ERROR) and record.levelno >= logging.WARNING:
            self.message(record)

    def advance(self, record: logging.LogRecord) -> None:
        """One more job is done."""
        done, total = float(getattr(record, "done", 0)), float(getattr(record, "total", 1))
        if self.progress is None:
            self.progress = job_bar(total)
        self.progress.advance(done - self.progress.done, note=newest(self.labels))

    def report(self, record: logging.LogRecord) -> None:
        """A job failed: which, the end of its log, and where the whole log lies; once per job."""
        logs = [Path(str(path)) for path in getattr(record, "log", None) or []]
        title = self.labels.get(int(getattr(record, "jobid", -1)), label(record))
        if title in self.failed:
            return
        self.failed.add(title)
        lines = [f"FAILED {title}", *(f"  {line}" for path in logs for line in tail(path))]
        lines += [f"  whole log: {path}" for path in logs]
        self.print(lines)

    def message(self, record: logging.LogRecord) -> None:
        """Print a warning or an error that belongs to no job, unless it only repeats that a job failed."""
        text = record.getMessage().strip()
        repeats = text.startswith("RuleException") or "At least one job did not complete" in text
        if text and not text.startswith(CHATTER) and not (repeats and self.failed):
            self.print([text])

    def print(self, lines: list[str]) -> None:
        """Write lines below the bar."""
        if self.progress is None:
            self.progress = job_bar(1)
        start = "\n" if self.progress.is_terminal() else ""
        self.progress.stream.write(start + "\n".join(lines) + "\n")
        self.progress.stream.flush()


def label(record: logging.LogRecord) -> str:
    """Rule and wildcards of a job."""
    wildcards: Any = getattr(record, "wildcards", None) or {}
    values = wildcards.items() if hasattr(wildcards, "items") else []
    return " ".join([str(getattr(record, "rule_name", "job")), *(f"{key}={value}" for key, value in values)])


def newest(labels: dict[int, str]) -> str:
    """Label of the job that was started last."""
    return next(reversed(labels.values()), "")


def tail(path: Path) -> list[str]:
    """Last lines of a log file, or a line that says why there are none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return [f"(no log: {error.strerror})"]
    return text.rstrip().splitlines()[-LOG_LINES:] or ["(the log is empty)"]
