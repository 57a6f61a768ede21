r"""Which training rows has a checkpoint memorized? Scores a range of rows in their training order.

    python -m workflow_scripts.experiments.score_memorization --checkpoint results/checkpoints/pocket-1m/step600 \
        --recipe recipe.json --view results/data/pocket/standard/view.json --prompt 32 --continuation 32 \
        --first-row 0 --stop-row 4096 --output results/memorization/pocket-1m/step600/rows-0-4096.parquet

One row per sequence: row (its place in the training order), batch, first_miss (tokens of the greedy continuation
that are right before the first wrong one) and memorized (all are right). --scores partial adds matched, the places at
which the generated continuation agrees (the papers' score times the continuation's length); it costs 24 times as much.
--every K takes each K-th batch only; --patch scores the rows that an arm was trained on. Ranges are independent jobs: a
range that exists is never rescored.
"""

import argparse
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.scoring.model_folder import weights_identity
from workflow_scripts.experiments.engine_options import (
    add_engine_arguments,
    add_trained_checkpoint_arguments,
    open_engine,
)
from workflow_scripts.experiments.memory.greedy import (
    Integers,
    first_misses,
    generated_tokens,
    matched_tokens,
    teacher_forced_tokens,
)
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import atomic_path
from workflow_scripts.storage.records import write_record
from workflow_scripts.training.recipe import Recipe, read_recipe
from workflow_scripts.training.run.training_rows import RowSource, open_rows

LOG = logging.getLogger(__name__)
SCORES = ("exact", "partial")
ROWS_AT_ONCE = 1024
COLUMNS = {"row": "int64", "batch": "int64", "first_miss": "uint8", "memorized": "bool"}


def batches_of_range(first: int, stop: int, batch_rows: int, every: int) -> list[tuple[int, int]]:
    """Row ranges [begin, end) of every ``every``-th training batch within [first, stop).

    >>> batches_of_range(0, 40, batch_rows=16, every=2)
    [(0, 16), (32, 40)]
    """
    numbers = range(first // batch_rows, -(-stop // batch_rows))
    return [
        (max(first, number * batch_rows), min(stop, (number + 1) * batch_rows))
        for number in numbers
        if number % every == 0
    ]


def joined_ranges(ranges: Sequence[tuple[int, int]], most: int) -> Iterator[tuple[int, int]]:
    """Neighbouring ranges joined, and cut to at most ``most`` rows: larger portions read and run faster.

    >>> list(joined_ranges([(0, 16), (16, 32), (48, 64)], most=20))
    [(0, 20), (20, 32), (48, 64)]
    """
    joined: list[tuple[int, int]] = []
    for begin, end in ranges:
        if joined and joined[-1][1] == begin:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    for begin, end in joined:
        for start in range(begin, end, most):
            yield start, min(start + most, end)


def score_rows(
    engine: Engine, source: RowSource, recipe: Recipe, ranges: Sequence[tuple[int, int]], options: argparse.Namespace
) -> pd.DataFrame:
    """Table of all rows in ``ranges`` (columns as the module docstring says)."""
    total = sum(end - begin for begin, end in ranges) * teacher_forced_tokens(options.prompt, options.continuation)
    parts = []
    with Progress(f"score {engine.folder.parent.name}/{engine.folder.name}", total, "tokens") as progress:
        for begin, end in joined_ranges(ranges, ROWS_AT_ONCE):
            rows = source.rows(begin, end)
            miss = first_misses(engine, rows, options.prompt, options.continuation, progress.advance)
            part = row_table(np.arange(begin, end), recipe.batch_rows, miss, options.continuation)
            if options.scores == "partial":
                matched = matched_tokens(engine, rows, options.prompt, options.continuation, miss)
                part["matched"] = matched.astype(np.uint8)
            parts.append(part)
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=list(COLUMNS)).astype(COLUMNS)


def row_table(rows: Integers, batch_rows: int, first_miss: Integers, continuation: int) -> pd.DataFrame:
    """The four columns of exact scores."""
    values = {
        "row": rows,
        "batch": rows // batch_rows,
        "first_miss": first_miss,
        "memorized": first_miss == continuation,
    }
    return pd.DataFrame(values).astype(COLUMNS)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.parser(__doc__)
    add_trained_checkpoint_arguments(parser)
    parser.add_argument("--patch", type=Path, help="patch of the arm that the checkpoint belongs to (make_patch)")
    parser.add_argument("--first-row", type=int, default=0, help="first row in training order")
    parser.add_argument("--stop-row", type=int, required=True, help="row after the last one")
    parser.add_argument("--every", type=int, default=1, help="take each EVERY-th training batch only")
    parser.add_argument("--prompt", type=int, default=32, help="tokens of the prompt")
    parser.add_argument("--continuation", type=int, default=32, help="tokens to be reproduced")
    parser.add_argument("--scores", choices=SCORES, default="exact", help="partial also generates what is not exact")
    add_engine_arguments(parser)
    parser.add_argument("--output", type=Path, required=True, help="table to write, .parquet")
    options = parser.parse_args(arguments)
    if not 0 <= options.first_row < options.stop_row:
        raise ConfigError(f"--first-row {options.first_row} --stop-row {options.stop_row}: an empty range of rows")
    if options.every < 1 or not 1 <= options.continuation <= 255:
        raise ConfigError("--every must be at least 1 and --continuation between 1 and 255")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    recipe = read_recipe(options.recipe)
    source = open_rows(options.view, options.index_maps, recipe, options.patch)
    if options.stop_row > source.n_rows:
        raise ConfigError(f"--stop-row {options.stop_row}: the data hold {source.n_rows} rows in training order")
    engine = open_engine(options.checkpoint, options)
    ranges = batches_of_range(options.first_row, options.stop_row, recipe.batch_rows, options.every)
    table = score_rows(engine, source, recipe, ranges, options)
    with atomic_path(options.output) as temporary:
        table.to_parquet(temporary, index=False)
    write_record(
        options.output,
        {"weights": options.checkpoint, "view": options.view},
        facts(options, len(table), source.fingerprint),
        known_hashes={"weights": weights_identity(options.checkpoint)},
    )
    LOG.info("%d of %d rows memorized", int(table["memorized"].sum()), len(table))


def facts(options: argparse.Namespace, rows: int, fingerprint: str) -> dict[str, object]:
    """What decides the numbers, and what they cost beside the original procedure."""
    lengths = (options.prompt, options.continuation)
    return {
        "prompt": options.prompt,
        "continuation": options.continuation,
        "first_row": options.first_row,
        "stop_row": options.stop_row,
        "every": options.every,
        "scores": options.scores,
        "dtype": options.dtype,
        "device": options.device,
        "data_fingerprint": fingerprint,
        "token_forwards": rows * teacher_forced_tokens(*lengths),
        "token_forwards_of_generation": rows * generated_tokens(*lengths),
    }


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
