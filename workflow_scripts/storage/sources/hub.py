"""The Hugging Face Hub, or a mirror site that speaks its protocol, as a source.

Two questions to its API say what there is: commit, sizes and hashes of a revision, and the names of all revisions. Of a
mirror site that lists names only, the tree of the revision or the files themselves are asked (hub_answers.py). All is
asked by our own reader, as the files are: answers are bounded in time and size, files resume and are hashed on the way.
huggingface_hub knows the token, the offline switch and the addresses of files. Everything is asked for at a
commit, never at a branch that may move between two files. The token goes to the endpoint alone, over https or to this
machine.
"""

from __future__ import annotations

import logging
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
from workflow_scripts.storage.credentials import is_private, public_url
from workflow_scripts.storage.http import pauses
from workflow_scripts.storage.http.http_reader import PASSING, TOO_MANY, Address, HttpReader, parse_json, retry_after
from workflow_scripts.storage.http.retry import (
    WITHOUT_NETWORK,
    NoConnectionError,
    NoNetworkError,
    PausedError,
    RetryableError,
    RetryPolicy,
    retrying,
)
from workflow_scripts.storage.lockfile import FileEntry, checked_path
from workflow_scripts.storage.sources.hub_answers import headed_file, listed_file, tree_file
from workflow_scripts.storage.sources.source import COMMIT, ByteStream, Repository

DEFAULT_ENDPOINT = "https://huggingface.co"
DENIED = "set HF_TOKEN or run `hf auth login`, and accept the terms on the repository's page if it has any"
OK, UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 200, 401, 403, 404
TOKEN_LETTERS = re.compile(r"[!-~]+")
# Header in which the Hub says what was wrong, and its words.
ERROR, NO_REVISION, NO_REPOSITORY = "X-Error-Code", "RevisionNotFound", ("RepoNotFound", "GatedRepo")
# Of a tree; the Hub puts a thousand files on each.
MOST_PAGES = 200
log = logging.getLogger(__name__)


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
        self.listed: list[FileEntry] | None = None
        self.gated = False
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
        with self.guard:
            if self.listed is None:
                listed = self.info()[1]
                self.listed = listed if all(entry.has_hash() for entry in listed) else self.detailed(listed)
            return self.listed

    def detailed(self, listed: list[FileEntry]) -> list[FileEntry]:
        """``listed`` with sizes and hashes from the tree of the commit, else from each file itself."""
        log.info("%s: the Hub lists files without hashes; asking for more", self.label())
        known = {entry.path: entry for entry in retrying(self.policy, self.ask_tree) if entry.has_hash()}
        return [
            known.get(entry.path, entry) if entry.has_hash() or entry.path in known else self.headed(entry)
            for entry in listed
        ]

    def ask_tree(self) -> list[FileEntry]:
        """All files of the commit's tree; none where the Hub has no trees."""
        found: list[FileEntry] = []
        question = f"tree/{self.commit()}?recursive=true"
        for _ in range(MOST_PAGES):
            response = self.response(question)
            if response.status_code != OK and response.status_code not in PASSING:
                return []
            try:
                items = [item for item in self.content(response) if item["type"] == "file"]
                found += [tree_file(item, self.label()) for item in items]
            except (TypeError, KeyError, ValueError) as error:
                raise self.not_a_hub() from error
            # Of the next page only the cursor counts: the address in the header may name another host.
            following = response.links.get("next", {}).get("url", "")
            if not following:
                return found
            question = f"tree/{self.commit()}?{urlsplit(following).query}"
        raise TransferError(f"{self.label()}: the Hub's list of files has more than {MOST_PAGES} pages")

    def headed(self, entry: FileEntry) -> FileEntry:
        """``entry`` with what a HEAD of the file says."""
        address, label = self.address(entry.path), f"{self.label()}: {entry.path}"
        response = retrying(self.policy, lambda: self.reader.head(address, label))
        told = headed_file(entry.path, response.headers, redirected=response.has_redirect_location)
        return told if response.is_success or response.has_redirect_location else entry

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
        """Ask for commit and files in one request; in three where the Hub does not find the revision by its name."""
        asked = self.repository.commit or self.repository.revision
        response = self.revision_answer(asked)
        # Some servers take no name with a slash in it, and call an unknown revision an unknown repository.
        if response.status_code in (UNAUTHORIZED, NOT_FOUND):
            names = self.known_revisions()
            if asked in names:
                response = self.revision_answer(names[asked])
            elif names or response.headers.get(ERROR) == NO_REVISION:
                raise UnknownNameError("revision", asked, names, self.label())
        answer = self.content(response)
        try:
            self.gated = bool(answer.get("gated"))
            commit, siblings = str(answer["sha"]), answer.get("siblings") or []
            files = [listed_file(item, self.label()) for item in siblings]
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise self.not_a_hub() from error
        if not COMMIT.fullmatch(commit):
            raise TransferError(f"{self.label()}: the Hub did not report the commit")
        return commit, sorted(files)

    def require_access(self) -> None:
        """Raise TransferError for a gated repository whose files this user may not read; its list is open to all."""
        self.info()
        denied = self.gated and (
            not self.secrets() or self.response("auth-check").status_code in (UNAUTHORIZED, FORBIDDEN)
        )
        if denied:
            raise TransferError(f"{self.label()}: a gated repository; {DENIED}")

    def revision_answer(self, revision: str) -> httpx2.Response:
        """What the API says of a branch, tag or commit."""
        return self.response(f"revision/{quote(revision, safe='')}?blobs=true")

    def revisions(self, *kinds: str) -> dict[str, str]:
        """Commit of each revision of the ``kinds`` (branches, tags, converts), by one request.

        Converted ones go by their whole name, such as refs/convert/parquet.
        """
        answer = self.content(self.response("refs"))
        try:
            return {
                str(ref["ref" if kind == "converts" else "name"]): str(ref["targetCommit"])
                for kind in kinds
                for ref in answer.get(kind) or []
            }
        except (TypeError, KeyError, AttributeError) as error:
            raise self.not_a_hub() from error

    def known_revisions(self) -> dict[str, str]:
        """Commit of each revision; empty when the Hub does not tell."""
        try:
            return self.revisions("branches", "tags", "converts")
        except TransferError:
            return {}

    def response(self, question: str) -> httpx2.Response:
        """What the API says to a question about the repository, whatever its status."""
        if constants.is_offline_mode():
            raise TransferError(
                f"{self.label()}: offline (HF_HUB_OFFLINE is set), the Hub is not contacted; {WITHOUT_NETWORK}"
            )
        url = f"{self.location}/api/{self.repository.kind}s/{self.repository.name}/{question}"
        try:
            return self.reader.answer(Address(url, self.secrets()), self.label(), {})
        except (PausedError, NoNetworkError):
            raise
        except NoConnectionError as error:
            raise NoConnectionError(f"{error}; the Hub may be down") from error
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
