"""Rows of several data sets mixed by weight, in the order of GPT-NeoX's ``BlendableDataset``.

Row i goes to the data set d whose error ``weight_d * max(i, 1) - taken_d`` (float64) is largest, the first of equals,
and is the next row of that data set. With one data set this is the identity. Costs 9 bytes a row of memory.
"""

from collections.abc import Sequence

import numpy as np

from workflow_scripts.dataset.files.compiled import compiled
from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.dataset.order.row_source import check_range, fingerprint_of
from workflow_scripts.dataset.order.set_plan import normalized
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.errors import ConfigError

MAX_PARTS = 255  # the number of a part is stored in one byte


class BlendedRows:
    """Rows of ``parts`` mixed by ``weights``."""

    def __init__(self, parts: Sequence[TrainingRows], weights: Sequence[float]) -> None:
        """All parts must have the same row length and token type."""
        if len(parts) != len(weights) or not 0 < len(parts) <= MAX_PARTS:
            raise ConfigError(f"{len(parts)} data sets with {len(weights)} weights; give 1 to {MAX_PARTS} of each")
        if len({(part.row_tokens, part.dtype) for part in parts}) != 1:
            raise ConfigError("data sets that are blended must have the same sequence length and token type")
        self.parts = tuple(parts)
        self.row_tokens = parts[0].row_tokens
        self.n_rows = sum(part.n_rows for part in parts)
        # The original normalises twice, here and when it asks for samples; the second time may move the last bit.
        shares = np.array(normalized(weights), np.float64)
        self.shares = shares / np.sum(shares)
        self.part_of, self.row_of = blend(self.shares, self.n_rows)

    @property
    def fingerprint(self) -> str:
        """sha256 over the parts' fingerprints and the shares."""
        return fingerprint_of({"blend": [part.fingerprint for part in self.parts], "shares": self.shares.tolist()})

    def rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop), a new array [stop - start, row_tokens]."""
        check_range(start, stop, self.n_rows)
        part_of, row_of = self.part_of[start:stop], self.row_of[start:stop]
        out = np.empty((stop - start, self.row_tokens), self.parts[0].dtype)
        for number, part in enumerate(self.parts):
            mine = np.flatnonzero(part_of == number)
            if mine.size:
                out[mine] = part.take(wrapped(row_of[mine], part))
        return out


def wrapped(numbers: Array, part: TrainingRows) -> Array:
    """Rows behind the last sample start again from 0, modulo the loader's length, as the original falls back."""
    return np.where(numbers < part.plan.samples, numbers, numbers % part.n_rows)


@compiled
def blend(shares: Array, n_rows: int) -> tuple[Array, Array]:
    """Part (uint8) and row within the part (int64) of each blended row."""
    part_of = np.empty(n_rows, np.uint8)
    row_of = np.empty(n_rows, np.int64)
    taken = np.zeros(len(shares), np.int64)
    for row in range(n_rows):
        scale = max(float(row), 1.0)
        best = 0
        largest = shares[0] * scale - float(taken[0])
        for part in range(1, len(shares)):
            error = shares[part] * scale - float(taken[part])
            if error > largest:
                best, largest = part, error
        part_of[row] = best
        row_of[row] = taken[best]
        taken[best] += 1
    return part_of, row_of
