"""Reads a remote git repository at one commit: which files it has, and the content of the small ones.

A bare repository in a temporary folder takes in one commit without history. Nothing is checked out, so no filter, hook
or link of the remote ever acts on this machine; files in git LFS appear as the pointers that git stores. Started with
argument lists, never through a shell, and it never asks for a password.

User and password come from git's own credential helper, from ``.netrc``, or from the variables PYTHIA_GIT_USER and
PYTHIA_GIT_PASSWORD. Git learns of the two variables by a helper that is bound to the remote's scheme, host and port, so
that a redirect to another host finds none; a header would have gone there too.
"""

from __future__ import annotations

import base64
import logging
import os
import re
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from workflow_scripts.errors import ConfigError, MissingInputError, TransferError, UnknownNameError
from workflow_scripts.git_process import run_git
from workflow_scripts.storage.credentials import hide_secrets, is_private, public_url, refuse_secrets
from workflow_scripts.storage.http.retry import (
    WITHOUT_NETWORK,
    NoNetworkError,
    RetryableError,
    RetryPolicy,
    retrying,
)
from workflow_scripts.storage.lfs_pointer import LARGEST_POINTER, parse_pointer
from workflow_scripts.storage.lockfile import checked_path
from workflow_scripts.storage.sources.source import COMMIT, Repository

URL = re.compile(r"(?:https?|ssh|git|file)://[^\s]+|[A-Za-z0-9._-]+@[A-Za-z0-9.-]+:[^\s-][^\s]*")
REMOTE = "origin"
SSH_COMMAND = "ssh -oBatchMode=yes"
log = logging.getLogger(__name__)
# Longest time for the commit and the pointers, which are small whatever the repository holds.
GIT_SECONDS = 1800.0
EXTENDED = "is a git LFS pointer with extensions, which only git-lfs with the same extensions can resolve"
USER, PASSWORD = "PYTHIA_GIT_USER", "PYTHIA_GIT_PASSWORD"
# Run by git's shell, which reads the variables itself: nothing of a user's goes into a command line.
HELPER = f"""!f() {{ test "$1" = get && printf 'username=%s\\npassword=%s\\n' "${USER}" "${PASSWORD}"; }}; f"""
NO_NETWORK = ("could not resolve host", "network is unreachable", "no route to host")
FOR_GOOD = ("not found", "does not exist", "does not appear to be", "authentication failed", "could not read username")


@dataclass(frozen=True)
class GitFile:
    """A file of the commit: ``blob`` is git's name of what git stores, ``size`` its length in bytes.

    For a file in git LFS ``oid`` is the sha256 of its object and ``real_size`` its length; where the pointer is
    ``extended``, the object is not the file itself.
    """

    path: str
    blob: str
    size: int
    oid: str | None = None
    real_size: int | None = None
    extended: bool = False


def checked_url(location: str) -> str:
    """Address of the remote without a user; raises ConfigError for a password, or what git could take for a command."""
    refuse_secrets([location])
    if location and Path(location).is_dir():
        return str(Path(location).resolve())
    if not URL.fullmatch(location):
        raise ConfigError(
            f"git URL '{hide_secrets(location[:200])}': expected https://, ssh://, git://, file://, user@host:path "
            "or the path of a repository"
        )
    if not location.startswith(("http://", "https://")):
        return location
    return public_url(location)


def user_of(location: str) -> str:
    """User that an http address names; empty when it names none.

    >>> user_of("https://me@host.example/org/name.git")
    'me'
    """
    named = location.startswith(("http://", "https://"))
    return unquote(urlsplit(location).username or "") if named else ""


def from_variables(location: str) -> tuple[str, str] | None:
    """User and password in the environment, for an address that nobody on the way can listen to."""
    user, password = os.environ.get(USER) or user_of(location), os.environ.get(PASSWORD)
    if not password or not location.startswith(("http://", "https://")):
        return None
    if not is_private(location):
        log.warning("%s: %s is not sent over http, where others could read it", public_url(location), PASSWORD)
        return None
    if not (user.isprintable() and password.isprintable()):
        raise ConfigError(f"{USER} and {PASSWORD} must not contain line breaks or other control characters")
    return user or "git", password


