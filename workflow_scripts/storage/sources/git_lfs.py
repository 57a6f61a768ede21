"""A git repository whose large files lie in git LFS, as a source pinned to a commit.

What git stores (pointers and small files) is read from a bare repository. Large files come through our own client of
the LFS batch API, and the fetch proves each by the sha256 in its pointer. The program git-lfs is not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from workflow_scripts.errors import TransferError
from workflow_scripts.storage.http.http_reader import HttpReader
from workflow_scripts.storage.http.retry import RetryPolicy, retrying
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.storage.sources.git_objects import EXTENDED, PASSWORD, USER, GitFile, GitObjects
from workflow_scripts.storage.sources.lfs_client import LfsFolder, LfsServer, open_store
from workflow_scripts.storage.sources.source import ByteStream, Repository

DENIED = f"provide user and password through a git credential helper or the variables {USER} and {PASSWORD}"


class GitLfsSource:
    """One repository at one commit."""

    name = "git-lfs"

    def __init__(self, git: GitObjects, reader: HttpReader) -> None:
        """``git`` answers what there is, ``reader`` reads what lies on an LFS server."""
        self.git = git
        self.reader = reader
        self.location = git.url
        self.listed: dict[str, GitFile] | None = None

    @property
    def repository(self) -> Repository:
        """What is served."""
        return self.git.repository

    @property
    def policy(self) -> RetryPolicy:
        """When requests are tried again."""
        return self.git.policy

    def commit(self) -> str:
        """Commit that the revision stands for."""
        return self.git.commit()

    def files(self) -> list[FileEntry]:
        """All files; those in LFS with sha256 and size from their pointers, the others with git's name of them."""
        return sorted(entry_of(file) for file in self.known().values())

    def known(self) -> dict[str, GitFile]:
        """Files by path, listed once."""
        if self.listed is None:
            self.listed = {file.path: file for file in self.git.files()}
        return self.listed

    def file(self, path: str) -> GitFile:
        """One file of the commit; raises TransferError when there is none of that name, or none that can be had."""
        if path not in self.known():
            raise TransferError(f"{self.git.label()}: no file '{path}' in commit {self.commit()[:12]}")
        if self.known()[path].extended:
            raise TransferError(
                f"{self.label(path)} {EXTENDED}; fetch it with git-lfs, and the other files with --include"
            )
        return self.known()[path]

    @contextmanager
    def open(self, path: str, offset: int) -> Iterator[ByteStream]:
        """Stream of ``path`` from ``offset`` on."""
        file = self.file(path)
        if file.oid is None:
            yield ByteStream(offset, file.size, iter([self.git.content(file.blob)[offset:]]))
            return
        with self.store().open(file.oid, file.real_size or 0, offset, self.label(path)) as stream:
            yield stream

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset`` on; raises TransferError."""
        file = self.file(path)
        if offset + length > (file.size if file.real_size is None else file.real_size):
            raise TransferError(f"{self.label(path)}: ends before byte {offset + length}")
        oid, size = file.oid, file.real_size or 0
        if oid is None or length == 0:
            return self.git.content(file.blob)[offset : offset + length]
        store = self.store()
        return retrying(self.policy, lambda: store.read_range(oid, size, offset, length, self.label(path)))

    def store(self) -> LfsServer | LfsFolder:
        """Where the LFS objects are, for our own client."""
        return open_store(self.location, self.git.authorization(), self.reader)

    def label(self, path: str) -> str:
        """How messages name a file."""
        return f"{self.git.label()}: {path}"


def entry_of(file: GitFile) -> FileEntry:
    """What is known of ``file`` beforehand; nothing of one that git-lfs makes from its object by extensions."""
    if file.extended:
        return FileEntry(file.path, None, None)
    if file.oid is not None:
        return FileEntry(file.path, file.real_size, file.oid)
    return FileEntry(file.path, file.size, None, file.blob)
