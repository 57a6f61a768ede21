"""The one place that starts git.

A hook, an alias and ``git rebase --exec`` run their commands with variables that point at the repository in hand
(GIT_DIR, GIT_INDEX_FILE, GIT_CONFIG_COUNT and others). A git that inherited them would work on that repository,
whatever folder it was told, so they are removed from the environment of every git that is started here.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

# What `git rev-parse --local-env-vars` prints; a test compares it with the installed git.
REPOSITORY_VARIABLES = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_CONFIG_COUNT",
        "GIT_CONFIG_PARAMETERS",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
    }
)


def git_environment() -> dict[str, str]:
    """Environment of this process without the variables that bind git to a repository."""
    return {name: value for name, value in os.environ.items() if name not in REPOSITORY_VARIABLES}


def run_git(
    folder: Path,
    *arguments: str,
    given: Mapping[str, str] | None = None,
    question: bytes | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """Run ``git -C folder ARGUMENTS`` and return its exit code and output, whatever the code is.

    ``given`` are environment variables for this call, ``question`` its standard input and ``timeout`` its longest time
    in seconds; however the call ends, no process of it is left behind. Raises FileNotFoundError without git and
    subprocess.TimeoutExpired.
    """
    with subprocess.Popen(
        ["git", "-C", str(folder), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**git_environment(), **(given or {})},
        # A session of its own: nothing can ask at the terminal, and its helpers end with it.
        start_new_session=True,
    ) as process:
        try:
            said, complained = process.communicate(question or b"", timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, said, complained)
