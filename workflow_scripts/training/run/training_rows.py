"""What the trainer needs from the data: rows in training order, their count and a fingerprint of the order.

The stage ``dataset`` makes them; here is only the interface, the check of tokens against the vocabulary and the cut
into micro-batches. It must not change the order of rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.training.recipe import Recipe

CHECK_TOKENS = 1 << 26  # runs that read at most this many tokens (64 Mi) are checked in full before the first step
CHECK_BLOCK = 1 << 20
MICRO_BATCH_TOKENS = 4096


class RowSource(Protocol):
    """Rows of ``sequence_length + 1`` tokens in the training order."""

    @property
    def fingerprint(self) -> str:
        """Hash of the data and of everything that decides the order."""
        ...

    @property
    def n_rows(self) -> int:
        """Number of rows that can be asked for."""
        ...

    def rows(self, start: int, stop: int) -> NDArray[np.integer]:
        """Rows [start, stop), an integer array ``[stop - start, sequence_length + 1]``."""
        ...


def open_rows(view: Path, index_maps: Path | None, recipe: Recipe, patch: Path | None = None) -> RowSource:
    """Training rows of the data set described by ``view`` in the order of its index maps.

    ``patch`` is a file of exchanged tokens (dataset/patched.py); raises ModelError when it is of another order.
    """
    from workflow_scripts.dataset.order.patched_rows import PatchedRows, read_patch
    from workflow_scripts.dataset.order.training_order import TrainingRows

    source = TrainingRows.open(
        view, index_maps, recipe.sequence_length, recipe.data_seed, recipe.train_iterations, recipe.batch_rows
    )
    return source if patch is None else PatchedRows(source, read_patch(patch))


@contextmanager
def named_rows(options: argparse.Namespace, recipe: Recipe) -> Iterator[RowSource]:
    """Rows that a program's options name: a view with its order, or a preshuffled set, on disk or read by ranges.

    ``options`` has ``view``, ``index_maps``, ``patch`` and those of dataset/batch_options.py. Connections are closed at
    the end of the block. Raises ConfigError, MissingInputError or TransferError.
    """
    if not options.preshuffled:
        if options.view is None or not options.view.is_file():
            raise MissingInputError(
                f"{options.view or '--view'}: no such view; make it with python -m workflow_scripts.dataset.make_view"
            )
        yield open_rows(options.view, options.index_maps, recipe, options.patch)
        return
    if options.view is not None or options.patch is not None:
        raise ConfigError(
            "--preshuffled cannot be combined with --view or --patch: its rows are already in training order"
        )
    from workflow_scripts.dataset.order.batch_options import RunNumbers, opened_rows

    numbers = RunNumbers(
        recipe.sequence_length, recipe.data_seed, recipe.train_iterations, recipe.batch_rows, data_path=None
    )
    with opened_rows(options, numbers) as source:
        yield source


def check_tokens(rows: NDArray[np.integer], first_row: int, vocab_size: int) -> None:
    """Raise DataError naming the first token that has no row in the embedding."""
    if rows.size == 0 or int(rows.max()) < vocab_size:
        return
    row, position = (int(index) for index in np.argwhere(rows >= vocab_size)[0])
    raise DataError(
        f"row {first_row + row}, position {position}: token {rows[row, position]} is outside the vocabulary of "
        f"{vocab_size}; use the model's tokenizer or a recipe with a larger vocab_size"
    )


def check_source(source: RowSource, recipe: Recipe, first: int, last: int) -> None:
    """Refuse a source that cannot feed iterations [first, last), before any of them is run."""
    wanted = last * recipe.batch_rows
    if source.n_rows < wanted:
        raise DataError(
            f"the data hold {source.n_rows} rows in training order and iteration {last} needs {wanted}; build the "
            f"index maps for at least {last} iterations of {recipe.batch_rows} rows"
        )
    start, stop = first * recipe.batch_rows, wanted
    width = source.rows(0, 1).shape[1]
    if width != recipe.sequence_length + 1:
        raise DataError(
            f"rows have {width} tokens; the recipe needs sequence_length + 1 = {recipe.sequence_length + 1}"
        )
    if (stop - start) * width > CHECK_TOKENS:
        stop = start + recipe.batch_rows  # every later batch is checked when it is read
    block = max(1, CHECK_BLOCK // width)
    for begin in range(start, stop, block):
        check_tokens(source.rows(begin, min(begin + block, stop)), begin, recipe.vocab_size)


def batch_of(source: RowSource, recipe: Recipe, iteration: int) -> Tensor:
    """Rows of iteration ``iteration`` (0, 1 ...), int64 ``[batch_rows, sequence_length + 1]``."""
    start = iteration * recipe.batch_rows
    rows = source.rows(start, start + recipe.batch_rows)
    check_tokens(rows, start, recipe.vocab_size)
    return torch.from_numpy(rows.astype(np.int64))


def micro_batch_rows(recipe: Recipe, wanted: int | None, processes: int = 1) -> int:
    """Rows that go through the network at once: ``wanted``, or the largest share of at most 4096 tokens.

    Raises ConfigError where the batch does not divide.
    """
    share, rest = divmod(recipe.batch_rows, processes)
    if rest:
        raise ConfigError(f"a batch of {recipe.batch_rows} rows cannot be divided among {processes} processes")
    if wanted is not None:
        if wanted < 1 or share % wanted:
            raise ConfigError(f"--micro-batch {wanted} does not divide the {share} rows of a process")
        return wanted
    fitting = [
        size
        for size in range(1, share + 1)
        if share % size == 0 and size * recipe.sequence_length <= MICRO_BATCH_TOKENS
    ]
    return max(fitting, default=1)


def micro_batches(batch: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and targets, each ``[size, sequence_length]``, of consecutive micro-batches of ``batch``."""
    for start in range(0, batch.shape[0], size):
        part = batch[start : start + size]
        yield part[:, :-1], part[:, 1:]
