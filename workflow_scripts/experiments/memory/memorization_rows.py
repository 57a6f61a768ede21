"""The scored rows of one checkpoint, joined from the tables of its jobs and checked to be whole.

A missing range, two jobs with other lengths of prompt or continuation, or a duplicate row is refused: a
statistic over an incomplete order would answer another question.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workflow_scripts.errors import DataError, MissingInputError, shorten
from workflow_scripts.experiments.outputs import read_frame
from workflow_scripts.json_values import JsonMapping, read_object
from workflow_scripts.storage.records import record_path
from workflow_scripts.suite.experiment_files import ROOT, RowRange, exposures_file, row_ranges
from workflow_scripts.suite.models import Model

COLUMNS = ("row", "batch", "first_miss", "memorized")


@dataclass(frozen=True)
class MemorizedRows:
    """Rows in training order: ``row`` int64 [n], ``memorized`` and ``repeated`` bool [n]; ``span`` is all rows seen."""

    row: NDArray[np.int64]
    memorized: NDArray[np.bool_]
    repeated: NDArray[np.bool_]
    span: int

    def where(self, mask: NDArray[np.bool_]) -> "MemorizedRows":
        """The rows that ``mask`` chooses, with the same span."""
        return MemorizedRows(self.row[mask], self.memorized[mask], self.repeated[mask], self.span)


def placed(path: str, root: Path) -> Path:
    """A path of the graph (``results/...``) below another results folder."""
    return root / Path(path).relative_to(Path(ROOT).parent)


def read_range(job: RowRange, root: Path, settings: JsonMapping) -> pd.DataFrame:
    """Scores of one job; raises DataError when they were made with other lengths than the run's."""
    path = placed(job.path, root)
    frame = read_frame(path, COLUMNS)
    record = record_path(path)
    if record.is_file():
        made = read_object(record, "record of scores", "rescore it", "parameters")["parameters"]
        for key in ("prompt", "continuation", "every"):
            if made.get(key) != settings[key]:
                raise DataError(f"{path}: made with {key} {made.get(key)}, the run has {settings[key]}; rescore it")
    return frame


def read_rows(model: Model, step: int, settings: JsonMapping, root: Path) -> tuple[MemorizedRows, list[Path]]:
    """All scored rows of one checkpoint and the files they came from; raises MissingInputError or DataError."""
    jobs = [job for job in row_ranges(model, settings) if job.step == step]
    paths = [placed(job.path, root) for job in jobs]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise MissingInputError(f"{len(missing)} tables of memorization scores are missing: {shorten(missing, 3)}")
    frame = pd.concat([read_range(job, root, settings) for job in jobs], ignore_index=True)
    row = frame["row"].to_numpy(dtype=np.int64)
    seen = model.step(step).rows
    if (np.diff(row) <= 0).any() or (settings["every"] == 1 and len(row) != seen):
        raise DataError(f"{model.name} step {step}: {len(row)} rows are scored, {seen} were trained on; rescore it")
    repeated, files = read_exposures(model, row, root)
    return MemorizedRows(row, frame["memorized"].to_numpy(dtype=bool), repeated, seen), [*paths, *files]


def read_exposures(model: Model, row: NDArray[np.int64], root: Path) -> tuple[NDArray[np.bool_], list[Path]]:
    """Which of the rows repeat a document seen before; raises MissingInputError where that was not looked at."""
    path = placed(exposures_file(model.suite, model.dataset), root)
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file; snakemake {path} makes it")
    with np.load(path, allow_pickle=False) as file:
        repeated = np.unpackbits(file["repeated"]).astype(bool)
    return repeated[row], [path]
