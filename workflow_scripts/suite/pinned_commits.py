"""Facts about checkpoints that the graph needs before it runs: pinned commits and known defects.

Both are tables that other programs write (checkpoints/ledger_file.py, checkpoints/defects.py) and check; here only the
columns that the grid depends on are read.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.errors import DataError, MissingInputError

LEDGER_COLUMNS = ("model", "step", "commit")
DEFECT_COLUMNS = ("model", "revision", "kind")


def columns(path: Path, names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The first columns of a tab-separated table, called ``names``; lines that start with ``#`` are passed over."""
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


def pinned_commits(path: str) -> dict[tuple[str, str], str]:
    """Commit by (model, step as text) in the ledger at ``path``; empty when there is no ledger."""
    if not Path(path).is_file():
        return {}
    return {(model, step): commit for model, step, commit in columns(Path(path), LEDGER_COLUMNS)}


def known_defects(path: str) -> dict[tuple[str, str], list[str]]:
    """Kinds of defects by (model, revision) in the table at ``path``; raises MissingInputError or DataError."""
    found: dict[tuple[str, str], list[str]] = {}
    for model, revision, kind in columns(Path(path), DEFECT_COLUMNS):
        found.setdefault((model, revision), []).append(kind)
    return found
