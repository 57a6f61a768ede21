"""A file that is not complete yet: ``.<name>.part``, its length and the running hash of what it holds.

What an earlier process left is read again before it is used, so that a tail damaged by a power cut shows up in the
hash instead of in the result. The part never has the final name, and is renamed only when its content is proved.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from types import TracebackType

from workflow_scripts.errors import StorageError
from workflow_scripts.progress import amount_text
from workflow_scripts.storage.atomic import sync_folder
from workflow_scripts.storage.digests import BLOCK, ContentHash
from workflow_scripts.storage.http.retry import RetryableError
from workflow_scripts.storage.lockfile import FileEntry

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Part:
    """The unfinished file of one entry; a context manager that holds it open."""

    def __init__(self, path: Path, entry: FileEntry, count: Callable[[int], None]) -> None:
        """``path`` is the unfinished file, ``entry`` what it shall become; ``count`` is told of bytes won and lost."""
        self.path = path
        self.entry = entry
        self.count = count
        # What a source promised may stand in for a size that is not known beforehand.
        self.size = entry.size
        self.length = 0
        self.digest = ContentHash.for_entry(entry)
        self.file: FileIO | None = None

    def __enter__(self) -> Part:
        """Open the file and read what it already holds."""
        self.file = self.open()
        self.file.seek(0)
        while block := self.file.read(BLOCK):
            self.digest.update(block)
            self.length += len(block)
        if self.size is not None and self.length > self.size:
            self.length = 0
            self.restart()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; what it holds is kept for the next attempt, and an empty file is removed."""
        if self.file is not None:
            self.file.close()
            self.file = None
        if self.length == 0:
            self.path.unlink(missing_ok=True)

    def open(self) -> FileIO:
        """Open the file; a link is not followed, for in a folder that others may write to it could lead anywhere."""
        try:
            return FileIO(self.path, "ab+", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW, 0o666))
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise StorageError(f"{self.path}: is a link, expected a partial file; remove it") from None

    def restart(self) -> None:
        """Forget all bytes, and a length that only the source told."""
        self.writer().truncate(0)
        self.digest = ContentHash.for_entry(self.entry)
        lost, self.length, self.size = self.length, 0, self.entry.size
        self.count(-lost)

    def append(self, block: bytes) -> None:
        """Add bytes; raises RetryableError when there are more than promised, StorageError on a full disk."""
        if self.size is not None and self.length + len(block) > self.size:
            self.restart()
            raise RetryableError(f"{self.entry.path}: the source sent more than the expected {self.size} bytes")
        try:
            self.write(block)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise StorageError(self.full_disk(error)) from error
        self.digest.update(block)
        self.length += len(block)
        self.count(len(block))

    def write(self, block: bytes) -> None:
        """Write all of ``block``; the file has no buffer, so that a full disk shows here and not at close."""
        rest = memoryview(block)
        while rest:
            rest = rest[self.writer().write(rest) :]

    def full_disk(self, error: OSError) -> str:
        """Message for a disk that filled up in the middle."""
        written = amount_text(self.length, "B")
        return f"{self.path}: {error.strerror} after {written}; free some space and rerun, the partial file is kept"

    def is_complete(self) -> bool:
        """True when as many bytes are there as were promised."""
        return self.size is not None and self.length == self.size

    def fits(self) -> bool:
        """True when length and hash are those that were promised."""
        return self.size in (None, self.length) and self.digest.fits(self.entry)

    def flush(self) -> None:
        """Make what was written durable."""
        os.fsync(self.writer().fileno())

    def publish(self, target: Path) -> FileEntry:
        """Give the proved content its final name; returns the entry with size and sha256 filled in."""
        self.flush()
        self.path.replace(target)
        sync_folder(target.parent)
        return FileEntry(self.entry.path, self.length, self.digest.sha256())

    def set_aside(self, bad: Path) -> None:
        """Keep the wrong content as ``bad`` and go on with an empty part."""
        self.path.replace(bad)
        self.writer().close()
        self.file = self.open()
        self.restart()

    def writer(self) -> FileIO:
        """Return the open file."""
        if self.file is None:
            raise RuntimeError("the part is used outside its with block")
        return self.file
