"""``snakemake --logger brief``: a progress line while all is well, and one readable block for each job that fails.

Snakemake prints about ten lines per job, which hides an error among thousands; its quiet modes hide the error too.
Its own complete log is written to ``.snakemake/log`` as always. Every profile names this logger, and
``profiles/default`` does so for a plain ``snakemake``, so that all ways of starting say the same. Where the user asks
to see more (``-p``, ``--verbose``) or runs no job (``--lint``, ``--summary``), Snakemake's own lines are printed too.
A dry run (``-n``) is a line per rule with the reason of its first job; with ``-p`` it is Snakemake's, all of each job.
``bootstrap.py`` puts this folder on the path of the environment, where Snakemake finds plugins by their name.
"""

from __future__ import annotations

import copy
import errno
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

# Snakemake imports each plugin that it finds, maybe that of another checkout, before the Snakefile says which folder's
# package is the right one: that of the folder in which it is started.
if Path("workflow_scripts/__init__.py").is_file():
    sys.path.insert(0, str(Path.cwd()))

from workflow_scripts import cli
from workflow_scripts.errors import PipelineError
from workflow_scripts.progress import Progress
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.workflow.tools.one_run import is_snakemake, runs_jobs

DEFAULT = Path("config") / "config.yaml"
RESTART = re.compile(r"Trying to restart job (\d+)\.")
# How Python writes an error of the operating system, which Snakemake wraps into its own or lets through: the number
# and, for most, the file.
OS_ERROR = re.compile(r"\[Errno (\d+)\][^:\n]*(?:: '([^'\n]+)')?")
TITLE, FILES_OF_A_REASON, REASON = 48, 80, 400  # characters of a line of a dry run
SHOWN = 3  # running jobs that are named when the run ends
BLOCK_LINES = 10  # of what is printed about a failed job
# Messages without an event that say nothing a person needs.
CHATTER = (
    "Using workflow specific profile", "Config file", "Assuming unrestricted", "Building DAG", "Using shell",
    "Select jobs", "Execute ", "Complete log", "Elapsed time", "Conda environments", "SNAKEMAKE", "Removing ",
    "Exiting because", "Touching",
)  # fmt: skip

# Messages below a warning that a person waits for.
NEWS = ("Nothing to be done",)
# Why jobs run that nobody wonders about: a reason of another kind is shown in place of one of these.
USUAL_REASONS = ("Missing output files", "Input files updated by another job")
# What Snakemake says about the reasons that it has printed with each job.
ON_REASONS = ("Reasons:", "Some jobs were triggered by provenance")
DRY_RUN_ENDS = "This was a dry-run"
# Events of a dry run that the list by rule takes the place of.
LEFT_OUT = (LogEvent.WORKFLOW_STARTED, LogEvent.GROUP_INFO, LogEvent.SHELLCMD, LogEvent.RUN_INFO)
# What Snakemake says when it is asked to end, and what that means; the jobs that it waits for are named behind it.
ENDINGS = {
    "Will exit after finishing": "ending: waiting for",
    "Terminating processes on user request": "interrupted: stopping",
}
# Snakemake's advice on these is dangerous while another run is alive; `make unlock` looks before it leaps.
LEFT_BEHIND = {
    "LockException": "this folder is locked by a killed run or by a run on another machine; `make unlock` "
    "releases the lock if no run is active here; then rerun",
    "IncompleteFilesException": "some files are incomplete: a run was killed, or another run is writing "
    "them; if no run "
    "is active, rerun with --rerun-incomplete (set in the profiles)",
}


def job_bar(total: float) -> Progress:
    """A bar of jobs."""
    return Progress("run", total, "jobs")


