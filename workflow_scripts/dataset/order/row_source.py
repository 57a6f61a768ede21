"""What every source of training rows offers, whatever their layout; imports nothing heavy."""

import hashlib
import json
from typing import Protocol

from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.errors import ConfigError
from workflow_scripts.json_values import JsonObject


class Rows(Protocol):
    """Rows in the training order."""

    @property
    def n_rows(self) -> int:
        """Rows there are."""

    @property
    def row_tokens(self) -> int:
        """Tokens of a row: seq_length + 1."""

    @property
    def fingerprint(self) -> str:
        """sha256 that differs when the order differs."""

    def rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop) as an array [stop - start, row_tokens] in the type of the tokens."""


def check_range(start: int, stop: int, n_rows: int) -> None:
    """Raise ConfigError unless 0 <= start <= stop <= n_rows."""
    if not 0 <= start <= stop <= n_rows:
        raise ConfigError(f"rows {start} to {stop} requested, but there are {n_rows} (0 to {n_rows - 1})")


def fingerprint_of(facts: JsonObject) -> str:
    """sha256 of facts that decide an order."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
