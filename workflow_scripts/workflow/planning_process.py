"""What every rules file needs: patterns of wildcards, the interpreter of jobs, Python set up for planning."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path


def alternatives(names: Iterable[object]) -> str:
    """Regular expression that matches exactly these names, and nothing for no names.

    >>> alternatives(["a", "b"]), alternatives([])
    ('a|b', '(?!)')
    """
    return "|".join(re.escape(str(name)) for name in names) or "(?!)"


def collect_garbage_rarely() -> None:
    """Let Python look for cycles every 100,000 objects instead of every 700.

    Planning makes millions of objects that stay and hardly a cycle. This saves a tenth of the time and costs no memory.
    """
    gc.set_threshold(100_000, 20, 100)


def use_this_interpreter() -> None:
    """Make ``python`` in a rule the interpreter that runs Snakemake, in jobs on other nodes too."""
    folder = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", "")
    if path.split(os.pathsep)[0] != folder:
        os.environ["PATH"] = os.pathsep.join([folder, path])
