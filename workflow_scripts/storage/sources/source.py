"""Where bytes come from. A source serves one repository at one revision.

Every source lists its files with what it knows of size and hash, opens a stream at an offset, and reads a range: so one
fetch and one batch reader work over a folder, the Hub and git LFS alike. A source never decides what is correct; the
list that was known beforehand does.

    mirror     a folder laid out <root>/{datasets,models}/<org>/<name>[/<revision>]/...
    hub        a Hugging Face Hub, or a mirror site that speaks its protocol (storage/hub.py)
    git-lfs    a git repository whose large files lie in git LFS (storage/git_lfs.py)
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from workflow_scripts.errors import ConfigError, MissingInputError, TransferError, UnknownNameError
from workflow_scripts.storage.digests import BLOCK
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.http.retry import RetryableError
from workflow_scripts.storage.leftovers import content_names, is_working_name
from workflow_scripts.storage.lockfile import FileEntry, checked_path

KINDS = ("dataset", "model")
# The list that a repository may carry of itself.
OWN_LOCK = "sha256.txt"
OWN_RECEIPT = "fetched.json"  # what checkpoints.fetch writes beside the files of a checkpoint
NOT_FOLLOWED = "it is not followed, because it may lead anywhere: copy the content there, or specify its real location"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class Repository:
    """What is asked for: ``kind`` dataset or model, ``name`` as ``org/name``, ``revision`` a branch, tag or commit.

    ``commit`` pins the revision: bytes are taken from that commit even when the branch has moved on. Raises ConfigError
    for anything that could be taken for a path or an option.

    >>> Repository("model", "EleutherAI/pythia-70m", "step1000").folder()
    'models/EleutherAI/pythia-70m'
    """

    kind: str
    name: str
    revision: str
    commit: str | None = None

    def __post_init__(self) -> None:
        """Check the three names."""
        if self.kind not in KINDS:
            raise UnknownNameError("kind of repository", self.kind, KINDS)
        parts = self.name.split("/")
        if len(parts) != 2 or not all(NAME.fullmatch(part) and ".." not in part for part in parts):
            raise ConfigError(f"repository {self.name!r}: expected org/name of letters, digits, '.', '_' and '-'")
        if not REVISION.fullmatch(self.revision) or ".." in self.revision or len(self.revision) > 200:
            raise ConfigError(
                f"revision {self.revision[:80]!r} of {self.name}: expected a branch, tag or commit like 'main' or "
                "'step1000'"
            )
        if self.commit is not None and not COMMIT.fullmatch(self.commit):
            raise ConfigError(f"commit {self.commit[:80]!r} of {self.name}: expected 40 or 64 hexadecimal digits")

    def folder(self) -> str:
        """Folder of the repository in a mirror, relative to the mirror's root."""
        return f"{self.kind}s/{self.name}"


@dataclass
class ByteStream:
    """Bytes of one file from ``start`` on, in pieces; ``total`` is the length of the whole file where it is told.

    ``url`` is where they come from after all redirects, empty for what is not read over HTTP.
    """

    start: int
    total: int | None
    chunks: Iterator[bytes]
    content_type: str = ""
    url: str = ""


def exactly(stream: ByteStream, length: int, label: str) -> bytes:
    """Exactly ``length`` bytes of ``stream``; raises RetryableError when it ends early."""
    content = bytearray()
    for block in stream.chunks:
        content += block
        # Not at the exact length: a connection is used again only when its answer was read to the end.
        if len(content) > length:
            break
    if len(content) < length:
        raise RetryableError(f"{label}: ended after {len(content)} of {length} bytes of the range")
    return bytes(content[:length])


