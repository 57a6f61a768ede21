"""Look-ups in the training order: which document was seen when, and what is where.

A token of the stream at position t is *predicted* (is a label) in exactly one sample, (t - 1) // L, and is an input in
sample t // L; for most tokens the two are the same row. Position 0 of the stream is never predicted, and what lies
behind position N * L is in no sample. All answers are exact for the given order; nothing is estimated.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from workflow_scripts.dataset.files.compiled import compiled
from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.dataset.files.npy_stream import BLOCK
from workflow_scripts.dataset.order.row_pieces import stream_starts
from workflow_scripts.dataset.order.row_source import Rows, check_range
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.errors import ConfigError


@dataclass(frozen=True, order=True)
class Exposure:
    """One place of a token in the training rows; ``position`` 0 to L in its row.

    ``role`` is "input" (position 0, not predicted in this row), "label" (position L, predicted but not an input) or
    "both". ``copy`` counts the epochs' copies of the document in stream order.
    """

    row: int
    iteration: int
    position: int
    role: str
    copy: int


@dataclass(frozen=True)
class DocumentRun:
    """Tokens [first, stop) of a document, found in a row from ``position`` on."""

    row: int
    position: int
    document: int
    first: int
    stop: int


@dataclass(frozen=True)
class Occurrence:
    """Where an n-gram starts."""

    iteration: int
    row: int
    position: int


class OrderLookup:
    """Look-ups over ``rows`` dealt out in iterations of ``batch_rows``."""

    def __init__(self, rows: TrainingRows, batch_rows: int) -> None:
        if batch_rows < 1:
            raise ConfigError(f"{batch_rows} rows per iteration; give at least 1")
        self.order = rows
        self.batch_rows = batch_rows

    @cached_property
    def starts(self) -> Array:
        """Stream position of each 64th entry of doc_idx."""
        return stream_starts(self.order.stream.documents, self.order.stream.sizes)

    def entry_start(self, entry: int) -> int:
        """Stream position at which entry ``entry`` of doc_idx starts."""
        first = entry - entry % 64
        between = self.order.stream.documents[first:entry]
        return int(self.starts[first // 64]) + int(self.order.stream.sizes[between].sum(dtype=np.int64))

    def exposures(self, document: int, position: int) -> list[Exposure]:
        """Every row that holds token ``position`` of ``document``, in training order.

        Rows that no loader gives out (the last sample of the order) are left out; rows behind the end of the run are
        not: compare their iteration with the run's length.
        """
        self.check_token(document, position)
        found = []
        for copy, entry in enumerate(places_of(self.order.stream.documents, document)):
            at = self.entry_start(entry) + position
            found += list(self.exposures_of_stream(at, copy))
        return sorted(found)

    def exposures_of_stream(self, at: int, copy: int) -> Iterator[Exposure]:
        """Rows that hold stream position ``at``."""
        length = self.order.seq_length
        wanted = {at // length: at % length}
        if at and at % length == 0:
            wanted[at // length - 1] = length
        for sample, position in wanted.items():
            if sample >= self.order.plan.samples:
                continue
            row = places_of(self.order.shuffle_idx, sample)[0]
            if row < self.order.n_rows:
                role = {0: "input", length: "label"}.get(position, "both")
                yield Exposure(row, row // self.batch_rows, position, role, copy)

    def check_token(self, document: int, position: int) -> None:
        """The document and the token in it must exist."""
        index = self.order.data.index
        if not self.order.plan.first <= document < self.order.plan.stop:
            raise ConfigError(
                f"document {document}: this set has {self.order.plan.first} to {self.order.plan.stop - 1}"
            )
        if not 0 <= position < index.sizes[document]:
            raise ConfigError(f"token {position}: document {document} has {index.sizes[document]} tokens")

    def documents(self, iteration: int) -> list[DocumentRun]:
        """The content of the rows of an iteration, in order."""
        first = iteration * self.batch_rows
        check_range(first, first + self.batch_rows, self.order.n_rows)
        pieces = self.order.pieces(np.arange(first, first + self.batch_rows, dtype=np.int64))
        itemsize = self.order.dtype.itemsize
        runs, position, row = [], 0, -1
        for start, count, document, place in pieces.tolist():
            position = position if place == row else 0
            row = place
            offset = start - int(self.order.data.index.pointers[document]) // itemsize
            runs.append(DocumentRun(first + place, position, document, offset, offset + count))
            position += count
        return runs

    def coverage(self, step: int) -> list[float]:
        """Share of the set's tokens that were predicted 0, 1, ... E times when ``step`` steps were done."""
        consumed = min(step * self.batch_rows, self.order.n_rows)
        seen = np.zeros(self.order.plan.samples, np.bool_)
        seen[self.order.shuffle_idx[:consumed]] = True
        plan = self.order.plan
        entries = entry_starts_by_document(
            self.order.stream.documents, self.order.stream.sizes, plan.first, plan.epochs
        )
        counts = count_predictions(
            entries, self.order.stream.sizes[plan.first : plan.stop], seen, self.order.seq_length
        )
        return [float(count) / plan.tokens for count in counts]


