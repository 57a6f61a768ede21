"""What the tests of download faults share: the content that is fetched, and the ways to fetch it."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.storage.fault_hub import FaultHub
from workflow_scripts.storage.fetching.fetch_files import fetch_all
from workflow_scripts.storage.http.retry import RetryPolicy
from workflow_scripts.storage.lockfile import FileEntry, write_lock
from workflow_scripts.storage.sources.catalog import open_source
from workflow_scripts.storage.sources.listing import known_files
from workflow_scripts.storage.sources.source import Repository

REPOSITORY = "org/model"
SIZE = 1_500_007
BIG = bytes(hashlib.shake_256(b"fault tests").digest(SIZE))
BIG_SHA256 = hashlib.sha256(BIG).hexdigest()
SMALL = b'{"hidden_size": 8}\n'
QUICK = RetryPolicy(attempts=3, first_wait=0.005, longest_wait=0.01)
TOKEN = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ012345"


def get(hub: FaultHub, folder: Path, stall: float = 5.0, policy: RetryPolicy = QUICK) -> list[FileEntry]:
    """Fetch the whole revision into ``folder``."""
    with open_source("hub", hub.endpoint, Repository("model", REPOSITORY, "step1"), policy, stall) as source:
        return fetch_all(source, known_files(source), folder, 2, policy)


def arguments(hub: FaultHub, folder: Path, *more: str) -> list[str]:
    """Arguments of the download program for the revision."""
    named = ["--source", "hub", "--location", hub.endpoint, "--kind", "model", "--repository", REPOSITORY]
    named += ["--revision", "step1", "--output-dir", str(folder), "--receipt", str(folder.parent / "receipt.json")]
    return [*named, *more]


def program(hub: FaultHub, folder: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    """The download program in a process of its own."""
    command = [sys.executable, "-m", "workflow_scripts.storage.download", *arguments(hub, folder, *more)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - it calls one function of C
    )


def heed_interrupts() -> None:
    """A job that a shell runs in the background is started with Control-C ignored; the program must not be."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def lock_of(folder: Path) -> Path:
    """A list of the revision's files that was known beforehand."""
    small = FileEntry("config.json", len(SMALL), hashlib.sha256(SMALL).hexdigest())
    write_lock(folder / "lock.tsv", [FileEntry("big.bin", SIZE, BIG_SHA256), small])
    return folder / "lock.tsv"


def names(folder: Path) -> set[str]:
    """Everything in ``folder``, hidden files too."""
    return {path.name for path in folder.iterdir()}


def rest(folder: Path) -> set[str]:
    """Everything but the small file, which may still be on its way when the large one is given up."""
    return names(folder) - {"config.json", "config.json.part"}


def wait_for_part(part: Path, size: int) -> None:
    """Wait until the unfinished file has ``size`` bytes."""
    deadline = time.monotonic() + 20.0
    while time.monotonic() < deadline:
        if part.is_file() and part.stat().st_size >= size:
            return
        time.sleep(0.01)
    pytest.fail(f"{part} did not grow")
