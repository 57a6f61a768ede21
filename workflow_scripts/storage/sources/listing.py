"""What a source holds and what is known of it beforehand: its own list of files joined with what the source reports.

A repository may carry ``sha256.txt``; then exactly the files named there count. Otherwise the hashes that the Hub or
git LFS report are used. Two claims about one file that differ are an error, never a choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workflow_scripts.errors import IntegrityError, MissingInputError, TransferError
from workflow_scripts.storage.digests import ContentHash
from workflow_scripts.storage.lockfile import LARGEST_LIST, FileEntry, parse_lock
from workflow_scripts.storage.sources.source import OWN_LOCK, Source


def known_files(source: Source) -> list[FileEntry]:
    """Files of ``source`` with all that is known of their sizes and hashes, sorted by path.

    Raises TransferError when the source lists none, IntegrityError when two claims differ.
    """
    listed = source.files()
    own = next((entry for entry in listed if entry.path == OWN_LOCK), None)
    where = describe(source)
    if not listed:
        raise TransferError(f"{where}: lists no files")
    if own is None:
        return sorted(listed)
    entries = parse_lock(read_small(source, own), f"{where}/{OWN_LOCK}")
    return joined(entries, source, f"{where}/{OWN_LOCK}")


def describe(source: Source) -> str:
    """How messages name a source."""
    return f"{source.name} {source.repository.name} at {source.repository.revision}"


def read_small(source: Source, entry: FileEntry) -> bytes:
    """Whole content of a small file, proved where its hash is known."""
    if entry.size is None or entry.size > LARGEST_LIST:
        raise IntegrityError(f"{describe(source)}: {entry.path} has {entry.size} bytes, too many to read into memory")
    content = source.read_range(entry.path, 0, entry.size)
    digest = ContentHash.for_entry(entry)
    digest.update(content)
    if entry.has_hash() and not digest.fits(entry):
        raise IntegrityError(f"{describe(source)}: {entry.path} does not match what the source itself reports")
    return content


def joined(lock: Sequence[FileEntry], source: Source, lock_name: str) -> list[FileEntry]:
    """Entries of ``lock`` with gaps filled from what the source lists; ``lock_name`` names the list in messages.

    Raises MissingInputError for a file that the source does not list and IntegrityError where the two differ.
    """
    reported = {entry.path: entry for entry in source.files()}
    missing = [entry.path for entry in lock if entry.path not in reported]
    if missing:
        raise MissingInputError(
            f"{describe(source)}: {len(missing)} file(s) of {lock_name} are missing, first '{missing[0]}'; correct "
            "the list or choose another revision"
        )
    return [agreed(entry, reported[entry.path], source, lock_name) for entry in lock]


def agreed(entry: FileEntry, reported: FileEntry, source: Source, lock_name: str) -> FileEntry:
    """``entry`` with its gaps filled from ``reported``; the two may not differ."""
    for what, ours, theirs in (("size", entry.size, reported.size), ("sha256", entry.sha256, reported.sha256)):
        if ours is not None and theirs is not None and ours != theirs:
            raise IntegrityError(
                f"{describe(source)} (now commit {source.commit()}): {entry.path} has {what} {theirs}, {lock_name} "
                f"has {ours}; the revision has moved or the list is for another one: pin the commit with --commit, or "
                "create a new list with storage.make_lock"
            )
    return replace(
        entry,
        size=reported.size if entry.size is None else entry.size,
        sha256=entry.sha256 or reported.sha256,
        git_blob=reported.git_blob,
    )
