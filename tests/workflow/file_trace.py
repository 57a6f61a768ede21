"""Which files the jobs of a traced run opened, from the output of strace.

A job is known by its log: the shell that runs its command opens it for writing, and every process below that shell
belongs to the job.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

CALLS = "openat,open,clone,clone3,fork,vfork"
# -y prints what a descriptor is: the folder of a relative path, and the resolved path of what was opened.
COMMAND = ("strace", "-f", "-y", "-qq", "--seccomp-bpf", "-s", "4096", "-e", f"trace={CALLS}")
LINE = re.compile(r"(\d+) +(.*)")
CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)(?:<(.*)>)?")
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
FLAGS = re.compile(r"O_(?:RDONLY|WRONLY|RDWR)[A-Z_|]*")


def reason_not_to_trace() -> str:
    """Why processes cannot be traced here; empty where they can."""
    if shutil.which("strace") is None:
        return "strace is not installed: the files that jobs open cannot be seen"
    tried = subprocess.run([*COMMAND, "-o", "/dev/null", "true"], capture_output=True, text=True, timeout=60)
    return f"strace may not trace processes here: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass
class Process:
    """A process or thread of the run, the one that made it, and the log that its shell opened."""

    parent: Process | None = None
    log: str | None = None
    unfinished: str = ""
    opened: list[tuple[str, str]] = field(default_factory=list)

    def job_log(self) -> str | None:
        """Log of the job that the process belongs to."""
        process: Process | None = self
        while process is not None and process.log is None:
            process = process.parent
        return process.log if process is not None else None


@dataclass
class JobFiles:
    """Paths below the folder of the run that a job opened, relative to it."""

    read: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)


class Trace:
    """The processes of a traced run; ``folder`` is where the run is, with symbolic links resolved."""

    def __init__(self, folder: Path) -> None:
        """Start without a process."""
        self.folder = f"{folder}/"
        self.running: dict[int, Process] = {}
        self.ended: dict[int, Process] = {}
        self.all: list[Process] = []

    def process(self, pid: int) -> Process:
        """The process that has this number now."""
        if pid not in self.running:
            self.running[pid] = Process()
            self.all.append(self.running[pid])
        return self.running[pid]

    def read_line(self, line: str) -> None:
        """Take one line of strace's output."""
        head = LINE.match(line)
        if head is None:
            return
        pid, text = int(head[1]), head[2]
        if text.startswith("+++"):
            self.ended[pid] = self.running.pop(pid, Process())
            return
        process = self.process(pid)
        resumed = RESUMED.match(text)
        if text.endswith("<unfinished ...>"):
            process.unfinished = text.removesuffix("<unfinished ...>")
            return
        if resumed:
            text, process.unfinished = process.unfinished + resumed[2], ""
        call = CALL.match(text)
        if call and int(call[3]) > 0:
            self.take_call(process, *call.groups())

    def take_call(self, process: Process, name: str, arguments: str, answer: str, path: str | None) -> None:
        """One call that succeeded: a file that was opened, or a process that was made."""
        if not name.startswith("open"):
            # A short-lived child may have ended before the call that made it returns.
            early = self.ended.get(int(answer))
            child = early if early is not None and int(answer) not in self.running else self.process(int(answer))
            child.parent = child.parent or process
            return
        flags = FLAGS.search(arguments)
        if path is None or flags is None or "O_DIRECTORY" in flags[0] or not path.startswith(self.folder):
            return
        relative = path.removeprefix(self.folder)
        if "O_WRONLY" in flags[0] and "O_TRUNC" in flags[0] and relative.startswith("results/logs/"):
            process.log = process.log or relative
        process.opened.append((relative, flags[0]))

    def jobs(self) -> dict[str, JobFiles]:
        """What each job opened, by its log; the workflow's own process is the job ``""``."""
        found: dict[str, JobFiles] = {}
        for process in self.all:
            job = found.setdefault(process.job_log() or "", JobFiles())
            for path, flags in process.opened:
                if "O_WRONLY" in flags or "O_CREAT" in flags:
                    job.written.add(path)
                if "O_WRONLY" not in flags:
                    job.read.add(path)
        return found


def files_of_jobs(lines: Iterable[str], folder: Path) -> dict[str, JobFiles]:
    """What each job of the run in ``folder`` opened, by the job's log."""
    trace = Trace(folder)
    for line in lines:
        trace.read_line(line.rstrip("\n"))
    return trace.jobs()
