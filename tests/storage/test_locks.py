"""Locks between processes: they exclude, name their holder, and go with it."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from workflow_scripts.errors import StorageError
from workflow_scripts.storage import locks

HOLD = """
import sys, time
from pathlib import Path
from workflow_scripts.storage import locks
with locks.exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder_process(target: Path) -> subprocess.Popen[str]:
    """A process that holds the lock of ``target`` for a minute."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(target)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    """Kill the process."""
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def test_impatient_waiter_is_told_who_holds_it(tmp_path: Path) -> None:
    process = holder_process(tmp_path / "x")
    try:
        with (
            pytest.raises(StorageError, match=f"held by process {process.pid} on "),
            locks.exclusive(tmp_path / "x", patience=0.2),
        ):
            pass
    finally:
        end(process)


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    end(holder_process(tmp_path / "x"))
    assert locks.lock_path(tmp_path / "x").exists()
    with locks.exclusive(tmp_path / "x", patience=0.0) as holding:
        assert holding.proved
    assert list(tmp_path.iterdir()) == []


def test_many_threads_never_hold_it_together(tmp_path: Path) -> None:
    inside, most, rounds = [0], [0], [0]
    guard = threading.Lock()

    def work() -> None:
        for _ in range(5):
            with locks.exclusive(tmp_path / "x", sleep=lambda seconds: time.sleep(0.001)):
                with guard:
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    rounds[0] += 1
                time.sleep(0.001)
                with guard:
                    inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], rounds[0]) == (1, 20)
    assert list(tmp_path.iterdir()) == []


def test_lock_on_a_file_that_is_gone_is_not_taken_for_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The holder removes the file between our opening and our locking it: the lock must be of a file that is there."""
    real, calls = locks.try_lock, [0]

    def late(handle: int) -> bool | None:
        calls[0] += 1
        if calls[0] == 1:
            locks.lock_path(tmp_path / "x").unlink()
        return real(handle)

    monkeypatch.setattr(locks, "try_lock", late)
    with locks.exclusive(tmp_path / "x") as holding:
        assert holding.path.exists()
        assert holding.proved


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_told(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(handle: int, operation: int) -> None:
        raise OSError(code, "no locks")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locks.exclusive(tmp_path / "x") as holding:
        assert not holding.proved


def test_file_system_that_always_says_yes_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda handle, operation: None)
    with locks.exclusive(tmp_path / "x") as holding:
        assert not holding.proved


def test_other_errors_are_not_swallowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(handle: int, operation: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="broken"), locks.exclusive(tmp_path / "x"):
        pass
