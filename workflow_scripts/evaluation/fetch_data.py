r"""Fetch the documents of a task: one configuration of a data set from the Hub or a mirror, a parquet file per split.

What the lock knows is fetched at its commit and held to its sizes and hashes. For a data set without an entry the
repository is asked: the commit of its branch is taken, recorded in the receipt and reported. The files lie on the main
branch or, for data sets in other formats, on the branch refs/convert/parquet that the Hub keeps of them. A split in
several files is joined in their order.

    python -m workflow_scripts.evaluation.fetch_data --source hub --repository allenai/ai2_arc --config ARC-Easy \
        --splits test train --lock config/suites/locks/tasks.tsv --output-dir ARC-Easy --receipt ARC-Easy/fetched.json
"""

import argparse
import contextlib
import hashlib
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workflow_scripts import cli
from workflow_scripts.errors import DataError, IntegrityError, MissingInputError, UnknownNameError, shorten
from workflow_scripts.evaluation.planning.hub_layout import (
    CONVERTED,
    declared_configs,
    default_config,
    find_split_files,
)
from workflow_scripts.evaluation.planning.task_lock import LockedFile, locked_files, read_task_lock
from workflow_scripts.storage.atomic import atomic_path, write_json
from workflow_scripts.storage.fetching.fetch_files import fetch_all
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.storage.records import write_record
from workflow_scripts.storage.source_arguments import add_source_arguments, opened, policy_of
from workflow_scripts.storage.sources.listing import describe, known_files, read_small
from workflow_scripts.storage.sources.source import Source
from workflow_scripts.suite.task_facts import NO_CONFIG

README = "README.md"
LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """Where the splits lie: a ``source`` at one commit, and the files of each split in order."""

    source: Source
    splits: Mapping[str, Sequence[FileEntry]]


@contextlib.contextmanager
def found_files(options: argparse.Namespace, locked: Sequence[LockedFile]) -> Iterator[Found]:
    """Files of every wanted split: those of the lock at its commit, else those that the repository has now."""
    known = {split: [file.entry() for file in locked if file.split == split] for split in options.splits}
    if all(known.values()) and options.source != "mirror":
        with opened(changed(options, commit=locked[0].commit)) as source:
            yield Found(source, known)
        return
    with opened(options) as source:
        entries = known_files(source)
        configs = declared_configs(readme_of(source, entries), f"{describe(source)}: {README}")
        splits = files_by_split(source, entries, configs, options)
        if all(splits.values()):
            yield Found(source, splits)
            return
    with converted(options, entries) as source:
        config = default_config(configs) if options.config == NO_CONFIG else options.config
        splits = files_by_split(source, known_files(source), [], changed(options, config=config))
        refuse_absent(source, splits, options)
        yield Found(source, splits)


def changed(options: argparse.Namespace, **values: Any) -> argparse.Namespace:
    """``options`` with other ``values``."""
    return argparse.Namespace(**{**vars(options), **values})


@contextlib.contextmanager
def converted(options: argparse.Namespace, entries: Sequence[FileEntry]) -> Iterator[Source]:
    """The Hub's own copy in parquet; raises MissingInputError, saying what the main branch has, where it has none."""
    try:
        with opened(changed(options, revision=CONVERTED, commit=None)) as source:
            source.commit()
            yield source
    except UnknownNameError:
        raise MissingInputError(
            f"{options.source} {options.repository}: neither {options.revision} nor {CONVERTED} has parquet files of "
            f"{options.config}/{', '.join(options.splits)}; it has {shorten([entry.path for entry in entries], 6)}; "
            "lay the files into a folder of your own and name it under evaluation.data"
        ) from None


def readme_of(source: Source, entries: Sequence[FileEntry]) -> str:
    """README of the repository, empty where there is none."""
    entry = next((entry for entry in entries if entry.path == README), None)
    return read_small(source, entry).decode("utf-8", "replace") if entry is not None else ""


def files_by_split(
    source: Source, entries: Sequence[FileEntry], configs: Sequence[Mapping[str, Any]], options: argparse.Namespace
) -> dict[str, list[FileEntry]]:
    """Files of each wanted split among ``entries``; a mirror's are hashed, because a folder knows no hashes."""
    by_path = {entry.path: entry for entry in entries}
    return {
        split: [hashed(source, by_path[path]) for path in find_split_files(by_path, configs, options.config, split)]
        for split in options.splits
    }


def hashed(source: Source, entry: FileEntry) -> FileEntry:
    """``entry`` with a hash; the one of a file in a mirror is made by reading it."""
    if entry.has_hash() or source.name != "mirror":
        return entry
    digest = hashlib.sha256()
    with source.open(entry.path, 0) as stream:
        for block in stream.chunks:
            digest.update(block)
    return replace(entry, sha256=digest.hexdigest())