class LogHandler(LogHandlerBase):
    """Turns Snakemake's log records into progress and error blocks on standard error."""

    made = False  # whether this process has one

    def __post_init__(self) -> None:
        """Start without a job, after a look at the configuration files that Snakemake is about to read."""
        LogHandler.made = True
        # On a full disk Snakemake's log file cannot take a line; Python would print a traceback for each.
        logging.raiseExceptions = False
        refuse_unreadable_configuration(sys.argv)
        self.usual = None if is_brief(self.common_settings, sys.argv) else usual_handler(self.common_settings)
        self.quiet = bool(self.common_settings.quiet)
        self.progress: Progress | None = None
        self.labels: dict[int, str] = {}
        self.failed: set[str] = set()
        self.running: dict[int, str] = {}
        self.ending = ""
        self.planned: dict[str, Planned] | None = {} if is_listed(self.common_settings, sys.argv) else None

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
        if event == LogEvent.ERROR and (line := plain_words(record)):
            self.print([f"error: {line}"])
            return
        if self.usual is not None:
            self.show(self.usual, record)
        if event == LogEvent.JOB_INFO:
            self.labels[int(getattr(record, "jobid", -1))] = title = label(record)
            self.running[int(getattr(record, "jobid", -1))] = title
            self.failed.discard(title)  # another attempt, which may fail for another reason
        elif event == LogEvent.JOB_FINISHED:
            self.running.pop(int(getattr(record, "job_id", -1)), None)
        elif event == LogEvent.JOB_ERROR:
            self.running.pop(int(getattr(record, "jobid", -1)), None)
            self.report(record)
        elif self.usual is None and event == LogEvent.PROGRESS and not self.quiet:
            self.advance(record)
        elif self.usual is None and event in (None, LogEvent.ERROR):
            self.message(record)

    def show(self, usual: logging.Handler, record: logging.LogRecord) -> None:
        """Hand ``record`` to Snakemake's own handler; of a dry run only what is not in the list by rule."""
        event, text = getattr(record, "event", None), record.getMessage()
        if self.planned is None:
            usual.handle(record)
        elif event == LogEvent.JOB_INFO:
            planned = self.planned.setdefault(str(getattr(record, "rule_name", "job")), Planned())
            planned.add(label(record), str(getattr(record, "reason", "")))
        elif text.startswith(DRY_RUN_ENDS):
            listed = copy.copy(record)  # Snakemake's log file gets the record itself
            listed.msg, listed.args = "\n".join(listing(self.planned)), None
            usual.handle(listed)
        elif event not in LEFT_OUT and not text.strip().startswith((*CHATTER, *ON_REASONS)):
            usual.handle(record)

    def advance(self, record: logging.LogRecord) -> None:
        """One more job is done."""
        done, total = float(getattr(record, "done", 0)), float(getattr(record, "total", 1))
        if self.progress is None:
            self.progress = job_bar(total)
        self.progress.total = total  # not known to a line that was printed before
        self.progress.advance(done - self.progress.done, note=newest(self.labels))

    def report(self, record: logging.LogRecord) -> None:
        """A job failed: which, the end of its log, and where the whole log lies; once per attempt."""
        logs = [Path(str(path)) for path in getattr(record, "log", None) or []]
        title = self.labels.get(int(getattr(record, "jobid", -1)), label(record))
        if title in self.failed:
            return
        self.failed.add(title)
        # What a cluster says about it: the executor of Slurm knows state, attempt and next request.
        said = list((getattr(record, "aux", None) or {}).get("reason") or [])
        # On a cluster the rule's own log comes first, and that of Slurm, which repeats it among much else, after it.
        tails = [tail(path) for path in (logs[:-1] if said else logs)]
        shown = next((lines for lines in tails if not lines[0].startswith("(")), tails[0] if tails else [])
        room = BLOCK_LINES - 1 - len(said) - len(logs)
        body = [*said, *shown[-room:], *(f"full log: {path}" for path in logs)]
        self.print([f"FAILED {title}", *(f"  {line}" for line in body)])

    def message(self, record: logging.LogRecord) -> None:
        """Print a warning or an error that belongs to no job, unless it only repeats that a job failed."""
        text = record.getMessage().strip()
        if again := RESTART.fullmatch(text):
            self.print([f"retrying: {self.labels.get(int(again[1]), text)}"])
            return
        if ending := next((said for start, said in ENDINGS.items() if text.startswith(start)), ""):
            self.end(ending)
            return
        repeats = text.startswith("RuleException") or "At least one job did not complete" in text
        # A program's exit code comes before the job's own record, which says more.
        is_early = text.startswith("RuleException:\nCalledProcessError")
        wanted = record.levelno >= logging.WARNING or text.startswith(NEWS)
        if wanted and text and not text.startswith(CHATTER) and not is_early and not (repeats and self.failed):
            self.print([text])

    def end(self, ending: str) -> None:
        """Say what the end of the run waits for, whenever it has changed."""
        titles = list(dict.fromkeys(self.running.values()))
        more = f" and {len(titles) - SHOWN} more" if len(titles) > SHOWN else ""
        line = f"{ending} {len(titles)} running jobs: {', '.join(titles[:SHOWN])}{more}"
        if titles and line != self.ending:
            self.ending = line
            self.print([line])

    def print(self, lines: list[str]) -> None:
        """Write lines below the bar."""
        if self.progress is None:
            self.progress = job_bar(1)
        start = "\n" if self.progress.is_terminal() else ""
        self.progress.stream.write(start + "\n".join(lines) + "\n")
        self.progress.stream.flush()


@dataclass
class Planned:
    """Jobs of one rule in a dry run: how many, the name of one, and why that one runs."""

    jobs: int = 0
    title: str = ""
    reason: str = ""

    def add(self, title: str, reason: str) -> None:
        """One more job, whose reason is kept if it is the first, or the first that is not a usual one."""
        self.jobs += 1
        if self.jobs == 1 or (self.reason.startswith(USUAL_REASONS) and not reason.startswith(USUAL_REASONS)):
            self.title, self.reason = title, reason


def listing(planned: Mapping[str, Planned]) -> list[str]:
    """A line per rule, in the order of a dry run: the number of jobs, one of them, and its reason."""
    width = max((len(each.title) for each in planned.values() if len(each.title) <= TITLE), default=0)
    lines = [f"{each.jobs:>7}  {each.title:{width}}  {cut(each.reason)}" for each in planned.values()]
    total = sum(each.jobs for each in planned.values())
    return [
        "   jobs  the first of each rule, and why it runs",
        *lines,
        f"{total:>7}  jobs in all, none of them run (-n); -p shows all of each job",
    ]


