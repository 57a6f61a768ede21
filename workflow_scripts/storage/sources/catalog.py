"""Opens a source by its name, as configured; the one place that knows all of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.storage.http.retry import RetryPolicy
from workflow_scripts.storage.sources.source import MirrorSource, Repository, Source


@dataclass(frozen=True)
class Access:
    """How to reach a source.

    ``location`` is a folder, an endpoint or a git address; ``stall_seconds`` how long a server may be silent.
    """

    location: str
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    stall_seconds: float = 30.0


@contextmanager
def open_mirror(repository: Repository, access: Access) -> Iterator[Source]:
    """Folder at ``access.location``; a folder neither stalls nor retries."""
    if not access.location:
        raise ConfigError("source mirror: --location must be the folder that contains datasets/ and models/")
    yield MirrorSource(Path(access.location), repository)


@contextmanager
def open_hub(repository: Repository, access: Access) -> Iterator[Source]:
    """Hub at ``access.location``, else at HF_ENDPOINT, else the public one."""
    from workflow_scripts.storage.http.http_reader import HttpReader
    from workflow_scripts.storage.sources.hub import DENIED, HubSource, checked_endpoint

    endpoint = checked_endpoint(access.location)
    with HttpReader(access.stall_seconds, DENIED) as reader:
        yield HubSource(endpoint, repository, access.policy, reader)


@contextmanager
def open_git_lfs(repository: Repository, access: Access) -> Iterator[Source]:
    """Git remote at ``access.location``; its pointers are read into a temporary folder."""
    from workflow_scripts.storage.http.http_reader import HttpReader
    from workflow_scripts.storage.sources.git_lfs import DENIED, GitLfsSource
    from workflow_scripts.storage.sources.git_objects import GitObjects

    if not access.location:
        raise ConfigError("source git-lfs: --location must be the URL of the git repository")
    with tempfile.TemporaryDirectory(prefix="pointers-") as folder, HttpReader(access.stall_seconds, DENIED) as reader:
        git = GitObjects(access.location, repository, Path(folder), access.policy, access.stall_seconds)
        yield GitLfsSource(git, reader)


Opener = Callable[[Repository, Access], AbstractContextManager[Source]]
SOURCES: dict[str, Opener] = {"mirror": open_mirror, "hub": open_hub, "git-lfs": open_git_lfs}


def open_source(
    name: str,
    location: str,
    repository: Repository,
    policy: RetryPolicy | None = None,
    stall_seconds: float = 30.0,
) -> AbstractContextManager[Source]:
    """Source ``name`` (mirror, hub or git-lfs), closed at the end of the block; arguments as in Access."""
    if name not in SOURCES:
        raise UnknownNameError("source", name, sorted(SOURCES))
    return SOURCES[name](repository, Access(location, policy or RetryPolicy(), stall_seconds))