def refuse_absent(source: Source, splits: Mapping[str, Sequence[FileEntry]], options: argparse.Namespace) -> None:
    """Raise MissingInputError for splits that the repository does not have."""
    absent = [split for split, files in splits.items() if not files]
    if absent:
        raise MissingInputError(
            f"{describe(source)}: has no parquet file of configuration {options.config}, split {', '.join(absent)}; "
            f"lay <folder>/{options.repository}/{options.config}/{absent[0]}.parquet and name the folder under "
            "evaluation.data"
        )


def fetch_split(found: Found, split: str, options: argparse.Namespace) -> list[LockedFile]:
    """Fetch the files of one split into a folder beside the output, join them into it, and say what they are."""
    parts = options.output_dir / f".{split}.parts"
    entries = fetch_all(found.source, found.splits[split], parts, policy=policy_of(options))
    paths = [parts / entry.path for entry in entries]
    rows = [count_rows(path) for path in paths]
    publish(paths, options.output_dir / f"{split}.parquet")
    shutil.rmtree(parts)
    commit = found.source.commit() or ""
    return [
        LockedFile(
            options.repository, options.config, split, commit, entry.path, number, entry.size or 0, entry.sha256 or ""
        )
        for entry, number in zip(entries, rows, strict=True)
    ]


def count_rows(path: Path) -> int:
    """Rows of a parquet file, from its footer; raises DataError when it is none or has none."""
    import pyarrow
    import pyarrow.parquet

    try:
        rows = int(pyarrow.parquet.read_metadata(path).num_rows)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a readable parquet file ({error})") from error
    if rows == 0:
        raise DataError(f"{path}: holds no rows")
    return rows


def publish(paths: Sequence[Path], target: Path) -> None:
    """Make ``target`` of the files of a split: the file itself, or the rows of several one after the other."""
    if len(paths) == 1:
        paths[0].replace(target)
        return
    import pyarrow.parquet

    with atomic_path(target) as temporary:
        schema = pyarrow.parquet.read_schema(paths[0])
        with pyarrow.parquet.ParquetWriter(temporary, schema) as writer:
            for path in paths:
                writer.write_table(pyarrow.parquet.read_table(path).cast(schema))


def hold_to_lock(files: Sequence[LockedFile], locked: Sequence[LockedFile], where: str) -> None:
    """Raise IntegrityError where a split that was found has not the content that the lock knows."""
    for split in dict.fromkeys(file.split for file in files):
        got = [(file.sha256, file.rows) for file in files if file.split == split]
        known = [(file.sha256, file.rows) for file in locked if file.split == split]
        if known and got != known:
            raise IntegrityError(
                f"{where}: split {split} has {sum(rows for _, rows in got)} rows, sha256 {got[0][0]}; the lock knows "
                f"{sum(rows for _, rows in known)} rows, sha256 {known[0][0]}; use other data by naming its folder "
                "under evaluation.data, or correct the lock"
            )


def argument_parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    add_source_arguments(parser, kind="dataset")
    parser.add_argument("--config", required=True, help="configuration of the data set; default where it has only one")
    parser.add_argument("--splits", nargs="+", required=True, metavar="SPLIT", help="splits to fetch")
    parser.add_argument("--lock", type=Path, required=True, help="list of the files that are known beforehand")
    parser.add_argument("--output-dir", type=Path, required=True, help="folder of the configuration")
    parser.add_argument("--receipt", type=Path, required=True, help="JSON file that lists what was fetched")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = argument_parser().parse_args(arguments)
    locked = locked_files(read_task_lock(options.lock), options.repository, options.config)
    with found_files(options, locked) as found:
        files = [file for split in options.splits for file in fetch_split(found, split, options)]
        hold_to_lock(files, locked, describe(found.source))
        place = {"source": found.source.name, "location": found.source.location}
        said = {**place, "revision": found.source.repository.revision, "commit": found.source.commit()}
    listed = [{name: getattr(file, name) for name in ("split", "path", "rows", "size", "sha256")} for file in files]
    written = {"repository": options.repository, "config": options.config, **said, "files": listed}
    write_json(options.receipt, written)
    write_record(options.receipt, {"lock": options.lock}, {name: written[name] for name in written if name != "files"})
    if not locked:
        LOGGER.info(
            "%s %s: %s has no entry of it; took %s, which the receipt records",
            *(options.repository, options.config, options.lock),
            f"commit {said['commit']} of {said['revision']}" if said["commit"] else "what the mirror has",
        )


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
