"""All revisions of a model's repository: which there are, at which commit, and what files each holds.

    mirror     a folder per revision with its own list of files; the sha256 of the list serves as the commit
    hub        one request for all branches, one for each revision that is asked for
    git-lfs    one partial clone of all branches (git_revisions.py)

Only metadata and small files are read, and small files once for all revisions that share them. Requests are counted.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from workflow_scripts.checkpoints.checkpoint_files import is_checkpoint_file
from workflow_scripts.checkpoints.git_revisions import open_git
from workflow_scripts.checkpoints.ledger_file import MAIN, Revision, is_revision
from workflow_scripts.errors import IntegrityError, MissingInputError, UnknownNameError
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.http.http_reader import HttpReader
from workflow_scripts.storage.http.retry import RetryPolicy, retrying
from workflow_scripts.storage.lockfile import LARGEST_LIST, FileEntry
from workflow_scripts.storage.sources.hub import DENIED, HubSource, checked_endpoint
from workflow_scripts.storage.sources.listing import known_files, read_small
from workflow_scripts.storage.sources.source import OWN_LOCK, MirrorSource, Repository, Source
from workflow_scripts.suite.revision_names import DEFAULT


class Revisions(Protocol):
    """Everything that a ledger asks of a repository."""

    requests: int

    def branches(self) -> dict[str, str]:
        """Commit of main and of every revision that is called like the pattern."""
        ...

    def read(self, revision: str, commit: str) -> Revision:
        """Files of one revision at ``commit``; raises TransferError or IntegrityError."""
        ...


class MirrorRevisions:
    """A folder ``<root>/models/<org>/<name>`` with a folder per revision."""

    def __init__(self, root: Path, name: str, pattern: str) -> None:
        """``name`` is ``org/name``; raises MissingInputError when the mirror does not hold it."""
        self.root, self.name, self.pattern, self.requests = root, name, pattern, 0
        self.folder = root / Repository("model", name, MAIN).folder()
        if not self.folder.is_dir():
            raise MissingInputError(f"{self.folder}: no such repository in the mirror {root}")

    def branches(self) -> dict[str, str]:
        """sha256 of each revision's own list of files."""
        lists = [path / OWN_LOCK for path in sorted(self.folder.iterdir()) if is_revision(path.name, self.pattern)]
        return {path.parent.name: sha256_file(path) for path in lists if path.is_file()}

    def read(self, revision: str, commit: str) -> Revision:
        """Files as the revision's own list has them."""
        source = MirrorSource(self.root, Repository("model", self.name, revision))
        return Revision(commit, complete(known_files(source), source, {}))


class HubRevisions:
    """A repository of a Hub, asked by its API."""

    def __init__(self, endpoint: str, name: str, policy: RetryPolicy, reader: HttpReader, pattern: str) -> None:
        """``endpoint`` as from checked_endpoint; ``reader`` reads small files."""
        self.endpoint, self.name, self.policy, self.reader, self.pattern = endpoint, name, policy, reader, pattern
        self.requests = 0
        self.digests: dict[str, str] = {}

    def branches(self) -> dict[str, str]:
        """Commit of each branch, by one request."""
        source = self.source(MAIN, None)
        self.requests += 1
        found = retrying(self.policy, lambda: source.revisions("branches"))
        return {name: commit for name, commit in found.items() if is_revision(name, self.pattern)}

    def read(self, revision: str, commit: str) -> Revision:
        """Files of the revision at ``commit``, by one request and one for each small file not seen before."""
        source = self.source(revision, commit)
        self.requests += 1
        listed, known = source.files(), len(self.digests)
        files = complete(listed, source, self.digests)
        self.requests += len(self.digests) - known
        return Revision(commit, files)

    def source(self, revision: str, commit: str | None) -> HubSource:
        """Source of one revision."""
        return HubSource(self.endpoint, Repository("model", self.name, revision, commit), self.policy, self.reader)


def complete(listed: list[FileEntry], source: Source, digests: dict[str, str]) -> tuple[FileEntry, ...]:
    """Files of a checkpoint with size and sha256; ``digests`` remembers sha256 by git's name of the content."""
    wanted = [entry for entry in listed if is_checkpoint_file(entry.path)]
    return tuple(sorted(hashed(entry, source, digests) for entry in wanted))


def hashed(entry: FileEntry, source: Source, digests: dict[str, str]) -> FileEntry:
    """Entry with its sha256; a small file without one is read, unless the same content was read before."""
    if entry.sha256 is not None:
        return FileEntry(entry.path, entry.size, entry.sha256)
    if entry.git_blob is None or entry.size is None or entry.size > LARGEST_LIST:
        raise IntegrityError(
            f"{source.repository.name} {source.repository.revision}: the {source.name} reports no hash of "
            f"{entry.path}; a mirror needs a sha256.txt, a large file of a Hub must be in git LFS"
        )
    if entry.git_blob not in digests:
        digests[entry.git_blob] = hashlib.sha256(read_small(source, entry)).hexdigest()
    return replace(entry, sha256=digests[entry.git_blob], git_blob=None)


@contextmanager
def open_revisions(
    kind: str, location: str, name: str, policy: RetryPolicy, stall_seconds: float, *, pattern: str = DEFAULT
) -> Iterator[Revisions]:
    """Revisions of repository ``name`` (org/name) at a ``kind`` of source: mirror, hub or git-lfs.

    ``location`` is the mirror's folder, the endpoint of a Hub (empty for the public one), or a git address with
    ``{repository}`` where the name goes. ``pattern`` is how the revisions are called (suite/revision_names.py).
    """
    if kind == "mirror":
        yield MirrorRevisions(Path(location), name, pattern)
    elif kind == "hub":
        with HttpReader(stall_seconds, DENIED) as reader:
            yield HubRevisions(checked_endpoint(location), name, policy, reader, pattern)
    elif kind == "git-lfs":
        with open_git(location, name, policy, stall_seconds, pattern) as revisions:
            yield revisions
    else:
        raise UnknownNameError("source", kind, ["git-lfs", "hub", "mirror"])
