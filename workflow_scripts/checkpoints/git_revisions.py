"""All revisions of a repository by one partial clone: commits, folders and git LFS pointers, a few hundred bytes each.

The remote is asked to leave out contents above 1 kB (a pointer has 130 bytes); the few small files that are larger,
such as the tokenizer, are asked for once each, by content. A remote that cannot leave anything out sends them all,
which is still little where the weights lie in git LFS. Nothing is checked out.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from workflow_scripts.checkpoints.checkpoint_files import is_checkpoint_file
from workflow_scripts.checkpoints.ledger_file import MAIN, Revision, is_revision
from workflow_scripts.errors import ConfigError, DataError, IntegrityError
from workflow_scripts.storage.http.retry import RetryPolicy, retrying
from workflow_scripts.storage.lockfile import LARGEST_LIST, FileEntry, checked_path
from workflow_scripts.storage.sources.git_objects import EXTENDED, REMOTE, GitFile, GitObjects, resolved
from workflow_scripts.storage.sources.source import Repository
from workflow_scripts.suite.revision_names import DEFAULT

PLACE = "{repository}"
FILTER = "--filter=blob:limit=1k"
FOLDER_MODE, FILE_MODES = b"40000", (b"100644", b"100755")
OBJECT_BYTES = 20  # length of a SHA-1 in a tree object


class GitRevisions:
    """Every branch of a remote in a bare repository in a temporary folder."""

    def __init__(self, git: GitObjects, pattern: str = DEFAULT) -> None:
        """``git`` has an empty folder of its own."""
        self.git, self.pattern = git, pattern
        self.requests = 0
        self.known: dict[str, dict[str, str]] = {}
        self.small: dict[str, FileEntry] = {}

    def branches(self) -> dict[str, str]:
        """Fetch all branches; commit of main and of each that is called like the pattern."""
        self.git.run("init", "--bare", "--quiet")
        self.git.run("config", f"remote.{REMOTE}.url", self.git.url)
        fetch = ("fetch", "--quiet", "--depth=1", "--no-tags", FILTER, REMOTE, "+refs/heads/*:refs/heads/*")
        retrying(self.git.policy, lambda: self.git.run(*fetch))
        self.requests += 1
        lines = self.git.run("for-each-ref", "--format=%(refname:strip=2) %(objectname)", "refs/heads")
        pairs = [line.rsplit(" ", 1) for line in lines.decode("utf-8", "replace").splitlines()]
        found = {name: commit for name, commit in pairs if is_revision(name, self.pattern)}
        self.look_up(found)
        return found

    def look_up(self, commits: Mapping[str, str]) -> None:
        """List the files of all commits, then read every distinct pointer and small file once."""
        names = sorted(set(commits.values()))
        roots = self.git.contents([f"{commit}^{{tree}}" for commit in names])
        self.known = dict(zip(names, self.list_trees(roots), strict=True))
        blobs = sorted({blob for files in self.known.values() for blob in files.values()})
        paths = {blob: path for files in self.known.values() for path, blob in files.items()}
        for blob, content in zip(blobs, self.git.contents(blobs), strict=True):
            self.small[blob] = self.entry(paths[blob], blob, content)

    def list_trees(self, roots: list[bytes]) -> list[dict[str, str]]:
        """Path and blob of the checkpoint files under each root; folders of one depth are read together."""
        listings: list[dict[str, str]] = [{} for _ in roots]
        pending = [(number, "", content) for number, content in enumerate(roots)]
        while pending:
            folders: list[tuple[int, str, str]] = []
            for number, prefix, content in pending:
                for mode, name, blob in tree_entries(content):
                    path = prefix + name
                    if mode == FOLDER_MODE:
                        folders.append((number, f"{path}/", blob))
                    elif mode in FILE_MODES and is_checkpoint_file(path):
                        listings[number][checked_path(path, self.git.label())] = blob
            contents = self.git.contents([blob for _, _, blob in folders])
            pending = [(n, prefix, content) for (n, prefix, _), content in zip(folders, contents, strict=True)]
        return listings

    def entry(self, path: str, blob: str, content: bytes) -> FileEntry:
        """Size and sha256 of what ``content`` is or points to."""
        file = resolved(GitFile(path, blob, len(content)), content)
        if file.extended:
            raise DataError(f"{self.git.label()}: {path} {EXTENDED}")
        if file.oid is not None:
            return FileEntry(path, file.real_size, file.oid)
        if len(content) > LARGEST_LIST:
            raise IntegrityError(f"{self.git.label()}: {path} has {len(content)} bytes and is not in git LFS")
        return FileEntry(path, len(content), hashlib.sha256(content).hexdigest())

    def read(self, revision: str, commit: str) -> Revision:
        """Files of a revision that was fetched."""
        del revision
        files = self.known[commit]
        entries = (FileEntry(path, self.small[blob].size, self.small[blob].sha256) for path, blob in files.items())
        return Revision(commit, tuple(sorted(entries)))


def tree_entries(content: bytes) -> Iterator[tuple[bytes, str, str]]:
    """Mode, name and object of each entry of a tree object: mode, space, name, zero byte, 20 bytes; again and again."""
    position = 0
    while position < len(content):
        zero = content.find(b"\0", position)
        mode, space, name = content[position:zero].partition(b" ")
        end = zero + 1 + OBJECT_BYTES
        if zero < 0 or not space or end > len(content):
            raise DataError("git: unreadable folder; repositories with SHA-256 names are not supported")
        yield mode, name.decode("utf-8", "surrogateescape"), content[zero + 1 : end].hex()
        position = end


@contextmanager
def open_git(
    location: str, name: str, policy: RetryPolicy, stall_seconds: float, pattern: str = DEFAULT
) -> Iterator[GitRevisions]:
    """Revisions of the repository at ``location``, in which ``{repository}`` stands for ``name``."""
    if PLACE not in location:
        raise ConfigError(f"git URL '{location}': must contain {PLACE} in place of the repository's name")
    repository = Repository("model", name, MAIN)
    with tempfile.TemporaryDirectory(prefix="ledger-") as folder:
        git = GitObjects(location.replace(PLACE, name), repository, Path(folder), policy, stall_seconds)
        yield GitRevisions(git, pattern)
