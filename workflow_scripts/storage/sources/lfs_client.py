"""A small git LFS client: asks a server for the address of an object and reads it from there.

The server belongs to the git remote: by a rule over http, by a program on the other side over ssh, and as a folder for
a repository on this machine.

Speaks the batch API with the basic transfer
(https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md). An address may run out, so each stream asks for a new
one. User and password go to the LFS server alone; a storage host gets only what the server says it must get.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from workflow_scripts.errors import ConfigError, TransferError
from workflow_scripts.json_values import JsonValue
from workflow_scripts.storage.credentials import public_url
from workflow_scripts.storage.http.http_reader import EXPIRED, Address, HttpReader
from workflow_scripts.storage.http.retry import RetryableError
from workflow_scripts.storage.sources.git_objects import SSH_COMMAND
from workflow_scripts.storage.sources.source import ByteStream, blocks, exactly

MEDIA_TYPE = "application/vnd.git-lfs+json"
# user@host:path, or ssh://user@host:port/path; no host begins like an option.
SSH = re.compile(
    r"ssh://(?P<there>(?:[\w.-]+@)?\w[\w.-]*)(?::(?P<port>[0-9]+))?(?P<below>/.+)"
    r"|(?P<to>\w[\w.-]*@\w[\w.-]*):(?P<path>.+)",
    re.ASCII,
)
SSH_SECONDS = 60.0
# Object errors of the batch API that do not pass.
GONE = (404, 410, 422)


class LfsServer:
    """An LFS server reached over HTTP."""

    def __init__(self, url: str, secrets: Mapping[str, str], reader: HttpReader) -> None:
        """``url`` is the address of the LFS server; ``secrets`` are headers for it."""
        self.batch = Address(f"{url.rstrip('/')}/objects/batch", secrets)
        self.reader = reader

    @contextmanager
    def open(self, oid: str, size: int, offset: int, label: str) -> Iterator[ByteStream]:
        """Stream of one object from ``offset`` on, from an address that was asked for just now."""
        address = self.address(oid, size, label)
        with self.reader.stream(address, offset, label) as stream:
            yield stream

    def read_range(self, oid: str, size: int, offset: int, length: int, label: str) -> bytes:
        """Exactly ``length`` bytes of one object from ``offset`` on."""
        content, _ = self.reader.read_range(self.address(oid, size, label), offset, length, label)
        return content

    def address(self, oid: str, size: int, label: str) -> Address:
        """Ask where the object is; raises TransferError when the server does not have it."""
        question = {
            "operation": "download",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": oid, "size": size}],
        }
        headers = {"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE}
        return parse_answer(self.reader.ask(self.batch, label, headers, question), oid, label)


def lfs_url(git_url: str) -> str:
    """LFS server that belongs to a git remote, by the rule of git LFS.

    >>> lfs_url("https://host.example/org/name")
    'https://host.example/org/name.git/info/lfs'
    """
    url = git_url.rstrip("/")
    return f"{url}/info/lfs" if url.endswith(".git") else f"{url}.git/info/lfs"


def parse_answer(answer: JsonValue, oid: str, label: str) -> Address:
    """Address of the object ``oid`` in an answer of the batch API."""
    try:
        found = next(item for item in answer["objects"] if item["oid"] == oid)
        if "error" in found:
            code, text = int(found["error"]["code"]), str(found["error"].get("message", ""))
            kind = TransferError if code in GONE else RetryableError
            raise kind(f"{label}: the LFS server reports {code} {text[:100]} for object {oid}")
        action = found["actions"]["download"]
        url, headers = str(action["href"]), {str(k): str(v) for k, v in dict(action.get("header") or {}).items()}
        scheme = urlsplit(url).scheme
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise RetryableError(f"{label}: the LFS server's response has no download URL for object {oid}") from error
    if scheme not in ("http", "https"):
        raise TransferError(f"{label}: the LFS server refers to '{public_url(url)[:100]}', which is not http or https")
    return Address(url, headers, EXPIRED)


class LfsFolder:
    """LFS objects of a repository on this machine."""

    def __init__(self, git_url: str) -> None:
        """``git_url`` is a path or a file:// address of a bare or ordinary repository."""
        top = Path(unquote(urlsplit(git_url).path) if git_url.startswith("file://") else git_url)
        inner = top / ".git"
        self.objects = (inner if inner.is_dir() else top) / "lfs" / "objects"

    @contextmanager
    def open(self, oid: str, size: int, offset: int, label: str) -> Iterator[ByteStream]:
        """Stream of one object from ``offset`` on; ``size`` is what the pointer says, not what is there."""
        del size
        try:
            file = (self.objects / oid[:2] / oid[2:4] / oid).open("rb")
        except OSError as error:
            raise TransferError(f"{label}: {self.objects} lacks object {oid}: {error.strerror}") from error
        with file:
            total = file.seek(0, 2)
            file.seek(offset)
            yield ByteStream(offset, total, blocks(file))

    def read_range(self, oid: str, size: int, offset: int, length: int, label: str) -> bytes:
        """Exactly ``length`` bytes of one object from ``offset`` on."""
        with self.open(oid, size, offset, label) as stream:
            return exactly(stream, length, label)


def open_store(git_url: str, secret: str | None, reader: HttpReader) -> LfsServer | LfsFolder:
    """LFS objects that belong to a git remote; raises ConfigError for one that git alone can ask (git://)."""
    if git_url.startswith(("http://", "https://")):
        return LfsServer(lfs_url(git_url), {"Authorization": secret} if secret is not None else {}, reader)
    if git_url.startswith(("file://", "/")):
        return LfsFolder(git_url)
    if match := SSH.fullmatch(git_url):
        return LfsServer(*over_ssh(match, git_url), reader)
    raise ConfigError(f"git URL '{public_url(git_url)}': has no LFS server; use its https or ssh URL")


def over_ssh(remote: re.Match[str], git_url: str) -> tuple[str, dict[str, str]]:
    """Address of the LFS server of a remote over ssh and headers for it, as its ``git-lfs-authenticate`` says."""
    to, path = remote["there"] or remote["to"], remote["below"] or remote["path"]
    port = ["-p", remote["port"]] if remote["port"] else []
    command = [*shlex.split(os.environ.get("GIT_SSH_COMMAND", SSH_COMMAND)), *port, to]
    command.append(f"git-lfs-authenticate {shlex.quote(path)} download")
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SSH_SECONDS, check=False)
        said = json.loads(done.stdout)
        url, headers = str(said["href"]), {str(k): str(v) for k, v in dict(said.get("header") or {}).items()}
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RetryableError(
            f"{git_url}: the LFS server could not be determined over ssh ({type(error).__name__})"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RetryableError(
            f"{git_url}: git-lfs-authenticate over ssh returned no LFS server; try the https URL"
        ) from None
    if not url.startswith(("http://", "https://")):
        raise TransferError(f"{git_url}: the LFS server '{public_url(url)[:100]}' is not http or https")
    return url, headers
