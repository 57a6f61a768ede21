r"""Fetch one checkpoint: exactly one weight format, its configuration and its tokenizer, every byte verified.

Repositories of the suite hold the same weights twice (pytorch_model.bin and model.safetensors); taking both would
double 15 TB. Safetensors are preferred because they cannot run code; an old .bin is taken only where a revision has
nothing else. Sharded weights are taken whole: every shard that the index names must be in the list of files.

Example:
  python -m workflow_scripts.checkpoints.fetch --source mirror --location results/mirror \
    --repository pocket/pocket-1m --step 512 --output-dir results/checkpoints/pocket-1m/step512 \
    --receipt results/checkpoints/pocket-1m/step512/fetched.json
"""

from __future__ import annotations

import argparse
import fnmatch
import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ModelError
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.catalog import SOURCES, open_source
from workflow_scripts.storage.credentials import refuse_tokens
from workflow_scripts.storage.download import receipt
from workflow_scripts.storage.fetch import fetch_all
from workflow_scripts.storage.listing import describe, known_files
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.storage.records import write_record
from workflow_scripts.storage.retry import RetryPolicy
from workflow_scripts.storage.sources import Repository

log = logging.getLogger(__name__)

# Weight formats in order of preference: the weights themselves, and the index that a sharded set carries.
FORMATS = (
    ("safetensors", "model*.safetensors", "model.safetensors.index.json"),
    ("bin", "pytorch_model*.bin", "pytorch_model.bin.index.json"),
)
COMPANIONS = ("config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
NEEDED = ("config.json", "tokenizer.json")


def checkpoint_files(entries: Sequence[FileEntry], where: str) -> list[FileEntry]:
    """The files to take of a revision: one weight format, its index if any, configuration and tokenizer.

    Raises ModelError when a revision has no weights, or lacks its configuration or tokenizer.
    """
    by_path = {entry.path: entry for entry in entries}
    missing = [name for name in NEEDED if name not in by_path]
    if missing:
        raise ModelError(f"{where}: lacks {', '.join(missing)}; this is not a checkpoint in Hugging Face's format")
    companions = [by_path[name] for name in COMPANIONS if name in by_path]
    for _, pattern, index in FORMATS:
        weights = [entry for entry in entries if fnmatch.fnmatchcase(entry.path, pattern)]
        if weights:
            return [*weights, *([by_path[index]] if index in by_path else []), *companions]
    known = ", ".join(pattern for _, pattern, _ in FORMATS)
    raise ModelError(f"{where}: holds no weights; expected one of {known}")


def argument_parser() -> argparse.ArgumentParser:
    """Arguments of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--source", choices=sorted(SOURCES), required=True, help="kind of place to fetch from")
    parser.add_argument("--location", default="", help="folder of the mirror, or endpoint of the Hub")
    parser.add_argument("--repository", required=True, metavar="ORG/NAME", help="the model's repository")
    parser.add_argument("--step", required=True, type=int, help="Hub step, the N of branch stepN")
    parser.add_argument("--output-dir", required=True, type=Path, help="folder to fetch into")
    parser.add_argument("--receipt", required=True, type=Path, help="JSON file that says what was fetched")
    parser.add_argument("--stall-seconds", type=float, default=30.0, help="silence after which a transfer is restarted")
    parser.add_argument("--attempts", type=int, default=8, help="failures in a row without progress before giving up")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, choose the files, fetch them, write the receipt."""
    options = argument_parser().parse_args(arguments)
    refuse_tokens([options.location, options.repository])
    repository = Repository("model", options.repository, f"step{options.step}")
    policy = RetryPolicy(attempts=options.attempts)
    with open_source(options.source, options.location, repository, policy, options.stall_seconds) as source:
        entries = checkpoint_files(known_files(source), describe(source))
        files = fetch_all(source, entries, options.output_dir, 2, policy)
        write_json(options.receipt, receipt(source, files))
    write_record(
        options.receipt, {}, {"source": source.name, "repository": repository.name, "revision": repository.revision}
    )
    log.info("%s: %d file(s) present and verified in %s", describe(source), len(files), options.output_dir)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
