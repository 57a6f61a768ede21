"""The files that one checkpoint's jobs leave: rows of numbers, sketches of tensors, fingerprints of states."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.experiments.dynamics.spectra import Bounded
from workflow_scripts.storage.atomic import atomic_path, write_bytes

COLUMNS = {
    **{"layer": "Int16", "head": "Int16", "part": "string", "metric": "string"},
    **dict.fromkeys(("value", "lower", "upper"), "float64"),
}
FACTS = "facts"


@dataclass(frozen=True)
class Row:
    """One number; ``layer`` and ``head`` are None for whole models, ``part`` names a tensor or a kind of rows."""

    metric: str
    number: Bounded
    part: str = ""
    layer: int | None = None
    head: int | None = None


def frame_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Table of rows, with the columns of ``COLUMNS``."""
    values = [
        (row.layer, row.head, row.part, row.metric, row.number.value, row.number.lower, row.number.upper)
        for row in rows
    ]
    return pd.DataFrame(values, columns=list(COLUMNS)).astype(COLUMNS)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write the table of one checkpoint."""
    with atomic_path(path) as temporary:
        frame_of(rows).to_parquet(temporary, index=False)


@dataclass(frozen=True)
class Sketches:
    """Sketch of every tensor of a checkpoint, its exact norm and number of values, and the places of a sketch."""

    places: int
    tensors: Mapping[str, NDArray[np.float32]]
    norms: Mapping[str, float]
    sizes: Mapping[str, int]

    def write(self, path: Path) -> None:
        """Write all of it into one file."""
        facts = {"places": self.places, "norms": dict(self.norms), "sizes": dict(self.sizes)}
        write_bytes(path, save(dict(self.tensors), {FACTS: json.dumps(facts)}))

    @classmethod
    def read(cls, path: Path) -> Sketches:
        """Sketches in ``path``; raises MissingInputError or DataError."""
        tensors = read_arrays(path)
        try:
            with safe_open(str(path), framework="numpy") as file:
                facts = json.loads(file.metadata()[FACTS])
            return cls(int(facts["places"]), tensors, facts["norms"], facts["sizes"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}: no sketches of a checkpoint ({error}); make them again") from error


def read_arrays(path: Path) -> dict[str, NDArray[np.float32]]:
    """Arrays of a file by name; raises MissingInputError or DataError."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file; run the step that creates it first")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path}: damaged ({error}); make it again") from error
