"""Rows that were written out in the training order, back to back: no index and no map is needed.

Row r is bytes [r, r + 1) * row_tokens * 2 of the joined shards (uint16), so iteration k of the Pythia runs is bytes
[4,196,352 k, 4,196,352 (k + 1)). Rows cross the borders of shards. It must not copy a row that one shard holds.
"""

from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.dataset.files.shards import TokenReader
from workflow_scripts.dataset.order.row_source import check_range, fingerprint_of
from workflow_scripts.errors import ConfigError


class PreshuffledRows:
    """Rows that lie back to back in the training order, as in ``pile-deduped-pythia-preshuffled``."""

    def __init__(self, tokens: TokenReader, row_tokens: int = 2049) -> None:
        """``tokens`` is a TokenReader (local shards or remote ones) that holds a whole number of rows."""
        if tokens.n_tokens % row_tokens:
            raise ConfigError(
                f"{tokens.n_tokens} tokens are not a whole number of rows of {row_tokens}; a shard is missing or the "
                "row length is another"
            )
        self.tokens = tokens
        self.row_tokens = row_tokens
        self.n_rows = tokens.n_tokens // row_tokens

    @property
    def fingerprint(self) -> str:
        """sha256 of the shape: the order is in the file itself, so verify its sha256 as well."""
        return fingerprint_of({"preshuffled": 1, "rows": self.n_rows, "row_tokens": self.row_tokens})

    def rows(self, start: int, stop: int) -> Array:
        """Rows [start, stop), [n, row_tokens]; a read-only view of the file where one shard holds them all."""
        check_range(start, stop, self.n_rows)
        tokens = self.tokens.read(start * self.row_tokens, stop * self.row_tokens)
        return tokens.reshape(stop - start, self.row_tokens)
