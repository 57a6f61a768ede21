"""Locks between processes, on one machine or over a network file system that passes flock on.

The lock of a file is ``.<name>.lock`` beside it and holds who has it, so that a waiting process can say for whom it
waits. The kernel frees the lock when its holder dies; the file goes when the holder is done. A file system may answer
yes to every flock; that is found out and told (``Holding.proved``), never assumed away.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.errors import StorageError
from workflow_scripts.storage.leftovers import lock_path

POLL_SECONDS = 0.1
# What file systems without locks answer.
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Holding:
    """A lock that is held; ``proved`` is False where the file system does not really lock."""

    path: Path
    proved: bool


@contextmanager
def exclusive(
    target: Path, patience: float | None = None, sleep: Callable[[float], object] = time.sleep
) -> Iterator[Holding]:
    """Hold the lock of ``target``; waits for another holder, at most ``patience`` seconds when given.

    Raises StorageError, with process and machine of the holder, when the patience ends. The folder is created.
    ``sleep`` is called between attempts and may raise to give up.
    """
    path = lock_path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, proved = acquire(path, patience, sleep)
    try:
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), 0)
        yield Holding(path, proved)
    finally:
        # Unlinked while it is held: a process with the old file open notices in is_current and opens the new one.
        path.unlink(missing_ok=True)
        os.close(handle)


def remove_abandoned(target: Path) -> None:
    """Delete the lock file of ``target`` where its holder was killed; a lock that is held stays."""
    path = lock_path(target)
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if try_lock(handle) and is_current(handle, path):
            path.unlink(missing_ok=True)
    finally:
        os.close(handle)


def acquire(path: Path, patience: float | None, sleep: Callable[[float], object]) -> tuple[int, bool]:
    """Open and lock ``path``; returns the handle and whether the lock is proved."""
    deadline = None if patience is None else time.monotonic() + patience
    told = False
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        state = try_lock(handle)
        if state is None:
            return handle, False
        if state and is_current(handle, path):
            return handle, excludes(path)
        os.close(handle)
        if state:
            continue
        if deadline is not None and time.monotonic() > deadline:
            raise StorageError(f"{path}: held by {holder(path)}; wait for it to finish or stop it, then rerun")
        if not told:
            log.info("waiting for %s, held by %s", path, holder(path))
            told = True
        sleep(POLL_SECONDS)


def try_lock(handle: int) -> bool | None:
    """True when locked, False when another holds it, None when the file system has no locks."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        raise
    return True


def is_current(handle: int, path: Path) -> bool:
    """True when ``path`` still is the file that was opened."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def excludes(path: Path) -> bool:
    """True when a second attempt on the held lock is refused, as it must be."""
    second = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return try_lock(second) is False
    finally:
        os.close(second)


def holder(path: Path) -> str:
    """Process and machine that hold the lock, as far as the file says."""
    try:
        content = json.loads(path.read_text("utf-8"))
        return f"process {int(content['pid'])} on {str(content['host'])[:80]}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
