"""The tidy table of results: one row per number, the same columns as our own scores.

Columns (docs/published-results.md has their meaning): suite, version, model, size, data, arm, shots, step, tokens,
task, task_version, metric, value, stderr, n, source_file, source_sha256, harness, note. Equal content gives equal
bytes: rows are sorted, no time or version of a library is written.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.storage.atomic import atomic_path

WORDS, WHOLE, NUMBER = pa.dictionary(pa.int32(), pa.string()), pa.int32(), pa.float64()
SCHEMA = pa.schema([
    ("suite", WORDS), ("version", WORDS), ("model", WORDS), ("size", WORDS), ("data", WORDS), ("arm", WORDS),
    ("shots", pa.int16()), ("step", WHOLE), ("tokens", pa.int64()), ("task", WORDS), ("task_version", WORDS),
    ("metric", WORDS), ("value", NUMBER), ("stderr", NUMBER), ("n", WHOLE), ("source_file", WORDS),
    ("source_sha256", WORDS), ("harness", WORDS), ("note", WORDS),
])  # fmt: skip
COLUMNS = SCHEMA.names
WHOLE_COLUMNS = tuple(field.name for field in SCHEMA if pa.types.is_integer(field.type))
SORTED_BY = ("metric", "task", "harness", "shots", "model", "step", "source_file")
COMPRESSION_LEVEL = 19


def to_frame(rows: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Frame with the columns of the tidy table in canonical order; text is categorical, whole numbers nullable."""
    frame = pd.DataFrame({name: as_column(name, rows[name]) for name in COLUMNS})
    order = np.lexsort([sort_key(frame[name]) for name in reversed(SORTED_BY)])
    return frame.iloc[order].reset_index(drop=True)


def as_column(name: str, values: Sequence[Any]) -> Any:
    """Values in the pandas type of column ``name``."""
    kind = SCHEMA.field(name).type
    if kind == WORDS:
        return pd.Categorical(values)
    if pa.types.is_integer(kind):
        return pd.array(values, dtype="Int64")  # as read_table gives it: no product of steps overflows
    return np.array(values, dtype=np.float64)


def sort_key(column: pd.Series) -> npt.NDArray[np.int64]:
    """Whole numbers that sort as the column does; missing values first."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return np.asarray(column.cat.codes, dtype=np.int64)
    return np.asarray(column.fillna(-1), dtype=np.int64)


def write_table(frame: pd.DataFrame, output: Path, source: str = "") -> None:
    """Write the tidy table as parquet (zstd, dictionaries), atomically; ``source`` goes into its metadata."""
    table = pa.Table.from_pandas(frame[COLUMNS], preserve_index=False)
    table = table.cast(SCHEMA).replace_schema_metadata({"source": source} if source else None)
    with atomic_path(output) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=COMPRESSION_LEVEL,
            row_group_size=len(table) or 1,
            write_statistics=False,
            store_schema=True,
            dictionary_pagesize_limit=16 << 20,
        )


def read_table(path: Path) -> pd.DataFrame:
    """Read a tidy table; raises MissingInputError or DataError that names the missing columns."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such table; create it with workflow_scripts.published.import_results")
    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a parquet file ({str(error).splitlines()[0]})") from error
    missing = [name for name in COLUMNS if name not in table.column_names and name != "note"]
    if missing:
        raise DataError(f"{path}: columns {', '.join(missing)} are missing; a tidy table has {', '.join(COLUMNS)}")
    nested = [column.name for column in table.schema if pa.types.is_nested(column.type)]
    if nested:
        raise DataError(f"{path}: columns {', '.join(nested)} hold more than one value a row")
    frame: pd.DataFrame = table.to_pandas()
    kinds = dict.fromkeys(WHOLE_COLUMNS, "Int64") | {"value": "float64", "stderr": "float64"}
    try:
        return frame.astype({name: kind for name, kind in kinds.items() if name in frame})
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: not a table of numbers ({error})") from error


def of_protocol(scores: pd.DataFrame, protocol: str) -> pd.DataFrame:
    """Rows of our own scores that were made under ``protocol``; all of a table that knows no protocols."""
    return scores[scores["protocol"] == protocol] if "protocol" in scores else scores


def source_of(path: Path) -> str:
    """What the table at ``path`` was imported from, as given to the importer; empty where it is not said."""
    metadata = pq.read_schema(path).metadata or {}
    return str(metadata.get(b"source", b""), "utf-8")
