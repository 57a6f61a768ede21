"""What the tests of faults of whole programs share: a working directory, and ways to start things in it."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from workflow_scripts import cli

ROOT = Path(__file__).resolve().parents[2]
LINKED = ("config", "rules", "envs", "Snakefile", "workflow_scripts", "profiles")
SMALL = ("run=small", "models=[pocket-90k]", "steps=[0,1]", "shots=[0]", "tasks=[pocket_agreement]", "figures=[]")
SECONDS = 240.0  # for a program that takes one or two on an idle machine


@contextmanager
def file_system(folder: Path, options: str) -> Iterator[Path]:
    """A tmpfs of its own at ``folder`` with mount ``options``; skips the test where one cannot be mounted."""
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root and the program mount")
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def make_place(folder: Path) -> Path:
    """A working directory that sees the project by links and has results of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in LINKED:
        (folder / name).symlink_to(ROOT / name)
    return folder


def environment(**changes: str) -> dict[str, str]:
    """This process's environment with the project to import, one thread, and ``changes``."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "workflow_scripts" / "snakemake_plugins")])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **changes}


@contextmanager
def started(folder: Path, module: str, *arguments: str, **changes: str) -> Iterator[subprocess.Popen[str]]:
    """``python -m module`` in ``folder``, in a process group of its own; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environment(**changes),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for stream in (process.stdout, process.stderr):
            stream.close()


def run(
    folder: Path, module: str, *arguments: str, limits: Sequence[tuple[int, int]] = (), **changes: str
) -> subprocess.CompletedProcess[str]:
    """The same to its end; ``limits`` are resources of ``setrlimit`` with their values."""

    def limit() -> None:
        for name, value in limits:
            resource.setrlimit(name, (value, value))

    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environment(**changes),
        text=True,
        capture_output=True,
        check=False,
        timeout=SECONDS,
        preexec_fn=limit,
    )


def snakemake(folder: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Snakemake on one core in ``folder``."""
    return run(folder, "snakemake", "-c1", "--scheduler", "greedy", *arguments, **changes)


def error_line(main: Callable[[Sequence[str] | None], None], arguments: Sequence[str], said: Callable[[], str]) -> str:
    """The one error line of a program that must end with code 2; ``said`` gives what it wrote on standard error."""
    assert cli.run(main, arguments) == cli.USER_ERROR
    errors = [line for line in said().splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, errors
    return errors[0]
