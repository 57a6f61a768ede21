"""Command-line options that say which rows a program reads: from shards with an order, or preshuffled, near or far.

Defaults are the numbers of the Pythia runs. ``--conf-dir`` takes them from GPT-NeoX configuration files instead, as
GPT-NeoX reads them: a ``data-path`` is cut by ``split``, and what a file leaves open must be said.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from workflow_scripts.dataset.files.shard_names import PATTERN, parse_shard_name, shard_name, shard_paths
from workflow_scripts.dataset.files.shards import RemoteTokens, ShardLayout, TokenReader, VirtualTokens
from workflow_scripts.dataset.order.preshuffled_rows import PreshuffledRows
from workflow_scripts.dataset.order.row_source import Rows
from workflow_scripts.errors import ConfigError, DataError
from workflow_scripts.storage.sources.catalog import SOURCES, open_source
from workflow_scripts.storage.sources.source import Repository, Source
from workflow_scripts.suite.neox_keys import DATA
from workflow_scripts.suite.neox_settings import Settings, batch_rows, check_keys, data_location, read_settings

if TYPE_CHECKING:
    from workflow_scripts.dataset.order.training_order import TrainingRows

SEQ_LENGTH, SEED, TRAIN_ITERATIONS, BATCH_ROWS = 2048, 1234, 143000, 1024
EVAL_INTERVAL, EVAL_ITERATIONS = 1000, 10
NEOX_SEED, NEOX_EVAL_INTERVAL, NEOX_EVAL_ITERATIONS = 1234, 1000, 100  # GPT-NeoX's own defaults
PRESHUFFLED_DTYPE = np.dtype("<u2")


@dataclass(frozen=True)
class RunNumbers:
    """What decides the order of a run, and the data set that a configuration file names.

    ``split`` cuts the data set by documents into train, valid and test; None reads it whole.
    """

    seq_length: int
    seed: int
    train_iterations: int
    batch_rows: int
    data_path: Path | None
    split: str | None = None
    eval_interval: int = EVAL_INTERVAL
    eval_iterations: int = EVAL_ITERATIONS


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
    where.add_argument("--location", default="", help="endpoint, folder or URL of --source")
    where.add_argument("--revision", default="main", help="branch, tag or commit of --repository")
    where.add_argument("--split", help="split the data set by documents, such as '969, 30, 1' (default: read it whole)")
    where.add_argument("--conf-dir", type=Path, help="GPT-NeoX configuration file, or folder of .yml files")


def numbers_of(options: argparse.Namespace) -> RunNumbers:
    """The numbers: command line first, then --conf-dir, and without that Pythia's.

    Raises ConfigError for impossible numbers, and for what a configuration file leaves open.
    """
    conf, split = getattr(options, "conf_dir", None), getattr(options, "split", None)
    if conf is None:
        told = (options.seq_length, options.seed, options.train_iters, options.batch_size)
        pythia = (SEQ_LENGTH, SEED, TRAIN_ITERATIONS, BATCH_ROWS)
        length, seed, iterations, rows = (
            known if said is None else said for said, known in zip(told, pythia, strict=True)
        )
        numbers = RunNumbers(length, seed, iterations, rows, data_path=None, split=split)
    else:
        numbers = configured(read_configuration(conf), options)
    check_numbers(numbers)
    return numbers


def check_numbers(numbers: RunNumbers) -> None:
    """Refuse numbers that make no row; raises ConfigError."""
    smallest = {"seq-length": (numbers.seq_length, 1), "seed": (numbers.seed, 0),
                "train-iters": (numbers.train_iterations, 1), "batch-size": (numbers.batch_rows, 1)}  # fmt: skip
    for name, (value, least) in smallest.items():
        if value < least:
            raise ConfigError(f"{name} {value!r} must be a positive whole number")


def configured(settings: Settings, options: argparse.Namespace) -> RunNumbers:
    """The numbers of GPT-NeoX files, where the command line does not say others."""
    paths, split = data_location(settings)
    if len(paths) > 1:
        raise ConfigError(f"{settings.where}: {len(paths)} train-data-paths; only one data set can be read here")
    seed = options.seed if options.seed is not None else settings.whole("seed", NEOX_SEED)
    if not paths and not any(getattr(options, name, None) for name in ("view", "idx", "prefix", "preshuffled")):
        raise ConfigError(f"no data named; {settings.where} has neither train-data-paths nor data-path, give --view")
    rows = options.batch_size if options.batch_size is not None else batch_rows(settings, None)
    if rows is None:
        raise ConfigError(
            f"{settings.where}: the batch depends on the number of GPUs; give it with --batch-size (Pythia: "
            f"{BATCH_ROWS})"
        )
    return RunNumbers(
        seq_length=options.seq_length if options.seq_length is not None else settings.whole("seq_length"),
        seed=seed,
        train_iterations=options.train_iters if options.train_iters is not None else settings.whole("train_iters"),
        batch_rows=rows,
        data_path=Path(paths[0]) if paths else None,
        split=options.split if options.split is not None else split,
        eval_interval=settings.whole("eval_interval", NEOX_EVAL_INTERVAL),
        eval_iterations=settings.whole("eval_iters", NEOX_EVAL_ITERATIONS),
    )


def read_configuration(path: Path) -> Settings:
    """GPT-NeoX files, refused where they ask for rows that are not made here; raises ConfigError or ModelError."""
    settings = read_settings(path)
    check_keys(settings, frozenset({DATA}))
    return settings


@contextmanager
def opened_rows(options: argparse.Namespace, numbers: RunNumbers) -> Iterator[Rows]:
    """The rows that the options name; remote connections are closed at the end of the block."""
    if options.preshuffled and numbers.split is not None:
        raise ConfigError(
            f"--preshuffled rows are in the order of training already, split {numbers.split!r} cannot cut them; leave "
            "it out, or give train-data-paths in place of data-path"
        )
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
        raise ConfigError("no data named; give --view, --preshuffled, or --conf-dir with train-data-paths")
    from workflow_scripts.dataset.order.training_order import TrainingRows

    return TrainingRows.open(
        location,
        options.index_maps,
        numbers.seq_length,
        numbers.seed,
        numbers.train_iterations,
        numbers.batch_rows,
        numbers.split,
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
