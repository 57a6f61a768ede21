"""Command-line options that say which rows a program reads: from shards with an order, or preshuffled, near or far.

Defaults are the numbers of the Pythia runs. ``--conf_dir`` takes them from GPT-NeoX configuration files instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from workflow_scripts.dataset.files.shard_names import PATTERN, parse_shard_name, shard_name, shard_paths
from workflow_scripts.dataset.files.shards import RemoteTokens, ShardLayout, TokenReader, VirtualTokens
from workflow_scripts.dataset.order.preshuffled_rows import PreshuffledRows
from workflow_scripts.dataset.order.row_source import Rows
from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.storage.sources.catalog import SOURCES, open_source
from workflow_scripts.storage.sources.source import Repository, Source
from workflow_scripts.suite.safe_yaml import load_yaml

if TYPE_CHECKING:
    from workflow_scripts.dataset.order.training_order import TrainingRows

SEQ_LENGTH, SEED, TRAIN_ITERATIONS, BATCH_ROWS = 2048, 1234, 143000, 1024
PRESHUFFLED_DTYPE = np.dtype("<u2")


@dataclass(frozen=True)
class RunNumbers:
    """What decides the order of a run, and the data set that a configuration file names."""

    seq_length: int
    seed: int
    train_iterations: int
    batch_rows: int
    data_path: Path | None


def add_number_options(parser: argparse.ArgumentParser) -> None:
    """Options for the numbers that decide the order."""
    parser.add_argument("--seq-length", type=int, help=f"tokens predicted per row (default: {SEQ_LENGTH})")
    parser.add_argument("--seed", type=int, help=f"seed of the run (default: {SEED})")
    parser.add_argument("--train-iters", type=int, help=f"iterations of the whole run (default: {TRAIN_ITERATIONS})")
    parser.add_argument("--batch-size", type=int, help=f"rows per iteration (default: {BATCH_ROWS})")


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Options for where the rows are."""
    where = parser.add_argument_group("where the rows are")
    where.add_argument("--view", type=Path, help="view.json of the raw shards, or a prefix without .bin and .idx")
    where.add_argument("--index-maps", type=Path, help="folder of the index maps; default: compute the order")
    where.add_argument("--preshuffled", help="shard 0 (or the joined .bin) of a preshuffled set")
    where.add_argument("--repository", help="read --preshuffled (a file name) from this data set, org/name, by ranges")
    where.add_argument("--source", choices=sorted(SOURCES), default="hub", help="where --repository is")
    where.add_argument("--location", default="", help="endpoint, folder or address of --source")
    where.add_argument("--revision", default="main", help="branch, tag or commit of --repository")
    where.add_argument("--conf_dir", type=Path, help="GPT-NeoX configuration file, or folder of .yml files")


def numbers_of(options: argparse.Namespace) -> RunNumbers:
    """The numbers: command line first, then --conf_dir, then Pythia's."""
    conf = read_configuration(options.conf_dir) if getattr(options, "conf_dir", None) else {}
    paths = conf.get("train_data_paths") or ([conf["data_path"]] if conf.get("data_path") else [])
    if len(paths) > 1:
        raise ConfigError(f"{options.conf_dir}: {len(paths)} train-data-paths; only one data set can be read here")
    return RunNumbers(
        pick("seq-length", options.seq_length, conf.get("seq_length"), SEQ_LENGTH),
        pick("seed", options.seed, conf.get("seed"), SEED),
        pick("train-iters", options.train_iters, conf.get("train_iters"), TRAIN_ITERATIONS),
        # The original overrides the micro-batch size of the file with 1024 rows, so the file does not decide it.
        pick("batch-size", options.batch_size, None, BATCH_ROWS),
        Path(str(paths[0])) if paths else None,
    )


def pick(name: str, said: int | None, configured: Any, default: int) -> int:
    """First value that is there; must be a whole number and, but for the seed, positive."""
    value = next((value for value in (said, configured) if value is not None), default)
    if not isinstance(value, int) or value < (0 if name == "seed" else 1):
        raise ConfigError(f"{name} {value!r} must be a positive whole number")
    return value


def read_configuration(path: Path) -> dict[str, Any]:
    """GPT-NeoX options of a file, or of all .yml files of a folder, with underscores in their names."""
    files = sorted(path.glob("*.yml")) if path.is_dir() else [path]
    if not files:
        raise MissingInputError(f"{path}: holds no .yml file")
    merged: dict[str, Any] = {}
    for file in files:
        for key, value in load_yaml(file).items():
            name = key.replace("-", "_")
            if merged.get(name, value) != value:
                raise ConfigError(f"{file}: {key} is {value!r}, another file of {path} says {merged[name]!r}")
            merged[name] = value
    return merged


@contextmanager
def opened_rows(options: argparse.Namespace, numbers: RunNumbers) -> Iterator[Rows]:
    """The rows that the options name; remote connections are closed at the end of the block."""
    if options.preshuffled and options.repository:
        repository = Repository("dataset", options.repository, options.revision)
        with open_source(options.source, options.location, repository) as source:
            yield PreshuffledRows(remote_tokens(source, options.preshuffled), numbers.seq_length + 1)
    elif options.preshuffled:
        yield PreshuffledRows(local_tokens(Path(options.preshuffled)), numbers.seq_length + 1)
    else:
        yield opened_order(options, numbers)


def opened_order(options: argparse.Namespace, numbers: RunNumbers) -> TrainingRows:
    """Raw shards with their order."""
    location = options.view or numbers.data_path
    if location is None:
        raise ConfigError("no data named; give --view, --preshuffled, or --conf_dir with train-data-paths")
    from workflow_scripts.dataset.order.training_order import TrainingRows

    return TrainingRows.open(
        location,
        options.index_maps,
        numbers.seq_length,
        numbers.seed,
        numbers.train_iterations,
        numbers.batch_rows,
    )


def local_tokens(first: Path) -> TokenReader:
    """Preshuffled tokens on this machine."""
    paths = shard_paths(first) if PATTERN.fullmatch(first.name) else [first]
    return VirtualTokens.open(paths, PRESHUFFLED_DTYPE)


def remote_tokens(source: Source, first: str) -> TokenReader:
    """Preshuffled tokens of a repository; the sizes of the shards come from its list of files."""
    name, _, count = parse_shard_name(Path(first))
    sizes = {entry.path: entry.size for entry in source.files()}
    folder = Path(first).parent
    names = [(folder / shard_name(name, number, count)).as_posix() for number in range(count)]
    found = [sizes.get(path) for path in names]
    if None in found:
        missing = names[found.index(None)]
        raise DataError(f"{source.name} {source.repository.name}: no {missing}, or its size is not known")
    return RemoteTokens(source, names, ShardLayout([size for size in found if size is not None]), PRESHUFFLED_DTYPE)
