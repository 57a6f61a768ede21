r"""Write the list of a repository's or a folder's files with size and sha256: a lock for --lock.

For a repository nothing large is fetched: hashes of large files come from the Hub or the git LFS pointers, small files
are read. A list with --lock is taken over; only for hashes that it lacks the repository is asked. For a folder every
file is hashed. Read the list, keep it under version control, and every later download is
checked against it.

Examples:
  python -m workflow_scripts.storage.make_lock --source hub --kind dataset \
    --repository EleutherAI/pile-deduped-pythia-preshuffled --output pile-deduped-preshuffled.tsv
  python -m workflow_scripts.storage.make_lock --folder results/data/pocket/deduped/raw --output pocket.tsv
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, IntegrityError, MissingInputError
from workflow_scripts.storage.digests import hash_file
from workflow_scripts.storage.lockfile import LARGEST_LIST, FileEntry, checked_path, read_lock, select, write_lock
from workflow_scripts.storage.records import write_record
from workflow_scripts.storage.source_arguments import add_source_arguments, opened
from workflow_scripts.storage.sources.listing import describe, joined, known_files, read_small
from workflow_scripts.storage.sources.source import Source, walk

log = logging.getLogger(__name__)


def folder_entries(folder: Path) -> list[FileEntry]:
    """Every file under ``folder`` with its size and sha256."""
    if not folder.is_dir():
        raise MissingInputError(f"{folder}: no such folder")
    entries = [FileEntry(checked_path(path, str(folder)), size, None) for path, size in walk(folder)]
    return [replace(entry, sha256=hash_file(folder / entry.path, entry)[1].sha256()) for entry in entries]


def repository_entries(source: Source, lock: Path | None = None) -> list[FileEntry]:
    """Every file of ``source``, or of ``lock``, with its sha256; small ones whose sha256 is not known are hashed.

    A lock that knows all hashes is taken as it is, without a question to the source.
    """
    entries = known_files(source) if lock is None else read_lock(lock)
    if lock is not None and not all(entry.sha256 for entry in entries):
        entries = joined(entries, source, str(lock))
    return [entry if entry.sha256 else hashed(source, entry) for entry in entries]


def hashed(source: Source, entry: FileEntry) -> FileEntry:
    """Entry with the sha256 of a small file; raises IntegrityError for a large one."""
    if entry.size is None or entry.size > LARGEST_LIST:
        raise IntegrityError(
            f"{describe(source)}: no sha256 reported for {entry.path}; make the list from another source, or from a "
            "folder that holds the file (--folder)"
        )
    return replace(entry, sha256=hashlib.sha256(read_small(source, entry)).hexdigest())


def argument_parser() -> argparse.ArgumentParser:
    """Arguments of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--folder", type=Path, help="folder to list, instead of a repository")
    add_source_arguments(parser, required=False)
    parser.add_argument("--lock", type=Path, help="known list of the repository's files")
    parser.add_argument(
        "--include", nargs="+", default=[], metavar="GLOB", help="only files whose path matches one of these patterns"
    )
    parser.add_argument("--output", type=Path, required=True, help="list to write")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, list, write."""
    options = argument_parser().parse_args(arguments)
    if (options.folder is None) == (options.source is None):
        raise ConfigError("give either --folder, or --source with --kind and --repository")
    if options.folder is not None:
        entries, where = folder_entries(options.folder), str(options.folder)
        made_from: dict[str, str | None] = {"folder": options.folder.name}
    else:
        with opened(options) as source:
            entries, where = repository_entries(source, options.lock), describe(source)
            made_from = {"repository": source.repository.name, "commit": None if options.lock else source.commit()}
    write_lock(options.output, select(entries, options.include, where))
    write_record(options.output, {"lock": options.lock} if options.lock else {}, made_from)
    log.info("%s: %d file(s) of %s", options.output, len(entries), where)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
