"""Opens a source by its name, as configured; the one place that knows all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.storage.retry import RetryPolicy
from workflow_scripts.storage.sources import MirrorSource, Repository, Source


@contextmanager
def open_mirror(location: str, repository: Repository, policy: RetryPolicy, stall_seconds: float) -> Iterator[Source]:
    """Folder at ``location``; a folder neither stalls nor retries."""
    del policy, stall_seconds
    if not location:
        raise ConfigError("source mirror: --location must name the folder that holds datasets/ and models/")
    yield MirrorSource(Path(location), repository)


@contextmanager
def open_hub(location: str, repository: Repository, policy: RetryPolicy, stall_seconds: float) -> Iterator[Source]:
    """Hub at ``location``, else at HF_ENDPOINT, else the public one."""
    from workflow_scripts.storage.http_reader import HttpReader
    from workflow_scripts.storage.hub import DENIED, HubSource, checked_endpoint

    endpoint = checked_endpoint(location)
    with HttpReader(stall_seconds, DENIED) as reader:
        yield HubSource(endpoint, repository, policy, reader)


Opener = Callable[[str, Repository, RetryPolicy, float], AbstractContextManager[Source]]
SOURCES: dict[str, Opener] = {"mirror": open_mirror, "hub": open_hub}


def open_source(
    name: str,
    location: str,
    repository: Repository,
    policy: RetryPolicy | None = None,
    stall_seconds: float = 30.0,
) -> AbstractContextManager[Source]:
    """Source ``name`` (mirror, hub or git-lfs) at ``location``, closed at the end of the block.

    ``location`` is a folder, an endpoint or a git URL; ``stall_seconds`` is how long a server may be silent.
    """
    if name not in SOURCES:
        raise UnknownNameError("source", name, sorted(SOURCES))
    return SOURCES[name](location, repository, policy or RetryPolicy(), stall_seconds)
