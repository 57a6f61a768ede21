"""Room on the disk: how much a fetch still needs, and whether it is there."""

from __future__ import annotations

import shutil
from pathlib import Path

from workflow_scripts.errors import StorageError
from workflow_scripts.progress import amount_text
from workflow_scripts.storage.lockfile import FileEntry


def missing_bytes(entry: FileEntry, *present_files: Path) -> int:
    """Bytes of an entry that are not in one of the files yet; 0 when the size is not known."""
    have = max((path.stat().st_size for path in present_files if path.is_file()), default=0)
    return max((entry.size or 0) - have, 0)


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write in ``folder``."""
    return shutil.disk_usage(folder).free


def require_room(folder: Path, needed: int, label: str) -> None:
    """Raise StorageError when ``folder`` has less than ``needed`` bytes."""
    free = free_bytes(folder)
    if free < needed:
        raise StorageError(
            f"{folder}: not enough space for {label}: needs {needed} bytes ({amount_text(needed, 'B')}), has {free} "
            f"({amount_text(free, 'B')}); free some space or choose another folder, nothing was fetched"
        )
