"""The names that work in progress has beside its target, and the removal of what a killed writer left under them.

    .<target>.<machine>-<process>-<n>.tmp    a file that becomes the target; who writes it stands in the name
    .<target>.<machine>-<process>-<n>.part   a fetch on a file system without locks
    .<target>.tmp                            a folder that several processes fill
    .<target>.lock                           who works on the target
    .<target>.part, .<target>.part.json      bytes so far, and how far a target of several sources is
    <target>.bad                             content with a wrong hash
    .git-lfs-objects                         a folder of what the program git-lfs has brought

They are not content: listings of a folder leave them out (:func:`content_names`), and the next writer
of the same target removes what no living process of this machine can still be writing. It must not touch what
another machine or a living process wrote.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import shutil
import socket
from collections.abc import Collection
from pathlib import Path

COUNTER = itertools.count()
# Short, because names may have 255 bytes and lists allow 230 of them to a target.
MACHINE = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:4]
OWNER = re.compile(r"\.([0-9a-f]{4})-([0-9]{1,8})-[0-9]+\.(tmp|part)\Z")
HIDDEN = re.compile(r"\..+\.(lock|tmp|part|part\.json)", re.DOTALL)
LFS_OBJECTS = ".git-lfs-objects"
BESIDE = (".bad",)


def temporary_name(target: Path, ending: str = "tmp") -> Path:
    """A name beside ``target`` that nobody else uses; what dead writers left of the same target is removed."""
    remove_leftovers(target)
    return target.with_name(f".{target.name}.{MACHINE}-{os.getpid()}-{next(COUNTER)}.{ending}")


def common_name(target: Path) -> Path:
    """Name beside ``target`` under which several processes fill a folder."""
    return target.with_name(f".{target.name}.tmp")


def lock_path(target: Path) -> Path:
    """Where the lock of ``target`` lies."""
    return target.with_name(f".{target.name}.lock")


def part_path(target: Path) -> Path:
    """Where the unfinished bytes of ``target`` are: under a hidden name, which no listing takes for a result."""
    return target.with_name(f".{target.name}.part")


def bad_path(target: Path) -> Path:
    """Where content with a wrong hash is kept for inspection."""
    return target.with_name(target.name + ".bad")


def assembly_path(target: Path) -> Path:
    """Where ``target`` is put together from several sources."""
    return target.with_name(f".{target.name}.part")


def journal_path(target: Path) -> Path:
    """Where work on ``target`` notes how far it is, for the process that resumes it."""
    return target.with_name(f".{target.name}.part.json")


def is_working_name(name: str) -> bool:
    """True for a hidden name that only work in progress has.

    >>> is_working_name(".a.bin.lock"), is_working_name(".a.bin.7f2a-41-0.tmp"), is_working_name("poetry.lock")
    (True, True, False)
    """
    return name == LFS_OBJECTS or HIDDEN.fullmatch(name) is not None


def content_names(names: Collection[str]) -> list[str]:
    """Those ``names`` of one folder that are content; ``X.bad`` is none where X is there too.

    >>> content_names([".a.lock", "a", "a.bad", ".b.part", "c.bad"])
    ['a', 'c.bad']
    """
    known = set(names)
    beside = {name + ending for name in known for ending in BESIDE}
    return [name for name in names if name not in beside and not is_working_name(name)]


def remove_leftovers(target: Path) -> None:
    """Delete temporary files and folders of ``target`` whose writer was a process of this machine and is gone."""
    prefix = f".{target.name}"
    if not target.parent.is_dir():
        return
    for entry in os.scandir(target.parent):
        if entry.name.startswith(prefix) and is_left_behind(entry.name[len(prefix) :]):
            remove(Path(entry.path))


def remove_dead(folder: Path) -> None:
    """Delete what processes of this machine that are gone left in ``folder``, of whatever target."""
    for entry in os.scandir(folder) if folder.is_dir() else ():
        found = OWNER.search(entry.name)
        if found is not None and entry.name.startswith(".") and is_left_behind(found[0]):
            remove(Path(entry.path))


def is_left_behind(ending: str) -> bool:
    """True for the ending of a temporary name whose process ran on this machine and is gone."""
    match = OWNER.match(ending)
    return match is not None and match[1] == MACHINE and not is_alive(int(match[2]))


def is_alive(process: int) -> bool:
    """True when a process of that number exists here, of any user."""
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