class RangeReader(Protocol):
    """Whatever can read a part of a file."""

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes of ``path`` from byte ``offset`` on; raises TransferError otherwise."""
        ...


class Source(RangeReader, Protocol):
    """A place that serves one repository at one revision; paths are relative to the repository."""

    name: str
    location: str

    @property
    def repository(self) -> Repository:
        """What is served."""
        ...

    def commit(self) -> str | None:
        """What the revision stands for, as a hash that changes with the content; ``None`` when it is not known."""
        ...

    def files(self) -> list[FileEntry]:
        """All files, with size and hash where the source knows them."""
        ...

    def open(self, path: str, offset: int) -> AbstractContextManager[ByteStream]:
        """Stream of ``path`` that should start at ``offset`` and may start at 0; raises TransferError."""
        ...


class MirrorSource:
    """A folder laid out like the Hub; what the pocket suite publishes, and what a site downloads once for all."""

    name = "mirror"

    def __init__(self, root: Path, repository: Repository) -> None:
        """``root`` holds ``datasets/`` and ``models/``; raises MissingInputError or UnknownNameError."""
        self.location = str(root)
        self.repository = repository
        self.folder = revision_folder(root, repository)
        # Folders down to the revision may be links: that is how a mirror is laid out over several disks.
        self.places = (root.resolve(), self.folder.resolve())

    def commit(self) -> str | None:
        """sha256 of the repository's own list of files, which changes with any of them; ``None`` without a list."""
        own = self.folder / OWN_LOCK
        return sha256_file(own) if own.is_file() and self.holds(OWN_LOCK) else None

    def files(self) -> list[FileEntry]:
        """All files under the folder with their sizes; a folder knows no hashes, and links out of it are left out."""
        return [FileEntry(path, size, None) for path, size in walk(self.folder) if self.holds(path)]

    def holds(self, path: str) -> bool:
        """True when ``path`` leads, over links or not, to a place within the mirror."""
        return any((self.folder / path).resolve().is_relative_to(place) for place in self.places)

    @contextmanager
    def open(self, path: str, offset: int) -> Iterator[ByteStream]:
        """Stream of the file from ``offset`` on."""
        with self.open_file(path) as file:
            total = os.fstat(file.fileno()).st_size
            file.seek(offset)
            yield ByteStream(offset, total, blocks(file))

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset`` on."""
        with self.open_file(path) as file:
            file.seek(offset)
            content = file.read(length)
        if len(content) != length:
            raise TransferError(
                f"{self.folder / path}: ends before byte {offset + length}; the requested range starts at {offset}"
            )
        return content

    def open_file(self, path: str) -> BinaryIO:
        """Open a file of the mirror for reading; raises TransferError when it cannot be opened or leads elsewhere."""
        file = self.folder / checked_path(path, "mirror")
        if not self.holds(path):
            raise TransferError(f"{file}: is a link that leaves the mirror; {NOT_FOLLOWED}")
        if file.exists() and not file.is_file():
            raise TransferError(f"{file}: is not a regular file; the mirror does not contain it")
        try:
            return file.open("rb")
        except OSError as error:
            raise TransferError(f"{file}: {error.strerror}; the mirror does not contain it") from error


def revision_folder(root: Path, repository: Repository) -> Path:
    """Folder of a revision in a mirror; data sets, and models without branches, may do without one for ``main``."""
    top = root / repository.folder()
    if not top.is_dir():
        raise MissingInputError(f"{top}: no such repository in the mirror; expected {root}/{repository.folder()}/")
    if (top / repository.revision).is_dir() and (repository.kind == "model" or repository.revision != "main"):
        return top / repository.revision
    if (top / repository.revision / OWN_LOCK).is_file():
        return top / repository.revision
    entries = [top / name for name in sorted(content_names([path.name for path in top.iterdir()]))]
    if repository.revision == "main" and (repository.kind == "dataset" or any(path.is_file() for path in entries)):
        return top
    known = [path.name for path in entries if path.is_dir()]
    raise UnknownNameError("revision", repository.revision, known, str(top))


def walk(folder: Path) -> list[tuple[str, int]]:
    """Path relative to ``folder`` and size of every file of content under it, sorted.

    What work in progress has beside its targets is no content, nor is what is no file, such as a pipe or a link to
    nothing. Folders that are links are not entered.
    """
    found = []
    for current, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not is_working_name(name)]
        for name in content_names(names):
            file = Path(current) / name
            if file.is_file():
                found.append((file.relative_to(folder).as_posix(), file.stat().st_size))
    return sorted(found)


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """Rest of ``file`` in blocks."""
    try:
        while block := file.read(BLOCK):
            yield block
    except OSError as error:
        raise RetryableError(f"{file.name}: {error.strerror}") from error