def cut(reason: str) -> str:
    """A reason on one line: the beginning of one that names files, and what changed in parameters or code.

    >>> cut("Missing output files: a.txt"), len(cut("Missing output files: " + "a" * 200)) == FILES_OF_A_REASON
    ('Missing output files: a.txt', True)
    """
    text = " ".join(reason.split())
    limit = FILES_OF_A_REASON if text.startswith(USUAL_REASONS) else REASON
    return text if len(text) <= limit else f"{text[: limit - 4]} ..."


def is_listed(settings: Any, words: Sequence[str]) -> bool:
    """True for a dry run whose user did not say how much to print."""
    asked = settings.quiet or settings.verbose or settings.debug_dag or settings.printshellcmds
    return bool(settings.dryrun) and is_snakemake(words) and not asked


def is_brief(settings: Any, words: Sequence[str]) -> bool:
    """True when the command line ``words`` runs jobs and its user did not ask to see more of them."""
    return runs_jobs(words) and not (settings.verbose or settings.debug_dag or settings.printshellcmds)


def usual_handler(settings: Any) -> logging.Handler:
    """Snakemake's own handler, as it makes it where no plugin prints to the terminal."""
    from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
    from snakemake.settings.enums import Quietness

    quiet = set(settings.quiet or ())
    if settings.dryrun and quiet == {Quietness.RULES, Quietness.PROGRESS}:
        # `-n --quiet` ends before jobs are listed, a third sooner; its table of jobs would be silenced as progress.
        quiet = {Quietness.RULES}
    shown = DefaultFilter(quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds)
    handler: logging.Handler = ColorizingTextHandler(
        nocolor=settings.nocolor,
        stream=sys.stdout if settings.stdout else sys.stderr,
        formatter=DefaultFormatter(quiet, settings.show_failed_logs),
    )
    handler.addFilter(shown)
    return handler


def refuse_unreadable_configuration(words: Sequence[str]) -> None:
    """End with one line and code 2 when a configuration file cannot be used, before Snakemake reads it.

    Snakemake names neither file nor line of a mistake in YAML, and expands aliases without a limit.
    """
    if not is_snakemake(words):
        return
    from snakemake.cli import get_argument_parser

    options, _ = get_argument_parser().parse_known_args(list(words[1:]))
    default = Path(options.directory or ".") / DEFAULT
    try:
        for path in [*([default] if default.exists() else []), *(options.configfile or [])]:
            load_yaml(Path(path))
    except PipelineError as error:
        raise SystemExit(cli.report(str(error))) from None


def plain_words(record: logging.LogRecord) -> str:
    """What an error of the whole run means here; empty where Snakemake says it well."""
    name = str(getattr(record, "exception", None))
    if name in LEFT_BEHIND:
        return LEFT_BEHIND[name]
    if found := OS_ERROR.search(record.getMessage()):
        file = found[2] or ".snakemake"
        error = OSError(int(found[1]), os.strerror(int(found[1])), file)
        return cli.one_line(f"{cli.refusal(error)}{homeless(file)}")
    return ""


def homeless(file: str) -> str:
    """What to do when ``file`` cannot be made because it should lie in a home that is not there."""
    home = os.environ.get("HOME", "")
    return f"; set HOME, which is {home}, to a folder you may write to" if home and file.startswith(home) else ""


def listen(snakemake_logger: logging.Logger, words: Sequence[str]) -> None:
    """Add a handler that reports failed jobs to a run whose user or environment does without this logger."""
    # Snakemake imports this file by the plugin's name, rules/common.smk as a part of the package.
    plugin = sys.modules.get("snakemake_logger_plugin_brief", sys.modules[__name__])
    if getattr(plugin.LogHandler, "made", False) or not runs_jobs(words):
        return
    from snakemake.settings.types import OutputSettings

    handler = LogHandler(OutputSettings(verbose=True), None)
    handler.usual = logging.NullHandler()
    snakemake_logger.addHandler(handler)


def label(record: logging.LogRecord) -> str:
    """Rule and wildcards of a job."""
    wildcards: object = getattr(record, "wildcards", None) or {}
    values = wildcards.items() if hasattr(wildcards, "items") else []
    return " ".join([str(getattr(record, "rule_name", "job")), *(f"{key}={value}" for key, value in values)])


def newest(labels: dict[int, str]) -> str:
    """Label of the job that was started last."""
    return next(reversed(labels.values()), "")


def tail(path: Path) -> list[str]:
    """Last lines of a log file, or a line that says why there are none."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        is_full = os.statvfs(path).f_bavail == 0
    except OSError as error:
        return [f"(no log: {error.strerror})"]
    empty = f"error: {path.parent}: {cli.REMEDIES[errno.ENOSPC]}" if is_full else "(the log is empty)"
    return text.rstrip().splitlines()[-BLOCK_LINES:] or [empty]
