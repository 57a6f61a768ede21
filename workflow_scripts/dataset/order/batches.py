"""Batches of a training run and their ledger.

The ledger has one line per iteration: its number, its first row, the number of rows, and the sha256 of its tokens in
stored order and type (for the preshuffled sets: of exactly the bytes of that range of the file). Two readers of the
same run, over whatever layout, must have the same ledger.
"""

import hashlib
import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.dataset.order.row_source import Rows
from workflow_scripts.errors import ConfigError, DataError, IntegrityError, MissingInputError
from workflow_scripts.storage.atomic import write_text

HEADER = "iteration\tfirst_row\trows\tsha256"
BatchFunction = Callable[[Array, int], Any]


@dataclass(frozen=True)
class Batch:
    """The rows of one iteration: ``tokens`` [rows, row_tokens] in the stored type."""

    iteration: int
    first_row: int
    tokens: Array

    @property
    def sha256(self) -> str:
        """sha256 of the tokens, little endian, row after row."""
        stored = np.ascontiguousarray(self.tokens, dtype=self.tokens.dtype.newbyteorder("<"))
        return hashlib.sha256(stored.data.cast("B")).hexdigest()

    @property
    def ledger_line(self) -> str:
        """This batch's line of the ledger."""
        return f"{self.iteration}\t{self.first_row}\t{len(self.tokens)}\t{self.sha256}"


def batches(rows: Rows, batch_rows: int, iterations: Iterable[int]) -> Iterator[Batch]:
    """The batches of ``iterations``, each read when it is asked for."""
    for iteration in iterations:
        first = iteration * batch_rows
        yield Batch(iteration, first, rows.rows(first, first + batch_rows))


def check_iterations(start: int, end: int, rows: Rows, batch_rows: int) -> range:
    """Iterations [start, end); raises ConfigError unless all of them exist."""
    available = rows.n_rows // batch_rows
    if not 0 <= start < end <= available:
        raise ConfigError(
            f"iterations {start} (inclusive) to {end} (exclusive) requested; available are 0 to {available} (exclusive)"
        )
    return range(start, end)


def write_ledger(path: Path, lines: Iterable[str]) -> None:
    """Write the ledger at ``path``."""
    write_text(path, "\n".join([HEADER, *lines]) + "\n")


def read_ledger(path: Path) -> dict[int, str]:
    """Iteration -> sha256 from a ledger."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such ledger")
    lines = path.read_text(encoding="utf-8").splitlines()
    if not lines or lines[0] != HEADER:
        raise DataError(f"{path}: not a ledger of batches; the first line must be {HEADER!r}")
    hashes = {}
    for number, line in enumerate(lines[1:], 2):
        fields = line.split("\t")
        if len(fields) != 4 or not fields[0].isdecimal():
            raise DataError(f"{path}:{number}: expected iteration, first row, rows and sha256")
        hashes[int(fields[0])] = fields[3]
    return hashes


def check_batch(batch: Batch, ledger: dict[int, str], where: Path) -> None:
    """A batch must have the hash that the ledger says; iterations that it does not list pass."""
    expected = ledger.get(batch.iteration)
    if expected is not None and expected != batch.sha256:
        raise IntegrityError(
            f"iteration {batch.iteration}: tokens have sha256 {batch.sha256}, {where} says {expected}; another order, "
            "another data set or damaged data"
        )


def load_function(name: str) -> BatchFunction:
    """The function that ``module:function`` names; it is called with (batch int64 [rows, row_tokens], iteration).

    Raises ConfigError when there is no such function.
    """
    module, separator, attribute = name.partition(":")
    if not separator or not module or not attribute:
        raise ConfigError(f"--batch-function {name!r}: expected module:function, such as my_statistics:count")
    try:
        function = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if error.name is None or not (module == error.name or module.startswith(error.name + ".")):
            raise
        raise ConfigError(f"--batch-function {name!r}: no module {module}; is its folder on PYTHONPATH?") from error
    if not callable(function):
        raise ConfigError(f"--batch-function {name!r}: module {module} has no function {attribute}")
    result: BatchFunction = function
    return result
