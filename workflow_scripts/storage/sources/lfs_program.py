"""Runs the real git-lfs to bring objects, watches that it moves, and hands over what it brought.

``git lfs fetch`` is the half of ``git lfs pull`` that downloads. Its objects are kept beside the target folder, so that
they can be renamed instead of copied (no second copy of a corpus on the disk) and an interrupted run goes on. What it
brought becomes an unfinished file like any other, which the fetch hashes before it gets its name.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from workflow_scripts.errors import TransferError
from workflow_scripts.progress import Progress
from workflow_scripts.storage import locks
from workflow_scripts.storage.credentials import hide_secrets
from workflow_scripts.storage.http.retry import RetryableError
from workflow_scripts.storage.leftovers import LFS_OBJECTS, part_path
from workflow_scripts.storage.sources.git_objects import REMOTE, GitFile, GitObjects
from workflow_scripts.storage.sources.source import walk

BRANCH = "refs/heads/fetched"
POLL_SECONDS = 0.1
# Characters with a meaning in the include filter of git-lfs; such names are left to our own client.
FILTER_LETTERS = frozenset('*?[]{}!,\\" ')
# One command line has room for about 2 MB of arguments on Linux; 200 names of 230 bytes stay far below.
NAMES_PER_RUN = 200
log = logging.getLogger(__name__)


class LfsProgram:
    """The git-lfs of this machine."""

    @staticmethod
    def version() -> str | None:
        """What ``git lfs version`` says; ``None`` when it is not installed."""
        try:
            done = subprocess.run(["git", "lfs", "version"], capture_output=True, text=True, timeout=30, check=False)
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    def bring(self, git: GitObjects, files: Sequence[GitFile], folder: Path, parallel: int) -> None:
        """Download the objects of ``files`` and leave each as the unfinished file of its target in ``folder``.

        Raises TransferError when git-lfs fails more often than the policy allows. Files that it cannot be asked for
        by name are left out.
        """
        named = [file for file in files if not FILTER_LETTERS & set(file.path)]
        if not named:
            return
        storage = folder / LFS_OBJECTS
        with locks.exclusive(storage):
            git.run("update-ref", BRANCH, git.commit())
            for start in range(0, len(named), NAMES_PER_RUN):
                some = named[start : start + NAMES_PER_RUN]
                self.persist(git, some, storage, parallel)
                for file in some:
                    hand_over(storage, file, folder / file.path)
            shutil.rmtree(storage, ignore_errors=True)

    def persist(self, git: GitObjects, files: Sequence[GitFile], storage: Path, parallel: int) -> None:
        """Run git-lfs until it succeeds; failures count only while it brings nothing."""
        failures, furthest = 0, stored_bytes(storage)
        while True:
            try:
                self.fetch(git, files, storage, parallel)
                return
            except RetryableError as error:
                now = stored_bytes(storage)
                failures = 0 if now > furthest else failures + 1
                furthest = max(furthest, now)
                git.policy.wait(failures, error)

    def fetch(self, git: GitObjects, files: Sequence[GitFile], storage: Path, parallel: int) -> None:
        """One run of ``git lfs fetch`` for ``files``; raises RetryableError when it fails or stands still."""
        settings = {
            "lfs.storage": str(storage.resolve()),
            "lfs.concurrenttransfers": str(max(parallel, 1)),
            "lfs.activitytimeout": str(max(int(git.stall), 1)),
            # How often to try is decided here, by what arrives.
            "lfs.transfer.maxretries": "1",
            "lfs.fetchexclude": "",
        }
        # In the repository and not with -c, which the helper that reads a local remote would inherit.
        for name, value in settings.items():
            git.run("config", name, value)
        names = ",".join(f"/{file.path}" for file in files)
        command = ["git", "-C", str(git.folder), "lfs", "fetch", "--include", names, REMOTE, BRANCH]
        total = sum(file.real_size or 0 for file in files)
        with tempfile.TemporaryFile("w+b") as said, running(command, said.fileno(), git.environment()) as process:
            code = watch(process, storage, total, git)
            if code != 0:
                said.seek(0)
                lines = said.read().decode("utf-8", "replace").strip().splitlines()
                text = hide_secrets("; ".join(lines[-2:]) or "it said nothing")
                raise RetryableError(f"{git.label()}: git-lfs ended with {code}: {text[:300]}")


@contextlib.contextmanager
def running(command: Sequence[str], output: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Process in its own group, which is ended as a whole when the block ends."""
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, start_new_session=True
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def watch(process: subprocess.Popen[bytes], storage: Path, total: int, git: GitObjects) -> int:
    """Exit code of the process; raises RetryableError when the storage has not grown for too long.

    git-lfs gives up a silent connection by itself after ``git.stall`` seconds and tries again; three times that is
    how long this waits, for the case that it hangs.
    """
    seen, moved = 0, time.monotonic()
    with Progress(f"git-lfs {git.repository.name}", total, unit="B") as progress:
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
            now = stored_bytes(storage)
            if now != seen:
                progress.advance(now - seen)
                seen, moved = now, time.monotonic()
            if time.monotonic() - moved > 3 * git.stall:
                raise RetryableError(f"{git.label()}: git-lfs stood still for {3 * git.stall:.0f} s at {seen} bytes")
    return process.returncode


def stored_bytes(storage: Path) -> int:
    """Bytes that git-lfs has brought so far; files may come and go while they are counted."""
    try:
        return sum(size for _, size in walk(storage))
    except FileNotFoundError:
        return 0


def hand_over(storage: Path, file: GitFile, target: Path) -> None:
    """Make the object of ``file`` the unfinished file of ``target``; another process that is at it keeps its own."""
    oid = file.oid or ""
    stored = storage / "objects" / oid[:2] / oid[2:4] / oid
    if not stored.is_file():
        raise TransferError(f"git-lfs reported success and did not bring {file.path}; use --lfs-client builtin")
    with locks.exclusive(target):
        if not target.exists():
            stored.replace(part_path(target))
