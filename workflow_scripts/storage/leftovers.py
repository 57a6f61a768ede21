"""Temporary names beside a target, and the removal of what a killed writer left under such a name.

A name says on which machine and by which process it is written: ``.<target>.<machine>-<process>-<n>.tmp``. Whoever
writes the same target again removes what no living process of this machine can still be writing. It must never touch
what another machine or a living process wrote.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import socket
from pathlib import Path

COUNTER = itertools.count()
# Short, because names may have 255 bytes and lists allow 230 of them to a target.
MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]
OWNER = re.compile(r"\.([0-9a-f]{4})-([0-9]{1,8})-[0-9]+\.tmp")


def temporary_name(target: Path) -> Path:
    """A name beside ``target`` that nobody else uses; what dead writers left of the same target is removed."""
    remove_leftovers(target)
    return target.with_name(f".{target.name}.{MACHINE}-{os.getpid()}-{next(COUNTER)}.tmp")


def remove_leftovers(target: Path) -> None:
    """Delete temporary files and folders of ``target`` whose writer was a process of this machine and is gone."""
    prefix = f".{target.name}"
    if not target.parent.is_dir():
        return
    for entry in os.scandir(target.parent):
        if entry.name.startswith(prefix) and is_left_behind(entry.name[len(prefix) :]):
            remove(Path(entry.path))


def is_left_behind(ending: str) -> bool:
    """True for the ending of a temporary name whose process ran on this machine and is gone."""
    match = OWNER.fullmatch(ending)
    return match is not None and match[1] == MACHINE and not is_alive(int(match[2]))


def is_alive(process: int) -> bool:
    """True when a process of that number exists here, whoever owns it."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove(path: Path) -> None:
    """Delete a file or a folder; another process may be faster."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
