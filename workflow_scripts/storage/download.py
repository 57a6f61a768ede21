r"""Fetch the files of one repository, each checked against a hash that was known beforehand, and write a receipt.

The same command works for a folder laid out like the Hub (mirror), for the Hugging Face Hub (hub) and for a git
repository with git LFS (git-lfs). Run it again after any interruption: it goes on where it stopped, and asks for
nothing that is already there. Hashes come from --lock, else from the repository's own sha256.txt, else from what the
Hub or git LFS report; a file without any is refused. Tokens are read from HF_TOKEN or the token file of
`hf auth login`, never from an argument.

Example:
  python -m workflow_scripts.storage.download --source mirror --location results/mirror \
    --kind dataset --repository pocket/deduped --revision main \
    --output-dir results/data/pocket/deduped/raw --receipt results/data/pocket/deduped/download.json
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.catalog import SOURCES, open_source
from workflow_scripts.storage.credentials import refuse_tokens
from workflow_scripts.storage.fetch import fetch_all
from workflow_scripts.storage.listing import describe, joined, known_files
from workflow_scripts.storage.lockfile import FileEntry, read_lock, select
from workflow_scripts.storage.records import write_record
from workflow_scripts.storage.retry import RetryPolicy
from workflow_scripts.storage.sources import Repository, Source

log = logging.getLogger(__name__)


def wanted_files(source: Source, lock: Path | None, patterns: Sequence[str]) -> list[FileEntry]:
    """Files to fetch: those of the list, or all that the source knows, that fit one of the patterns."""
    if lock is None:
        return select(known_files(source), patterns, describe(source))
    entries = select(read_lock(lock), patterns, str(lock))
    return joined(entries, source.files(), str(lock), describe(source))


def receipt(source: Source, files: Sequence[FileEntry]) -> dict[str, object]:
    """What was fetched, from where; equal fetches give equal receipts."""
    return {
        "source": source.name,
        "location": source.location,
        "kind": source.repository.kind,
        "repository": source.repository.name,
        "revision": source.repository.revision,
        "commit": source.commit(),
        "files": [entry.as_json() for entry in sorted(files)],
    }


def argument_parser() -> argparse.ArgumentParser:
    """Arguments of the program."""
    parser = cli.parser(__doc__)
    add_source_arguments(parser)
    parser.add_argument(
        "--lock", type=Path, help="list of the files with size and sha256 (TSV, sha256sum or a receipt)"
    )
    parser.add_argument(
        "--include", nargs="+", default=[], metavar="GLOB", help="only files whose path fits one of these"
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to fetch into")
    parser.add_argument("--receipt", type=Path, required=True, help="JSON file that says what was fetched")
    parser.add_argument("--parallel", type=int, default=4, help="files to fetch at a time")
    return parser


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that name a repository at a source."""
    parser.add_argument("--source", choices=sorted(SOURCES), required=True, help="kind of place to fetch from")
    parser.add_argument("--location", default="", help="folder of the mirror, endpoint of the Hub, or git URL")
    parser.add_argument("--kind", choices=("dataset", "model"), required=True, help="kind of repository")
    parser.add_argument("--repository", required=True, metavar="ORG/NAME", help="the repository")
    parser.add_argument("--revision", default="main", help="branch, tag or commit")
    parser.add_argument("--stall-seconds", type=float, default=30.0, help="silence after which a transfer is restarted")
    parser.add_argument(
        "--lfs-client", choices=("auto", "git-lfs", "builtin"), default="auto", help="for source git-lfs"
    )
    parser.add_argument("--attempts", type=int, default=8, help="failures in a row without progress before giving up")


def opened(options: argparse.Namespace, repository: Repository, policy: RetryPolicy) -> AbstractContextManager[Source]:
    """Source that the arguments name."""
    return open_source(
        options.source,
        options.location,
        repository,
        policy,
        stall_seconds=options.stall_seconds,
        lfs_client=options.lfs_client,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, fetch, write the receipt."""
    options = argument_parser().parse_args(arguments)
    refuse_tokens([options.location, options.repository, options.revision])
    repository = Repository(options.kind, options.repository, options.revision)
    policy = RetryPolicy(attempts=options.attempts)
    with opened(options, repository, policy) as source:
        entries = wanted_files(source, options.lock, options.include)
        files = fetch_all(source, entries, options.output_dir, options.parallel, policy)
        write_json(options.receipt, receipt(source, files))
    write_record(
        options.receipt,
        {"lock": options.lock} if options.lock else {},
        {"source": source.name, "repository": repository.name, "revision": repository.revision},
    )
    log.info("%s: %d file(s) present and verified in %s", describe(source), len(files), options.output_dir)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
