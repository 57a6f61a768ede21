"""Evaluation data as parquet files on disk, laid out like the Hub.

``<data-dir>/<organisation>/<name>/<config>/<split>.parquet``, config being ``default`` where a data set has only one.
Finds the files of a data set and reads them into memory. It never asks the network and never writes a cache.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import DataError, MissingInputError, shorten
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.hashing import sha256_file

DEFAULT_CONFIG = "default"


@dataclass(frozen=True)
class DataFile:
    """One split of one data set.

    ``name`` is the path below the data folder (the same on every machine), ``path`` the file itself.
    """

    name: str
    path: Path

    @property
    def folder(self) -> Path:
        """Data folder that the file lies in."""
        return self.path.parents[self.name.count("/")]

    def sha256(self) -> str:
        """Hexadecimal sha256 of the file."""
        return sha256_file(self.path)


def find_split(folders: Sequence[Path], dataset: str, config: str | None, split: str) -> DataFile | None:
    """File of one split in the first of ``folders`` that has it, or None."""
    name = f"{dataset}/{config or DEFAULT_CONFIG}/{split}.parquet"
    for folder in folders:
        path = folder / name
        if path.is_file():
            return DataFile(name, path)
    return None


def require_split(folders: Sequence[Path], dataset: str, config: str | None, split: str, task: str) -> DataFile:
    """Like :func:`find_split`, but a missing file is a :class:`MissingInputError` that names it and the task."""
    found = find_split(folders, dataset, config, split)
    if found is None:
        name = f"{dataset}/{config or DEFAULT_CONFIG}/{split}.parquet"
        where = shorten([str(folder) for folder in folders])
        raise MissingInputError(
            f"task '{task}': its documents, {name}, are not under {where}; fetch them or leave the task out"
        )
    return found


def read_splits(files: Mapping[str, DataFile], **_: Any) -> dict[str, Any]:
    """Read each split into a ``datasets.Dataset`` in memory; the keyword arguments lm-eval adds are of no use here."""
    return {split: read_parquet(file.path) for split, file in files.items()}


def read_parquet(path: Path) -> Any:
    """Rows of ``path`` as an in-memory ``datasets.Dataset``; :class:`DataError` when it is not a parquet file."""
    import datasets
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise DataError(f"{path}: not a readable parquet file ({error}); fetch it again") from error
    if table.num_rows == 0:
        raise DataError(f"{path}: holds no rows; fetch it again")
    return plain_dataset_class()(datasets.table.InMemoryTable(table))


@functools.cache
def plain_dataset_class() -> Any:
    """``datasets.Dataset`` that hands out its rows as stored in the table, all converted at once.

    lm-eval goes through every row of every split, and the library's own way, row by row through its feature types,
    takes half of the time of a plan. The rows are the same: evaluation data holds text and numbers only.
    """
    import datasets

    class PlainDataset(datasets.Dataset):  # type: ignore[misc]
        """Rows of an Arrow table that has no indices and no format set."""

        def __iter__(self) -> Iterator[JsonObject]:
            yield from self.data.table.to_pylist()

    return PlainDataset
