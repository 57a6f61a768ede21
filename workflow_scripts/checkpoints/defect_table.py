r"""Defects of checkpoints as a table, ``defects.tsv``: written by the audit, obeyed by fetch and by the graph.

One line per model, step and kind of defect, with what was seen. A defective checkpoint is refused or left out by name,
never silently plotted. The table is sorted, so that equal findings give equal bytes.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from workflow_scripts.checkpoints.ledger_file import order
from workflow_scripts.errors import DataError, MissingInputError, ModelError
from workflow_scripts.storage.atomic import write_text
from workflow_scripts.table_columns import read_columns

HEADER = ("model", "revision", "kind", "detail")


@dataclass(frozen=True)
class Defect:
    """One thing wrong with one revision; ``kind`` is one of the audit's kinds, ``detail`` says what was seen."""

    model: str
    revision: str
    kind: str
    detail: str


def format_defects(defects: Iterable[Defect]) -> str:
    """Text of the table, sorted by model, step and kind."""
    rows = sorted(set(defects), key=lambda d: (order((d.model, d.revision)), d.kind, d.detail))
    target = io.StringIO()
    csv.writer(target, delimiter="\t", lineterminator="\n").writerows([HEADER, *map(astuple, rows)])
    return target.getvalue()


def write_defects(path: Path, defects: Iterable[Defect]) -> None:
    """Write the table atomically."""
    write_text(path, format_defects(defects))


def read_defects(path: Path) -> list[Defect]:
    """Defects in the table at ``path``; raises MissingInputError or DataError."""
    try:
        rows = list(csv.reader(io.StringIO(path.read_text("utf-8")), delimiter="\t"))
    except FileNotFoundError:
        raise MissingInputError(f"{path}: no such table of defects; create it with the target `audit`") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not a table of defects ({error})") from None
    if not rows or tuple(rows[0]) != HEADER or any(len(row) != len(HEADER) for row in rows):
        raise DataError(f"{path}: not a table of defects; expected the columns {', '.join(HEADER)}")
    return [Defect(*row) for row in rows[1:]]


def refuse_defective(path: Path, model: str, revision: str) -> None:
    """Raise ModelError when the table at ``path`` names this checkpoint."""
    found = [defect for defect in read_defects(path) if (defect.model, defect.revision) == (model, revision)]
    if found:
        said = "; ".join(f"{defect.kind}: {defect.detail}" for defect in found)
        raise ModelError(f"{model} {revision}: rejected because {path} lists it as defective ({said})")


def known_defects(path: str) -> dict[tuple[str, str], list[str]]:
    """Kinds of defects by (model, revision) in the table at ``path``; raises MissingInputError or DataError."""
    found: dict[tuple[str, str], list[str]] = {}
    for model, revision, kind in read_columns(Path(path), HEADER[:3]):
        found.setdefault((model, revision), []).append(kind)
    return found
