"""The Hugging Face Hub, or a mirror site that speaks its protocol, as a source.

Two questions to its API say what there is: commit, sizes and hashes of a revision, and the names of all revisions.
They are asked by our own reader, as the files are: answers are bounded in time and size, files resume and are hashed
on the way. huggingface_hub knows the token, the offline switch and the addresses of files. Everything is asked for at a
commit, never at a branch that may move between two files. The token goes to the endpoint alone, over https or to this
machine.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
from huggingface_hub import constants, get_token, hf_hub_url

from workflow_scripts.errors import ConfigError, TransferError, UnknownNameError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.storage.credentials import is_private, public_url
from workflow_scripts.storage.http import pauses
from workflow_scripts.storage.http.http_reader import PASSING, TOO_MANY, Address, HttpReader, parse_json, retry_after
from workflow_scripts.storage.http.retry import NoNetworkError, PausedError, RetryableError, RetryPolicy, retrying
from workflow_scripts.storage.lockfile import FileEntry, checked_path
from workflow_scripts.storage.sources.source import COMMIT, ByteStream, Repository

DEFAULT_ENDPOINT = "https://huggingface.co"
DENIED = "set HF_TOKEN or run `hf auth login`, and accept the terms on the repository's page if it has any"
OK, UNAUTHORIZED, FORBIDDEN = 200, 401, 403
TOKEN_LETTERS = re.compile(r"[!-~]+")
# Header in which the Hub says what was wrong, and its words.
ERROR, NO_REVISION, NO_REPOSITORY = "X-Error-Code", "RevisionNotFound", ("RepoNotFound", "GatedRepo")


def checked_endpoint(location: str) -> str:
    """Endpoint to talk to: ``location``, else HF_ENDPOINT, else the public Hub; raises ConfigError."""
    endpoint = (location or os.environ.get("HF_ENDPOINT", "") or DEFAULT_ENDPOINT).rstrip("/")
    try:
        parts = urlsplit(endpoint)
    except ValueError as error:
        raise ConfigError(f"endpoint: {error}; expected a URL like {DEFAULT_ENDPOINT}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"endpoint '{public_url(endpoint)}': expected a URL like {DEFAULT_ENDPOINT}")
    if "@" in parts.netloc:
        raise ConfigError(f"endpoint '{public_url(endpoint)}': must not contain user and password; {DENIED}")
    return public_url(endpoint)


class HubSource:
    """One repository of a Hub at one commit."""

    name = "hub"

    def __init__(self, endpoint: str, repository: Repository, policy: RetryPolicy, reader: HttpReader) -> None:
        """``endpoint`` as from checked_endpoint; nothing is asked for before it is needed."""
        self.location = endpoint
        self.repository = repository
        self.policy = policy
        self.reader = reader
        self.trusted = is_private(endpoint)
        self.guard = threading.RLock()
        self.known: tuple[str, list[FileEntry]] | None = None
        self.direct: dict[str, Address] = {}

    def commit(self) -> str:
        """Commit that the revision stands for; asked for once, and not at all when the revision is one."""
        if self.repository.commit is not None:
            return self.repository.commit
        if COMMIT.fullmatch(self.repository.revision):
            return self.repository.revision
        return self.info()[0]

    def files(self) -> list[FileEntry]:
        """All files with their sizes; large ones with their sha256, small ones with git's name of their content."""
        return self.info()[1]

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

    def info(self) -> tuple[str, list[FileEntry]]:
        """Commit and files of the revision, asked for once."""
        with self.guard:
            if self.known is None:
                self.known = retrying(self.policy, self.ask_info)
            return self.known

    def ask_info(self) -> tuple[str, list[FileEntry]]:
        """Ask for commit and files in one request."""
        revision = quote(self.repository.commit or self.repository.revision, safe="")
        response = self.response(f"revision/{revision}?blobs=true")
        if response.headers.get(ERROR) == NO_REVISION:
            raise UnknownNameError("revision", self.repository.revision, self.known_names(), self.label())
        answer = self.content(response)
        try:
            commit, files = str(answer["sha"]), [self.entry(item) for item in answer.get("siblings") or []]
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise self.not_a_hub() from error
        if not COMMIT.fullmatch(commit):
            raise TransferError(f"{self.label()}: the Hub did not report the commit")
        return commit, sorted(files)

    def entry(self, item: JsonMapping) -> FileEntry:
        """One file of an answer: of a large one the sha256, of a small one git's name of its content."""
        path, large = checked_path(str(item["rfilename"]), self.label()), item.get("lfs")
        if large:
            return FileEntry(path, int(large["size"]), str(large["sha256"]))
        size, blob = item.get("size"), item.get("blobId")
        return FileEntry(path, None if size is None else int(size), None, None if blob is None else str(blob))

    def revisions(self, *kinds: str) -> dict[str, str]:
        """Commit of each revision of the ``kinds`` (branches, tags), by one request."""
        answer = self.content(self.response("refs"))
        try:
            return {str(ref["name"]): str(ref["targetCommit"]) for kind in kinds for ref in answer[kind]}
        except (TypeError, KeyError) as error:
            raise self.not_a_hub() from error

    def known_names(self) -> list[str]:
        """Names of all revisions, for the hint in a message; empty when the Hub does not tell."""
        try:
            return list(self.revisions("branches", "tags"))
        except TransferError:
            return []

    def response(self, question: str) -> httpx2.Response:
        """What the API says to a question about the repository, whatever its status."""
        if constants.is_offline_mode():
            raise TransferError(f"{self.label()}: offline (HF_HUB_OFFLINE is set), the Hub is not contacted")
        url = f"{self.location}/api/{self.repository.kind}s/{self.repository.name}/{question}"
        try:
            return self.reader.answer(Address(url, self.secrets()), self.label(), {})
        except (PausedError, NoNetworkError):
            raise
        except RetryableError as error:
            raise RetryableError(f"{error}; the Hub may be down") from error

    def content(self, response: httpx2.Response) -> Any:
        """JSON in a good response; raises TransferError for any other."""
        if response.status_code != OK:
            raise self.failure(response)
        return parse_json(response, self.label())

    def failure(self, answer: httpx2.Response) -> TransferError:
        """Error for a bad status of the Hub."""
        code = answer.status_code
        if code in PASSING:
            seconds = retry_after(answer.headers)
            if code == TOO_MANY:
                pauses.note(answer.url.host, seconds)
            return RetryableError(f"{self.label()}: the Hub responded with {code}, it is down or busy", seconds)
        if code == UNAUTHORIZED or answer.headers.get(ERROR) in NO_REPOSITORY:
            return TransferError(
                f"{self.label()}: responded with {code}: no such repository, or access denied; {DENIED}"
            )
        told = f"access denied; {DENIED}" if code == FORBIDDEN else "which is unexpected; check that this is a Hub"
        return TransferError(f"{self.label()}: the Hub responded with {code}, {told}")

    def not_a_hub(self) -> RetryableError:
        """Error for an answer that is JSON and not what a Hub says."""
        return RetryableError(f"{self.label()}: not a response of a Hub; a proxy or captive portal may be in the way")

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
        if token and not TOKEN_LETTERS.fullmatch(token):
            raise ConfigError("HF_TOKEN, or the token file, contains invalid characters; set it again")
        return {"Authorization": f"Bearer {token}"} if token else {}

    def label(self) -> str:
        """How messages name the repository."""
        return f"hub {self.repository.name} at {self.repository.revision}"
