"""The first columns of a tab-separated table; the others are not interpreted."""

import csv
from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.errors import DataError, MissingInputError


def read_columns(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The first columns of a tab-separated table, called ``names``; lines that start with ``#`` are passed over.

    Raises MissingInputError where there is no table, DataError for one that does not have these columns.
    """
    try:
        lines = [line for line in path.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    except FileNotFoundError:
        raise MissingInputError(
            f"{path}: there is no such table; expected the columns {', '.join(names)} ..."
        ) from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not UTF-8 text at byte {error.start}") from None
    rows = csv.reader(lines, delimiter="\t")
    if tuple(next(rows, [])[: len(names)]) != names:
        raise DataError(f"{path}: does not start with the columns {', '.join(names)}")
    for row in rows:
        if len(row) < len(names):
            raise DataError(f"{path}: a line has {len(row)} fields, expected at least {len(names)}")
        yield tuple(row[: len(names)])
