"""A second name for a finished file, which takes no space: results of a hidden working folder get their final names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def link_file(source: Path, target: Path) -> None:
    """Make ``target`` another name of ``source``, in place of an older file; a copy where the disk has no hard links.

    The target appears whole or not at all. Only for files that nobody writes in place, for that would change both.
    """
    if target.exists() and target.samefile(source):
        return  # to rename one name of a file to another does nothing and would leave the temporary name
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        shutil.copyfile(source, temporary)
    temporary.replace(target)


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file that is still written to; the target appears whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    shutil.copyfile(source, temporary)
    temporary.replace(target)
