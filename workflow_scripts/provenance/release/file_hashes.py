"""sha256 of many files at once: a thread per processor, a file with several names read once."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.errors import DataError, StorageError
from workflow_scripts.provenance.release.manifest import SealedFile
from workflow_scripts.storage.hashing import sha256_file

Identity = tuple[int, int]  # device and inode


@dataclass(frozen=True)
class Folder:
    """A folder that holds a release; no file of the release may lie outside, however a link leads there."""

    path: Path

    def place(self, file: str) -> Path:
        """Where a file of the release lies; raises DataError when a symbolic link leads out of the folder."""
        place = self.path / file
        if not place.resolve().is_relative_to(self.path.resolve()):
            raise DataError(
                f"{place}: a symbolic link leads out of {self.path}; copy what it points to into the "
                "folder, or, where results/ itself is the link, give --root the folder above its target"
            )
        return place


def state(path: Path) -> os.stat_result | None:
    """What the file system says of a regular file; None for what is not there or is not one."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def hash_files(places: Iterable[tuple[str, Path]]) -> list[SealedFile]:
    """Each file under its name with size and sha256, in the order given; those that are not there are left out.

    Raises StorageError for a file that changes while it is read.
    """
    known = [(name, path, found) for name, path in places if (found := state(path)) is not None]
    once: dict[Identity, Path] = {}
    for _, path, found in known:
        once.setdefault((found.st_dev, found.st_ino), path)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        hashes = dict(zip(once, pool.map(sha256_file, once.values()), strict=True))
    for name, path, before in known:
        after = state(path)
        if after is None or (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise StorageError(f"{name}: changes while it is read; wait until nothing writes to it and rerun")
    return [SealedFile(name, found.st_size, hashes[found.st_dev, found.st_ino]) for name, _, found in known]


@contextmanager
def staged(places: Mapping[str, Path]) -> Iterator[Path]:
    """A temporary folder with links to files under their names in the release, for this process, which only reads."""
    with filled(places, lambda place, target: target.symlink_to(place.resolve())) as folder:
        yield folder


@contextmanager
def copied(places: Mapping[str, Path]) -> Iterator[Path]:
    """The same with copies, for other programs: what they write, through whatever name, is not in the release."""
    with filled(places, shutil.copyfile) as folder:
        yield folder


@contextmanager
def filled(places: Mapping[str, Path], put: Callable[[Path, Path], object]) -> Iterator[Path]:
    """A temporary folder into which each place is ``put`` under its name."""
    with tempfile.TemporaryDirectory() as made:
        for name, place in places.items():
            target = Path(made) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            put(place, target)
        yield Path(made)
