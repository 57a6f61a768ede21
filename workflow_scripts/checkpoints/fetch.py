r"""Fetch one checkpoint: exactly one weight format, its configuration and its tokenizer, every byte verified.

With --ledger the commit, sizes and sha256 are known beforehand: a branch that has moved, or a file that is another one,
is refused by name. With --defects a checkpoint that the audit found defective is refused. Contents that revisions share
(tokenizer, configuration, equal weights) are stored once. With --files exactly these are fetched, and a revision that
serves others is refused. For repositories of optimizer states (neox-ckpt-*) the trainer's own files are taken. Files
appear in the folder when all of them are verified; until then they are in its hidden .incoming. Rerun after any
interruption: the download resumes.

Example:
  python -m workflow_scripts.checkpoints.fetch --source mirror --location results/mirror \
    --repository pocket/pocket-1m --step 512 --output-dir results/checkpoints/pocket-1m/step512 \
    --receipt results/checkpoints/pocket-1m/step512/fetched.json
"""

import argparse
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.checkpoints.checkpoint_files import (
    checkpoint_files,
    declared_files,
    is_trainer_repository,
    trainer_files,
)
from workflow_scripts.checkpoints.content_store import STORE, Store, link, split_companions
from workflow_scripts.checkpoints.defect_table import refuse_defective
from workflow_scripts.checkpoints.ledger_file import Revision, read_ledger
from workflow_scripts.errors import IntegrityError, ModelError
from workflow_scripts.json_values import read_object
from workflow_scripts.storage.atomic import sync_folder, write_json, write_text
from workflow_scripts.storage.credentials import refuse_secrets
from workflow_scripts.storage.download import receipt
from workflow_scripts.storage.fetching.fetch_files import fetch_all
from workflow_scripts.storage.http.retry import RetryPolicy
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.storage.locks import exclusive
from workflow_scripts.storage.records import write_record
from workflow_scripts.storage.source_arguments import add_patience_arguments, policy_of
from workflow_scripts.storage.sources.catalog import SOURCES, open_source
from workflow_scripts.storage.sources.listing import describe, joined, known_files
from workflow_scripts.storage.sources.source import OWN_LOCK, Repository, Source

INCOMING = ".incoming"
log = logging.getLogger(__name__)


def pinned_revision(ledger: Path | None, model: str, revision: str) -> Revision | None:
    """What the ledger says of the revision; ``None`` without a ledger, or when it does not have the revision."""
    pinned = read_ledger(ledger, [model]).get(model, revision) if ledger is not None else None
    if ledger is not None and pinned is None:
        log.warning("%s %s: not in %s, using only the source's own hashes", model, revision, ledger)
    return pinned


def known_beforehand(source: Source, pinned: Revision | None, ledger: Path | None) -> list[FileEntry]:
    """Files of the revision with their hashes, held to the ledger where it has them.

    Raises IntegrityError for a branch that has moved, or a file that is not the one in the ledger.
    """
    if pinned is None:
        return known_files(source)
    now = source.commit()
    if now != pinned.commit:
        raise IntegrityError(
            f"{describe(source)}: the branch has moved from commit {pinned.commit} ({ledger}) to {now}; nothing was "
            "fetched: review the change, then accept it with workflow_scripts.checkpoints.ledger --when-moved accept"
        )
    return joined(pinned.files, source, str(ledger))


def chosen_files(entries: Sequence[FileEntry], source: Source, names: Sequence[str] = ()) -> list[FileEntry]:
    """The files to take: ``names``; without them the trainer's in a repository of optimizer states, else one format."""
    if names:
        return declared_files(entries, names, describe(source))
    choose = trainer_files if is_trainer_repository(source.repository.name) else checkpoint_files
    return choose(entries, describe(source))


