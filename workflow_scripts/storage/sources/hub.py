"""The Hugging Face Hub, or a mirror site that speaks its protocol, as a source.

huggingface_hub answers what there is: commit, sizes, hashes, addresses, token. The bytes are read by our own reader, so
that they resume and are hashed on the way. Everything is asked for at a commit, never at a branch that may move between
two files. The token goes to the endpoint alone, over https or to this machine.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import httpx2
from huggingface_hub import HfApi, constants, get_token, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import DatasetInfo, ModelInfo

from workflow_scripts.errors import ConfigError, TransferError, UnknownNameError
from workflow_scripts.storage.credentials import public_url
from workflow_scripts.storage.http import pauses
from workflow_scripts.storage.http.bounded import bound_hub_client
from workflow_scripts.storage.http.http_reader import PASSING, TOO_MANY, Address, HttpReader, failure_text, retry_after
from workflow_scripts.storage.http.retry import RetryableError, RetryPolicy, retrying
from workflow_scripts.storage.lockfile import FileEntry, checked_path
from workflow_scripts.storage.sources.source import COMMIT, ByteStream, Repository

DEFAULT_ENDPOINT = "https://huggingface.co"
DENIED = "set HF_TOKEN or run `hf auth login`, and accept the terms on the repository's page where it has any"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
Answer = TypeVar("Answer")


def checked_endpoint(location: str) -> str:
    """Endpoint to talk to: ``location``, else HF_ENDPOINT, else the public Hub; raises ConfigError."""
    endpoint = (location or os.environ.get("HF_ENDPOINT", "") or DEFAULT_ENDPOINT).rstrip("/")
    try:
        parts = urlsplit(endpoint)
    except ValueError as error:
        raise ConfigError(f"endpoint: {error}; expected an address like {DEFAULT_ENDPOINT}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"endpoint '{public_url(endpoint)}': expected an address like {DEFAULT_ENDPOINT}")
    if "@" in parts.netloc:
        raise ConfigError(f"endpoint '{public_url(endpoint)}': user and password do not belong there; {DENIED}")
    return public_url(endpoint)


def may_have_token(endpoint: str) -> bool:
    """True when a token sent to ``endpoint`` cannot be read on the way."""
    parts = urlsplit(endpoint)
    return parts.scheme == "https" or parts.hostname in LOOPBACK


class HubSource:
    """One repository of a Hub at one commit."""

    name = "hub"

    def __init__(self, endpoint: str, repository: Repository, policy: RetryPolicy, reader: HttpReader) -> None:
        """``endpoint`` as from checked_endpoint; nothing is asked for before it is needed."""
        self.location = endpoint
        self.repository = repository
        self.policy = policy
        self.reader = reader
        self.trusted = may_have_token(endpoint)
        self.api = HfApi(endpoint=endpoint, token=None if self.trusted else False)
        self.guard = threading.RLock()
        self.known: ModelInfo | DatasetInfo | None = None
        self.direct: dict[str, Address] = {}

    def commit(self) -> str:
        """Commit that the revision stands for; asked for once, and not at all when the revision is one."""
        if self.repository.commit is not None:
            return self.repository.commit
        if COMMIT.fullmatch(self.repository.revision):
            return self.repository.revision
        sha = self.info().sha
        if sha is None or not COMMIT.fullmatch(sha):
            raise TransferError(f"{self.label()}: the Hub does not say which commit this is")
        return sha

    def files(self) -> list[FileEntry]:
        """All files with their sizes; large ones with their sha256, small ones with git's name of their content."""
        return sorted(
            FileEntry(
                checked_path(sibling.rfilename, self.label()),
                sibling.lfs.size if sibling.lfs else sibling.size,
                sibling.lfs.sha256 if sibling.lfs else None,
                None if sibling.lfs else sibling.blob_id,
            )
            for sibling in self.info().siblings or []
        )

    @contextmanager
    def open(self, path: str, offset: int) -> Iterator[ByteStream]:
        """Stream of ``path`` from ``offset`` on; each call asks for a fresh address, so none can expire for good."""
        with self.reader.stream(self.address(path), offset, f"{self.label()}: {path}") as stream:
            yield stream

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset`` on; raises TransferError."""
        return retrying(self.policy, lambda: self.read_once(path, offset, length)) if length else b""

    def read_once(self, path: str, offset: int, length: int) -> bytes:
        """One attempt to read a range; the address that worked is kept, so that the next range costs one request."""
        address = self.direct.pop(path, None) or self.address(path)
        content, self.direct[path] = self.reader.read_range(address, offset, length, f"{self.label()}: {path}")
        return content

    def prepare(self, entries: Sequence[FileEntry], folder: Path, parallel: int) -> None:
        """Nothing: the reader is the way."""

    def info(self) -> ModelInfo | DatasetInfo:
        """What the Hub says of the repository at the revision, asked for once."""
        with self.guard:
            if self.known is None:
                self.known = retrying(self.policy, lambda: self.translated(self.ask_info))
            return self.known

    def ask_info(self) -> ModelInfo | DatasetInfo:
        """Ask for commit and files in one request."""
        pauses.obey(urlsplit(self.location).hostname or "")
        bound_hub_client()
        ask = self.api.model_info if self.repository.kind == "model" else self.api.dataset_info
        revision = self.repository.commit or self.repository.revision
        seconds = self.reader.stall_seconds
        return ask(self.repository.name, revision=revision, files_metadata=True, timeout=seconds)

    def translated(self, ask: Callable[[], Answer]) -> Answer:
        """Answer of huggingface_hub, its failures as ours."""
        try:
            return ask()
        except OfflineModeIsEnabled as error:
            raise TransferError(f"{self.label()}: offline (HF_HUB_OFFLINE is set), the Hub is not asked") from error
        except RevisionNotFoundError as error:
            raise UnknownNameError("revision", self.repository.revision, self.revisions(), self.label()) from error
        except (GatedRepoError, RepositoryNotFoundError) as error:
            code = error.response.status_code
            raise TransferError(
                f"{self.label()}: answers {code}: no such repository, or access denied; {DENIED}"
            ) from error
        except HfHubHTTPError as error:
            raise self.http_failure(error) from error
        except httpx2.TransportError as error:
            raise RetryableError(f"{self.label()}: {failure_text(error)}; is the Hub down?") from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise RetryableError(
                f"{self.label()}: not an answer of a Hub; is there a login page on the way?"
            ) from error

    def http_failure(self, error: HfHubHTTPError) -> TransferError:
        """Ours for a bad status of the Hub."""
        code = error.response.status_code
        if code in PASSING:
            seconds = retry_after(error.response.headers)
            if code == TOO_MANY:
                pauses.note(error.response.url.host, seconds)
            return RetryableError(f"{self.label()}: the Hub answers {code}, it is down or busy", seconds)
        told = f"access denied; {DENIED}" if code in (401, 403) else "which it should not; is this a Hub?"
        return TransferError(f"{self.label()}: the Hub answers {code}, {told}")

    def revisions(self) -> list[str]:
        """Branches and tags of the repository, for the hint in a message; empty when the Hub does not tell."""
        bound_hub_client()
        try:
            refs = self.api.list_repo_refs(self.repository.name, repo_type=self.repository.kind)
        except (HfHubHTTPError, httpx2.TransportError, ValueError, KeyError, RecursionError):
            return []
        return [ref.name for ref in (*refs.branches, *refs.tags)]

    def address(self, path: str) -> Address:
        """Address of a file at the commit; raises TransferError in offline mode."""
        if constants.is_offline_mode():
            raise TransferError(f"{self.label()}: offline (HF_HUB_OFFLINE is set), {path} is not fetched")
        url = hf_hub_url(
            self.repository.name,
            checked_path(path, self.label()),
            repo_type=self.repository.kind,
            revision=self.commit(),
            endpoint=self.location,
        )
        return Address(url, self.secrets())

    def secrets(self) -> dict[str, str]:
        """Headers for the endpoint alone: the token from the environment or the token file, where there is one."""
        token = get_token() if self.trusted and not constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else None
        return {"Authorization": f"Bearer {token}"} if token else {}

    def label(self) -> str:
        """How messages name the repository."""
        return f"hub {self.repository.name} at {self.repository.revision}"
