"""A git repository whose large files lie in git LFS, as a source pinned to a commit.

What git stores (pointers and small files) is read from a bare repository. Large files come through the real git-lfs
where it is installed (``prepare``), otherwise, or for what it left, through our own client of the batch API. Either way
the fetch proves each file by the sha256 in its pointer; git-lfs is never believed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from workflow_scripts.errors import ConfigError, TransferError
from workflow_scripts.storage.http.http_reader import HttpReader
from workflow_scripts.storage.http.retry import RetryPolicy, retrying
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.storage.sources.git_objects import GitFile, GitObjects
from workflow_scripts.storage.sources.lfs_client import LfsFolder, LfsServer, open_store
from workflow_scripts.storage.sources.lfs_program import LfsProgram
from workflow_scripts.storage.sources.source import ByteStream, Repository

DENIED = "put the password into a git credential helper or the address, or set up ssh and the git-lfs program"
CLIENTS = ("auto", "git-lfs", "builtin")


class GitLfsSource:
    """One repository at one commit; ``program`` is the real git-lfs, or ``None`` to use our own client alone."""

    name = "git-lfs"

    def __init__(self, git: GitObjects, reader: HttpReader, program: LfsProgram | None) -> None:
        """``git`` answers what there is, ``reader`` reads what lies on an LFS server."""
        self.git = git
        self.reader = reader
        self.program = program
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
        return sorted(
            FileEntry(file.path, file.real_size, file.oid)
            if file.oid is not None
            else FileEntry(file.path, file.size, None, file.blob)
            for file in self.known().values()
        )

    def known(self) -> dict[str, GitFile]:
        """Files by path, listed once."""
        if self.listed is None:
            self.listed = {file.path: file for file in self.git.files()}
        return self.listed

    def file(self, path: str) -> GitFile:
        """One file of the commit; raises TransferError when there is none of that name."""
        if path not in self.known():
            raise TransferError(f"{self.git.label()}: no file '{path}' in commit {self.commit()[:12]}")
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

    def prepare(self, entries: Sequence[FileEntry], folder: Path, parallel: int) -> None:
        """Let the real git-lfs bring the large ones of ``entries`` as unfinished files of ``folder``."""
        if self.program is not None:
            large = [file for entry in entries if (file := self.known().get(entry.path)) and file.oid is not None]
            self.program.bring(self.git, large, folder, parallel)

    def label(self, path: str) -> str:
        """How messages name a file."""
        return f"{self.git.label()}: {path}"


def choose_program(client: str) -> LfsProgram | None:
    """Pick the real git-lfs for ``auto`` where it is installed and for ``git-lfs``; ``None`` for ``builtin``."""
    if client not in CLIENTS:
        raise ConfigError(f"LFS client '{client}' is not one of {', '.join(CLIENTS)}")
    version = LfsProgram.version() if client != "builtin" else None
    if client == "git-lfs" and version is None:
        raise ConfigError("the program git-lfs is not installed; install it, or use --lfs-client builtin")
    return LfsProgram() if version is not None else None
