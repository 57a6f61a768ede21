"""Hashes of content that is known piece by piece: sha256 and, where asked, git's name of the content."""

from __future__ import annotations

import hashlib
from pathlib import Path

from workflow_scripts.storage.lockfile import FileEntry

BLOCK = 1 << 20


class ContentHash:
    r"""Running sha256 of what was seen, and git's SHA-1 of it when the size is known beforehand.

    >>> digest = ContentHash(git_size=6); digest.update(b"hello\n"); digest.git_blob()
    'ce013625030ba8dba906f756967f9e9ca394464a'
    """

    def __init__(self, git_size: int | None = None) -> None:
        """``git_size``: length of the whole content in bytes; git hashes it before the content."""
        self.sha = hashlib.sha256()
        self.git = None
        if git_size is not None:
            # SHA-1 because that is how git names content; nothing is trusted to it when a sha256 is known.
            self.git = hashlib.sha1(b"blob %d\0" % git_size, usedforsecurity=False)

    @classmethod
    def for_entry(cls, entry: FileEntry) -> ContentHash:
        """Hash that can be compared with ``entry``."""
        return cls(entry.size if entry.sha256 is None and entry.git_blob is not None else None)

    def update(self, block: bytes) -> None:
        """Add the next bytes."""
        self.sha.update(block)
        if self.git is not None:
            self.git.update(block)

    def sha256(self) -> str:
        """Hexadecimal sha256 of all bytes so far."""
        return self.sha.hexdigest()

    def git_blob(self) -> str:
        """Hexadecimal name that git gives the content; empty when it was not asked for."""
        return self.git.hexdigest() if self.git is not None else ""

    def fits(self, entry: FileEntry) -> bool:
        """True when the content is the one that ``entry`` promises; its sha256 counts when both hashes are known."""
        if entry.sha256 is not None:
            return self.sha256() == entry.sha256
        return entry.git_blob is not None and self.git_blob() == entry.git_blob


def hash_file(path: Path, entry: FileEntry) -> tuple[int, ContentHash]:
    """Length in bytes and hash of the file at ``path``, read in blocks."""
    digest, length = ContentHash.for_entry(entry), 0
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
            length += len(block)
    return length, digest
