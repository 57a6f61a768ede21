r"""Fetch one text from a commit of a public git repository, held to the size and sha256 that were known beforehand.

    python -m workflow_scripts.dataset.fetch_book --repository GITenberg/Emma_158 --path 158-0.txt --size 927445 \
        --commit 9943f6422b9246e7ad37625d6bd014b035fbfdea --output-dir results/corpus/books/texts \
        --sha256 89b601ce13c21eca31766bdd1a554842fc9ecb7d3638cc769f41712a523e24cf

The bytes come from <location>/<repository>/<commit>/<path>, as raw.githubusercontent.com serves them; an interrupted
fetch is resumed.
"""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.storage.download import write_records
from workflow_scripts.storage.fetching.fetch_files import fetch_all
from workflow_scripts.storage.http.http_reader import HttpReader
from workflow_scripts.storage.lockfile import FileEntry, checked_path, checked_sha256
from workflow_scripts.storage.source_arguments import add_patience_arguments, policy_of
from workflow_scripts.storage.sources.hub import checked_endpoint
from workflow_scripts.storage.sources.raw_files import DENIED, RawSource
from workflow_scripts.storage.sources.source import Repository

LOCATION = "https://raw.githubusercontent.com"
log = logging.getLogger(__name__)


def argument_parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--location", default=LOCATION, help="address under which files lie as ORG/NAME/COMMIT/PATH")
    parser.add_argument("--repository", required=True, metavar="ORG/NAME", help="the repository")
    parser.add_argument("--commit", required=True, help="commit of the repository")
    parser.add_argument("--path", required=True, help="file of the commit")
    parser.add_argument("--size", type=int, required=True, help="its size in bytes")
    parser.add_argument("--sha256", required=True, help="its sha256")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder to fetch into")
    add_patience_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = argument_parser().parse_args(arguments)
    entry = FileEntry(checked_path(options.path, "--path"), options.size, checked_sha256(options.sha256, "--sha256"))
    repository = Repository("dataset", options.repository, options.commit, options.commit)
    endpoint, policy = checked_endpoint(options.location), policy_of(options)
    with HttpReader(options.stall_seconds, DENIED) as reader:
        source = RawSource(endpoint, repository, reader)
        files = fetch_all(source, [entry], options.output_dir, 1, policy)
        write_records(source, files, options.output_dir, None)
    log.info("%s: present and verified", options.output_dir / entry.path)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
