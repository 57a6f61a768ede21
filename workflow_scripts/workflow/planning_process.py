"""What every rules file needs: patterns of wildcards, short lists of targets, Python set up for jobs and planning."""

from __future__ import annotations

import atexit
import gc
import os
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path


def alternatives(names: Iterable[object]) -> str:
    """Regular expression that matches exactly these names, and nothing for no names.

    >>> alternatives(["a", "b"]), alternatives([])
    ('a|b', '(?!)')
    """
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


def last_and_gone(jobs: Iterable[Sequence[str]]) -> list[str]:
    """What a target names so that ``jobs`` run where any of their files is gone.

    ``jobs`` are the outputs of each, all in one folder. Named are the last of each and, where that is there, the others
    that are not: without its last file a job runs anyway, and Snakemake takes long over every further name.
    """
    named: list[str] = []
    for files in jobs:
        last, folder = files[-1], Path(files[-1]).parent
        there = set(map(str, folder.iterdir())) if folder.is_dir() else set()
        named += [*(path for path in files if path not in there), last] if last in there else [last]
    return named


def collect_garbage_rarely() -> None:
    """Let Python look for cycles every 100,000 objects instead of every 700.

    Planning makes millions of objects that stay and hardly a cycle. This saves a tenth of the time and costs no memory.
    When Python ends they are left to the operating system: to take them apart costs 2.4 CPU-s for the suite.
    """
    gc.set_threshold(100_000, 20, 100)
    atexit.register(gc.freeze)


def use_this_interpreter() -> None:
    """Make ``python`` in a rule the interpreter that runs Snakemake, in jobs on other nodes too."""
    folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    if path.split(os.pathsep)[0] != folder:
        os.environ["PATH"] = os.pathsep.join([folder, path])
