"""Folders that appear whole or not at all: filled under a temporary name, flushed, renamed.

Temporary names start with a dot and end with ``.tmp``. It must not leave two folders of one name behind.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_scripts.storage.atomic import sync_folder
from workflow_scripts.storage.leftovers import common_name


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Empty temporary folder beside ``target`` that replaces ``target`` when the block ends without an error."""
    temporary = common_name(target)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        for path in sorted(temporary.rglob("*")):
            if path.is_dir():
                sync_folder(path)
                continue
            path.chmod(0o666 & ~umask)  # some libraries write files that only their owner may read
            sync_file(path)
        sync_folder(temporary)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_folder(target.parent)


def sync_file(path: Path) -> None:
    """Flush the content of ``path`` to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
