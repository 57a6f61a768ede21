"""Files of a git repository as a host gives them out one by one, ``<location>/<org>/<name>/<commit>/<path>``.

GitHub does at raw.githubusercontent.com. One small file of a large repository costs one request and its own bytes,
where a git fetch takes every file of the commit. Such a host lists nothing: sizes and hashes must be known beforehand.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from workflow_scripts.errors import TransferError
from workflow_scripts.storage.http.http_reader import Address, HttpReader
from workflow_scripts.storage.lockfile import FileEntry, checked_path
from workflow_scripts.storage.sources.source import ByteStream, Repository

DENIED = "is the repository public, and the address right?"


class RawSource:
    """One repository at the commit that is its revision."""

    name = "raw"

    def __init__(self, endpoint: str, repository: Repository, reader: HttpReader) -> None:
        """``endpoint`` is the address before the organisation; nothing is asked for before it is needed."""
        self.location = endpoint
        self.repository = repository
        self.reader = reader

    def commit(self) -> str:
        """Commit that is served."""
        return self.repository.revision

    def files(self) -> list[FileEntry]:
        """Raise TransferError: there is no list."""
        raise TransferError(f"{self.label()}: {self.location} lists no files; name them with size and sha256")

    @contextmanager
    def open(self, path: str, offset: int) -> Iterator[ByteStream]:
        """Stream of ``path`` from ``offset`` on."""
        with self.reader.stream(self.address(path), offset, f"{self.label()}: {path}") as stream:
            yield stream

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset`` on; raises TransferError."""
        return (
            self.reader.read_range(self.address(path), offset, length, f"{self.label()}: {path}")[0] if length else b""
        )

    def address(self, path: str) -> Address:
        """Address of a file at the commit."""
        name = quote(checked_path(path, self.label()))
        return Address(f"{self.location}/{self.repository.name}/{self.repository.revision}/{name}")

    def label(self) -> str:
        """How messages name the repository."""
        return f"raw {self.repository.name} at {self.repository.revision[:12]}"