def bring(
    source: Source, entries: Sequence[FileEntry], folder: Path, store: Store, policy: RetryPolicy
) -> list[FileEntry]:
    """Fetch companions through the store and weights into ``folder``; returns all with size and sha256.

    The workflow deletes the outputs of a job that failed or was killed, finished files of it included. So everything
    arrives in a hidden folder, which the workflow does not know, and moves when it is complete.
    """
    incoming = folder / INCOMING
    incoming.mkdir(parents=True, exist_ok=True)
    companions, weights = split_companions(entries)
    small = store.fetch_companions(source, companions, incoming, policy)
    for entry in weights:
        keep_verified(folder / entry.path, incoming / entry.path)
    store.lend(weights, incoming)
    large = fetch_all(source, weights, incoming, 2, policy)
    store.keep(large, incoming)
    publish(entries, incoming, folder)
    return sorted([*small, *large])


def keep_verified(present: Path, incoming: Path) -> None:
    """Take a file that is there already to where it is verified; it is not fetched again when its hash is right."""
    if present.is_file() and not incoming.exists():
        incoming.parent.mkdir(parents=True, exist_ok=True)
        if not link(present, incoming):
            present.replace(incoming)


def publish(entries: Sequence[FileEntry], incoming: Path, folder: Path) -> None:
    """Move the verified files of ``incoming`` to their places in ``folder`` and remove what is left of it."""
    for entry in entries:
        target = folder / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        (incoming / entry.path).replace(target)
        # Between two names of one content a rename does nothing, by POSIX.
        (incoming / entry.path).unlink(missing_ok=True)
        sync_folder(target.parent)
    shutil.rmtree(incoming)


def refuse_foreign_code(folder: Path) -> None:
    """Raise ModelError when the configuration asks for code of the repository to be run."""
    path = folder / "config.json"
    if not path.is_file():
        return
    if "auto_map" in read_object(path, "configuration", "the repository serves a damaged one"):
        raise ModelError(f"{path}: requests remote code (auto_map), which is not allowed")


def write_hashes(folder: Path, files: Sequence[FileEntry]) -> None:
    """Write the verified hashes beside the files, as sha256sum does, so that 24 GB need not be read again."""
    write_text(folder / OWN_LOCK, "".join(f"{file.sha256}  {file.path}\n" for file in files))


def argument_parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--source", choices=sorted(SOURCES), required=True, help="kind of source")
    parser.add_argument("--location", default="", help="folder of the mirror, or endpoint of the Hub")
    parser.add_argument("--repository", required=True, metavar="ORG/NAME", help="the model's repository")
    parser.add_argument("--step", required=True, type=int, help="Hub step, the N of branch stepN")
    parser.add_argument("--revision", help="name of the branch or folder, where it is not stepN")
    parser.add_argument("--ledger", type=Path, help="ledger to check the fetch against")
    parser.add_argument("--defects", type=Path, help="table of defective checkpoints to reject")
    parser.add_argument("--files", nargs="+", default=[], metavar="NAME", help="fetch exactly these files")
    parser.add_argument("--output-dir", required=True, type=Path, help="folder to fetch into")
    parser.add_argument("--receipt", required=True, type=Path, help="JSON file listing what was fetched")
    add_patience_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = argument_parser().parse_args(arguments)
    refuse_secrets([options.location, options.repository])
    repository = Repository("model", options.repository, options.revision or f"step{options.step}")
    model, policy = repository.name.partition("/")[2], policy_of(options)
    if options.defects is not None:
        refuse_defective(options.defects, model, repository.revision)
    pinned = pinned_revision(options.ledger, model, repository.revision)
    location = options.location.replace("{repository}", repository.name)
    store = Store(options.output_dir.parent / STORE)
    with open_source(options.source, location, repository, policy, options.stall_seconds) as source:
        entries = chosen_files(known_beforehand(source, pinned, options.ledger), source, options.files)
        with exclusive(options.output_dir / INCOMING):
            files = bring(source, entries, options.output_dir, store, policy)
        refuse_foreign_code(options.output_dir)
        write_hashes(options.output_dir, files)
        write_json(options.receipt, receipt(source, files))
    facts = {"source": source.name, "repository": repository.name, "revision": repository.revision}
    write_record(options.receipt, {}, facts | {"pinned_commit": pinned.commit if pinned else None})
    log.info("%s: %d file(s) present and verified in %s", describe(source), len(files), options.output_dir)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
