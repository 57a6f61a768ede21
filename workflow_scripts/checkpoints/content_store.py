"""A store per repository: each content is stored once, however many revisions share it, by hard links.

    <checkpoints>/<model>/.store/companions/<hash>    tokenizer and configuration, kept for the whole sweep
    <checkpoints>/<model>/.store/weights/<hash>       a second name for the weights that some folder holds

Weights that no folder holds any more are dropped by ``sweep``. On a file system without hard links small files are
copied and weights are not shared. Nothing is trusted for being here: the fetch verifies each file again.
"""

import errno
import os
import shutil
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from workflow_scripts.checkpoints.checkpoint_files import COMPANIONS
from workflow_scripts.storage.fetching.fetch_files import fetch_file
from workflow_scripts.storage.http.retry import RetryPolicy
from workflow_scripts.storage.leftovers import remove_dead, temporary_name
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.storage.sources.source import Source

STORE = ".store"
ORPHAN_SECONDS = 3600.0
# What file systems without hard links, or with too many of one file, answer.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.EXDEV, errno.EMLINK, errno.ENOSYS, errno.EACCES)


class Store:
    """Contents shared by the revisions of one repository."""

    def __init__(self, root: Path) -> None:
        """``root`` is made when something is stored."""
        self.companions = root / "companions"
        self.weights = root / "weights"

    def fetch_companions(
        self, source: Source, entries: Sequence[FileEntry], folder: Path, policy: RetryPolicy
    ) -> list[FileEntry]:
        """Bring small files into ``folder`` through the store, so that each content is fetched once per repository."""
        done = []
        for entry in entries:
            kept = self.companions / key(entry)
            done.append(
                fetch_file(source, entry.path, kept, entry.size, entry.sha256, git_blob=entry.git_blob, policy=policy)
            )
            target = folder / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if not link(kept, target):
                shutil.copyfile(kept, target)
        return done

    def lend(self, entries: Sequence[FileEntry], folder: Path) -> None:
        """Link weights that the store has into ``folder``, under their paths; existing files are kept."""
        for entry in entries:
            target = folder / entry.path
            if entry.sha256 is not None and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                link(self.weights / entry.sha256, target)

    def keep(self, entries: Sequence[FileEntry], folder: Path) -> None:
        """Give verified weights in ``folder`` a second name in the store."""
        self.weights.mkdir(parents=True, exist_ok=True)
        for entry in entries:
            link(folder / entry.path, self.weights / key(entry))

    def sweep(self, released: Collection[int] = ()) -> int:
        """Drop weights that only the store holds; returns the bytes freed. Concurrent sweeps are safe.

        Those with the inodes ``released`` go immediately, others when they have been alone for a while: the workflow
        deletes the outputs of a job before it reruns it, and the fetch that is about to start takes them from here.
        """
        remove_dead(self.weights)  # a second name left by a killed link would keep its weights for ever
        freed = 0
        for path in self.weights.glob("*") if self.weights.is_dir() else ():
            try:
                facts = path.stat()
                alone = time.time() - facts.st_ctime  # the removal of the other name was the last change of the inode
                if facts.st_nlink == 1 and (facts.st_ino in released or alone > ORPHAN_SECONDS):
                    path.unlink()
                    freed += facts.st_size
            except FileNotFoundError:  # another sweep was faster
                continue
        return freed


def key(entry: FileEntry) -> str:
    """Name of a content in the store.

    >>> key(FileEntry("config.json", 2, None, "ab" * 20))[:8]
    'git-abab'
    """
    return entry.sha256 if entry.sha256 is not None else f"git-{entry.git_blob}"


def link(existing: Path, target: Path) -> bool:
    """Make ``target`` a hard link to ``existing``, replacing any existing file; False when that cannot be."""
    temporary = temporary_name(target)
    try:
        os.link(existing, temporary)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        return False
    temporary.replace(target)
    # A rename between two names of one file does nothing, by POSIX; then the temporary name is still there.
    temporary.unlink(missing_ok=True)
    return True


def split_companions(entries: Sequence[FileEntry]) -> tuple[list[FileEntry], list[FileEntry]]:
    """Small files that revisions share, and the rest."""
    small = [entry for entry in entries if entry.path in COMPANIONS]
    return small, [entry for entry in entries if entry.path not in COMPANIONS]