def basic(user: str, password: str) -> str:
    """Value of an Authorization header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class GitObjects:
    """One commit of a remote, in a bare repository under ``folder``."""

    def __init__(self, location: str, repository: Repository, folder: Path, policy: RetryPolicy, stall: float) -> None:
        """``location`` is the address of the remote; ``stall`` the longest silence in seconds."""
        self.url = checked_url(location)
        self.user = user_of(location)
        self.given = from_variables(location)
        self.secret = basic(*self.given) if self.given is not None else None
        self.repository = repository
        self.folder = folder
        self.policy = policy
        self.stall = stall
        self.fetched: str | None = None
        self.helper_asked = False
        self.asking = threading.Lock()

    def commit(self) -> str:
        """Commit that the revision stands for; fetched on the first call."""
        if self.fetched is None:
            self.run("init", "--bare", "--quiet")
            self.run("config", f"remote.{REMOTE}.url", self.url)
            self.fetched = retrying(self.policy, self.fetch)
        return self.fetched

    def fetch(self) -> str:
        """Take in the commit, without history where the remote allows it."""
        wanted = self.repository.commit or self.repository.revision
        try:
            self.run("fetch", "--quiet", "--depth=1", "--no-tags", REMOTE, wanted)
            tip = "FETCH_HEAD"
        except RetryableError as error:
            if not COMMIT.fullmatch(wanted) or "unadvertised object" not in str(error):
                raise
            # Some servers give out branches only; then the commit must be in the history of one.
            self.run("fetch", "--quiet", "--no-tags", REMOTE, f"+refs/heads/*:refs/remotes/{REMOTE}/*")
            tip = wanted
        return self.run("rev-parse", "--verify", f"{tip}^{{commit}}").decode().strip()

    def run(self, *arguments: str, question: bytes | None = None) -> bytes:
        """Standard output of one git command; raises TransferError, or RetryableError when it may work later."""
        try:
            done = run_git(self.folder, *arguments, given=self.environment(), question=question, timeout=GIT_SECONDS)
        except FileNotFoundError as error:
            raise MissingInputError("source git-lfs: git is not installed; install it or use source hub") from error
        except subprocess.TimeoutExpired as error:
            # Not tried again: an answer that trickles in would otherwise take hours.
            raise TransferError(f"{self.label()}: git took more than {GIT_SECONDS:.0f} s; try again later") from error
        if done.returncode != 0:
            raise self.failure(arguments[0], done.stderr.decode("utf-8", "replace"))
        return done.stdout

    def authorization(self) -> str | None:
        """Authorization header for the remote: from the variables, else from a credential helper, else ``None``."""
        with self.asking:  # files are fetched in parallel; all of them wait for the one question
            if self.secret is None and not self.helper_asked and self.url.startswith(("http://", "https://")):
                self.helper_asked = True
                self.secret = self.ask_helper()
        return self.secret

    def ask_helper(self) -> str | None:
        """What git's credential helper knows of the remote; nobody is asked to type anything."""
        parts = urlsplit(self.url)
        question = f"protocol={parts.scheme}\nhost={parts.netloc}\npath={parts.path.lstrip('/')}\n"
        question += f"username={self.user}\n\n" if self.user else "\n"
        try:
            answer = self.run("credential", "fill", question=question.encode()).decode("utf-8", "replace")
        except TransferError:
            return None
        found = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
        return basic(found["username"], found["password"]) if {"username", "password"} <= set(found) else None

    def environment(self) -> dict[str, str]:
        """Variables for git: no questions, no LFS filter, no endless silence; secrets are not seen in arguments."""
        settings = {
            "http.lowSpeedLimit": "1",
            "http.lowSpeedTime": str(max(int(self.stall), 1)),
            "init.defaultBranch": "main",
            "gc.auto": "0",
            **self.credentials(),
        }
        given = {"GIT_TERMINAL_PROMPT": "0", "GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C", "GIT_ASKPASS": ""}
        given["GIT_SSH_COMMAND"] = os.environ.get("GIT_SSH_COMMAND", SSH_COMMAND)
        given["GIT_CONFIG_COUNT"] = str(len(settings))
        for number, (name, value) in enumerate(settings.items()):
            given[f"GIT_CONFIG_KEY_{number}"], given[f"GIT_CONFIG_VALUE_{number}"] = name, value
        if self.given is not None:
            given[USER], given[PASSWORD] = self.given
        return given

    def credentials(self) -> dict[str, str]:
        """Settings that give git a user and a password for the remote's scheme, host and port, and for no other."""
        if not self.url.startswith(("http://", "https://")):
            return {}
        parts = urlsplit(self.url)
        place = f"credential.{parts.scheme}://{parts.netloc}"
        named = {f"{place}.username": self.user} if self.user else {}
        return {**named, f"{place}.helper": HELPER} if self.given is not None else named

    def failure(self, command: str, text: str) -> TransferError | UnknownNameError:
        """Our error for what git said last."""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        said = hide_secrets(next((line for line in lines if line.startswith("fatal:")), " ".join(lines[-1:])))
        if "couldn't find remote ref" in said or "not our ref" in said:
            return UnknownNameError("revision", self.repository.revision, self.revisions(), self.label())
        message, heard = f"{self.label()}: git {command} failed: {said[:300]}", text.lower()
        if any(words in heard for words in NO_NETWORK):
            return NoNetworkError(f"{message}; {WITHOUT_NETWORK}")
        return (TransferError if any(words in heard for words in FOR_GOOD) else RetryableError)(message)

    def revisions(self) -> list[str]:
        """Branches and tags of the remote, for the hint in a message; empty when it does not tell."""
        try:
            lines = self.run("ls-remote", "--heads", "--tags", "--refs", REMOTE).decode("utf-8", "replace").splitlines()
        except TransferError:
            return []
        return [line.partition("\t")[2].split("/", 2)[-1] for line in lines]

    def files(self) -> list[GitFile]:
        """All regular files of the commit, pointers resolved; links and submodules are left out."""
        listing = self.run("ls-tree", "-r", "-l", "-z", self.commit()).decode("utf-8", "surrogateescape")
        found = [self.entry(line) for line in listing.split("\0") if line.startswith("100")]
        small = [file for file in found if file.size <= LARGEST_POINTER]
        pointers = dict(zip(small, self.contents([file.blob for file in small]), strict=True))
        return [resolved(file, pointers[file]) if file in pointers else file for file in found]

    def entry(self, line: str) -> GitFile:
        """One line of the listing: mode, type, name and size, a tab, the path."""
        facts, _, path = line.partition("\t")
        _, _, blob, size = facts.split()
        return GitFile(checked_path(path, self.label()), blob, int(size))

    def contents(self, blobs: Sequence[str]) -> list[bytes]:
        """Contents of small blobs, all with one process."""
        answer = self.run("cat-file", "--batch", question="".join(f"{blob}\n" for blob in blobs).encode())
        contents, position = [], 0
        for _ in blobs:
            start = answer.index(b"\n", position) + 1
            size = int(answer[position:start].split()[2])
            contents.append(answer[start : start + size])
            position = start + size + 1
        return contents

    def content(self, blob: str) -> bytes:
        """Content of one blob."""
        return self.run("cat-file", "blob", blob)

    def label(self) -> str:
        """How messages name the repository."""
        return f"git {self.repository.name} at {self.repository.revision}"


def resolved(file: GitFile, content: bytes) -> GitFile:
    r"""``file`` with the facts of its pointer when it is one.

    >>> text = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12\n"
    >>> resolved(GitFile("a.bin", "b" * 40, 126), text).real_size
    12
    """
    pointer = parse_pointer(content)
    if pointer is None:
        return file
    return replace(file, oid=pointer.oid, real_size=pointer.size, extended=pointer.extended)
