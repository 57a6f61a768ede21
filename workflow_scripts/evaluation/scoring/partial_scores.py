"""Scores of a checkpoint that are not complete yet, so that a job that was killed resumes where it was.

``.<output>.unfinished.npz`` beside the output holds the log-probabilities and flags of the first edges of a plan and
says which weights, plan and arithmetic they belong to; anything else in it is ignored, never trusted. It is written
atomically at the ends of segments, at most once in :data:`SECONDS`, and deleted when the output is complete.
"""

import io
import json
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.json_values import JsonMapping
from workflow_scripts.storage.atomic import write_bytes

SECONDS = 60.0  # between two writes; what a kill may cost


@dataclass
class Unfinished:
    """The scores file of ``output`` that grows; ``identity`` is what it must belong to."""

    output: Path
    identity: JsonMapping
    written: float = field(default_factory=time.monotonic)

    @property
    def path(self) -> Path:
        """Its path; a name that the workflow does not delete when a job is killed."""
        return self.output.with_name(f".{self.output.name}.unfinished.npz")

    def read(self, values: NDArray[np.float32], best: NDArray[np.bool_]) -> int:
        """Fill the first entries of ``values`` and ``best`` [edges]; returns the number of rows of the plan done."""
        try:
            with self.path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                said, rows, found, flags = str(file["identity"]), int(file["rows"]), file["values"], file["best"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return 0
        if said != self.label or len(found) != len(flags) or len(found) > len(values):
            return 0
        values[: len(found)], best[: len(found)] = found, flags
        return rows

    @property
    def label(self) -> str:
        """``identity`` as text."""
        return json.dumps(dict(self.identity), sort_keys=True)

    def write(self, rows: int, values: NDArray[np.float32], best: NDArray[np.bool_]) -> None:
        """Keep the scores of the first ``rows`` rows, unless that was done a moment ago."""
        if time.monotonic() - self.written < SECONDS:
            return
        buffer = io.BytesIO()
        np.savez(buffer, identity=np.array(self.label), rows=np.array(rows), values=values, best=best)
        write_bytes(self.path, buffer.getvalue())
        self.written = time.monotonic()

    def delete(self) -> None:
        """Remove the file: the output is complete."""
        self.path.unlink(missing_ok=True)
