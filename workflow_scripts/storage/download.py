r"""Fetch the files of one repository, each checked against a hash that was known beforehand.

The same command works for a folder laid out like the Hub (mirror), for the Hugging Face Hub (hub) and for a git
repository with git LFS (git-lfs). Run it again after any interruption: it resumes where it stopped, and asks for
nothing that is already there. Each file gets a record; with --receipt one JSON file lists all of them instead. Hashes
come from --lock, else from the repository's own sha256.txt, else from what the Hub or git LFS report; a file without
any is refused. Tokens are read from HF_TOKEN or the token file of `hf auth login`, never from an argument.

Example:
  python -m workflow_scripts.storage.download --source mirror --location results/mirror \
    --kind dataset --repository pocket/deduped --revision main \
    --output-dir results/data/pocket/deduped/raw --receipt results/data/pocket/deduped/download.json
"""

from __future__ import annotations

import argparse
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import IntegrityError, MissingInputError, shorten
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.fetching.fetch_files import fetch_all
from workflow_scripts.storage.lockfile import FileEntry, read_lock, select
from workflow_scripts.storage.records import OUTPUT, write_record
from workflow_scripts.storage.source_arguments import add_source_arguments, opened, policy_of
from workflow_scripts.storage.sources.listing import describe, joined, known_files
from workflow_scripts.storage.sources.source import Source

# How huggingface_hub reads its switches.
OFFLINE = ("1", "ON", "YES", "TRUE")
log = logging.getLogger(__name__)


def wanted_files(source: Source, lock: Path | None, patterns: Sequence[str], folder: Path) -> list[FileEntry]:
    """Files to fetch: those of the list, or all that the source knows, that fit one of the patterns.

    When all of a list seems to be in ``folder``, the source is not asked at all.
    """
    if lock is None:
        return select(known_files(source), patterns, describe(source))
    entries = select(read_lock(lock), patterns, str(lock))
    if all(entry.sha256 and (folder / entry.path).is_file() for entry in entries):
        return entries
    refuse_offline(source, entries, folder)
    return joined(entries, source, str(lock))


def refuse_offline(source: Source, entries: Sequence[FileEntry], folder: Path) -> None:
    """Raise MissingInputError, naming the files, when they would come from the Hub and the Hub must not be asked."""
    if source.name != "hub" or os.environ.get("HF_HUB_OFFLINE", "").upper() not in OFFLINE:
        return
    missing = [entry.path for entry in entries if not (folder / entry.path).is_file()]
    raise MissingInputError(
        f"{describe(source)}: offline (HF_HUB_OFFLINE is set) and not in {folder}: {shorten(missing)}; rerun this "
        "command on a machine with network access, with HF_HUB_OFFLINE unset"
    )


def earlier_receipt(path: Path, source: Source) -> JsonObject:
    """Receipt of an earlier fetch from the same place, empty when there is none."""
    try:
        earlier = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    same = isinstance(earlier, dict) and all(earlier.get(key) == value for key, value in identity(source).items())
    return earlier if same else {}


def refuse_moved(source: Source, earlier: JsonMapping, path: Path) -> None:
    """Raise IntegrityError when the revision points to another commit than at the earlier fetch.

    A mirror is rebuilt on purpose, so it may change.
    """
    before, now = earlier.get("commit"), source.commit()
    if source.name != "mirror" and before is not None and before != now:
        raise IntegrityError(
            f"{describe(source)}: the revision has moved from commit {before} ({path}) to {now}; stay with --commit "
            f"{before}, or delete {path} to take the new one"
        )


def identity(source: Source) -> dict[str, str]:
    """What was asked for."""
    return {
        "source": source.name,
        "location": source.location,
        "kind": source.repository.kind,
        "repository": source.repository.name,
        "revision": source.repository.revision,
    }


def receipt(source: Source, files: Sequence[FileEntry], earlier: JsonMapping | None = None) -> JsonObject:
    """What was fetched, from where; equal fetches give equal receipts.

    The commit is taken from an ``earlier`` receipt of the same content, so that nothing is asked for nothing.
    """
    listed = [entry.as_json() for entry in sorted(files)]
    known = earlier is not None and earlier.get("files") == listed and source.repository.commit is None
    commit = earlier.get("commit") if earlier is not None and known else source.commit()
    return {**identity(source), "commit": commit, "files": listed}


def argument_parser() -> argparse.ArgumentParser:
    """Arguments of the program."""
    parser = cli.parser(__doc__)
    add_source_arguments(parser)
    parser.add_argument(
        "--lock", type=Path, help="list of the files with size and sha256 (TSV, sha256sum or a receipt)"
    )
    parser.add_argument(
        "--include", nargs="+", default=[], metavar="GLOB", help="only files whose path matches one of these patterns"
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to fetch into")
    parser.add_argument("--receipt", type=Path, help="JSON file listing the fetched files, instead of records")
    parser.add_argument("--parallel", type=int, default=4, help="number of files to fetch in parallel")
    return parser


def write_records(source: Source, files: Sequence[FileEntry], folder: Path, lock: Path | None) -> None:
    """Write beside each file where it is from; its hash was computed on the way."""
    for entry in files:
        inputs = {} if lock is None else {"lock": lock}
        known = {} if entry.sha256 is None else {OUTPUT: entry.sha256}
        write_record(folder / entry.path, inputs, identity(source), known)


def write_receipt(
    source: Source, files: Sequence[FileEntry], earlier: JsonMapping, options: argparse.Namespace
) -> None:
    """Write the list of what was fetched, with its record."""
    written = receipt(source, files, earlier)
    write_json(options.receipt, written)
    inputs = {"lock": options.lock} if options.lock else {}
    write_record(options.receipt, inputs, {name: written[name] for name in written if name != "files"})


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, fetch, write the receipt or the records."""
    options = argument_parser().parse_args(arguments)
    with opened(options) as source:
        earlier = earlier_receipt(options.receipt, source) if options.receipt else {}
        entries = wanted_files(source, options.lock, options.include, options.output_dir)
        if options.lock is None and options.receipt:
            refuse_moved(source, earlier, options.receipt)
        files = fetch_all(source, entries, options.output_dir, options.parallel, policy_of(options))
        if options.receipt:
            write_receipt(source, files, earlier, options)
        else:
            write_records(source, files, options.output_dir, options.lock)
    log.info("%s: %d file(s) present and verified in %s", describe(source), len(files), options.output_dir)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