def places_of(values: Array, wanted: int) -> list[int]:
    """Places of ``wanted`` in a large 1-D array, block by block."""
    found: list[int] = []
    for start in range(0, len(values), BLOCK):
        found += (start + np.flatnonzero(values[start : start + BLOCK] == wanted)).tolist()
    return found


def find_ngram(rows: Rows, ngram: Sequence[int], batch_rows: int, start: int, end: int) -> Iterator[Occurrence]:
    """Occurrences of a token n-gram inside the rows of iterations [start, end), in order.

    An n-gram that is cut by the border of a row does not occur: no model saw it whole. The token that two neighbouring
    samples share can make one occurrence show up in two rows only if the n-gram is that single token.
    """
    if not ngram:
        raise ConfigError("the n-gram is empty")
    check_range(start * batch_rows, end * batch_rows, rows.n_rows)
    for iteration in range(start, end):
        batch = rows.rows(iteration * batch_rows, (iteration + 1) * batch_rows)
        for row, position in zip(*np.nonzero(ngram_starts(batch, ngram)), strict=True):
            yield Occurrence(iteration, iteration * batch_rows + int(row), int(position))


def ngram_starts(batch: Array, ngram: Sequence[int]) -> Array:
    """Boolean [rows, row_tokens - n + 1]: does the n-gram start here."""
    width = max(batch.shape[1] - len(ngram) + 1, 0)
    found = np.ones((len(batch), width), np.bool_)
    for offset, token in enumerate(ngram):
        found &= batch[:, offset : offset + width] == token
    return found


@compiled
def entry_starts_by_document(documents: Array, sizes: Array, first: int, epochs: int) -> Array:
    """Stream positions of the copies of each document: int64 [documents, epochs], in stream order."""
    count = len(documents) // epochs
    starts = np.empty((count, epochs), np.int64)
    copies = np.zeros(count, np.int32)
    position = np.int64(0)
    for entry in range(len(documents)):
        document = documents[entry]
        starts[document - first, copies[document - first]] = position
        copies[document - first] += 1
        position += sizes[document]
    return starts


@compiled
def count_predictions(starts: Array, sizes: Array, seen: Array, seq_length: int) -> Array:
    """Number of tokens predicted 0, 1, ... E times: int64 [E + 1]. ``seen`` says which samples were trained on."""
    epochs = starts.shape[1]
    counts = np.zeros(epochs + 1, np.int64)
    for document in range(len(sizes)):
        token = np.int64(0)
        while token < sizes[document]:
            # All tokens up to the next border of a sample, in any copy, share the same answer.
            step = np.int64(sizes[document]) - token
            times = 0
            for copy in range(epochs):
                at = starts[document, copy] + token
                if at == 0:
                    step = min(step, np.int64(1))
                    continue
                sample = (at - 1) // seq_length
                step = min(step, (sample + 1) * seq_length + 1 - at)
                if sample < len(seen) and seen[sample]:
                    times += 1
            counts[times] += step
            token += step
    return counts
