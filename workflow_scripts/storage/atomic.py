"""Outputs appear whole or not at all: write to a temporary name beside the target, fsync, rename.

A reader therefore never sees half a file, whatever kills the writer. Temporary names start with a dot and end with
``.tmp``; they are removed when the writer fails, and when the target is written again after the writer was killed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_scripts.storage.leftovers import temporary_name


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Temporary path beside ``target`` that becomes ``target`` when the block ends without an error.

    The folder is created. For libraries that want a file name to write to.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(target)
    with told_of(target, temporary):
        temporary.touch(0o600, exist_ok=False)
        try:
            yield temporary
            commit(temporary, target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextmanager
def told_of(target: Path, temporary: Path) -> Iterator[None]:
    """Let an OSError of the block name ``target``: a failed write names no file, a failed rename the temporary one."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(temporary)):
            error.filename = str(target)
        raise


def commit(temporary: Path, target: Path) -> None:
    """Flush ``temporary`` to the disk and give it its final name; the folder entry is flushed too."""
    with temporary.open("rb+") as file:
        os.fsync(file.fileno())
    umask = os.umask(0)
    os.umask(umask)
    temporary.chmod(0o666 & ~umask)
    temporary.replace(target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(target: Path, content: bytes) -> None:
    """Write ``content`` to ``target`` atomically."""
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)


def write_text(target: Path, text: str) -> None:
    """Write ``text`` as UTF-8 to ``target`` atomically."""
    write_bytes(target, text.encode("utf-8"))


def write_json(target: Path, value: object) -> None:
    """Write ``value`` as indented JSON with sorted keys, so that equal values give equal bytes; refuses NaN."""
    write_text(target, json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")
