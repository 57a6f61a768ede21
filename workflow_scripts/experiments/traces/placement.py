"""From flagged places in the stored tokens to exposures: rows of the training order, searched exactly.

A flagged stretch of a document becomes every row that holds a token of it, once per copy of the document in the order;
a border between two documents becomes the rows that hold both sides. These rows are read and searched, so a stretch
that was flagged for nothing costs time and no error. A match ends where its row ends: no model saw more of it at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from workflow_scripts.dataset.files.compiled import compiled
from workflow_scripts.dataset.files.indexed import Array
from workflow_scripts.dataset.files.npy_stream import BLOCK
from workflow_scripts.dataset.order.preshuffled_rows import PreshuffledRows
from workflow_scripts.dataset.order.row_pieces import locate, split_rows, stream_starts
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.errors import DataError
from workflow_scripts.experiments.traces.gram_table import GramTable
from workflow_scripts.experiments.traces.kernels import matches_in_rows
from workflow_scripts.experiments.traces.scanning import Integers, Order, Scan, may_cross
from workflow_scripts.experiments.traces.texts import Form, TracedText

ROWS_AT_ONCE = 1024
MOST_ROWS = 50_000_000  # rows to look at: more than this means a text that is everywhere
UNKNOWN = -1
COLUMNS = (
    "text", "domain", "form", "step", "iteration", "row", "position", "length", "text_token", "text_tokens", "whole",
    "document", "document_token", "repeat",
)  # fmt: skip


@dataclass(frozen=True)
class Matches:
    """Longest matches in rows, ``found`` int64 [k, 4] as matches_in_rows gives them with the row's own number first.

    ``entry`` int64 [k]: entry of doc_idx, ``document`` and ``document_token`` int64 [k]: document and token in it at
    which a match begins; -1 where the order does not say.
    """

    found: Integers
    entry: Integers
    document: Integers
    document_token: Integers


def find_matches(order: Order, table: GramTable, scan: Scan, first_row: int, stop_row: int) -> Matches:
    """All matches in rows [first_row, stop_row), by row, position and place; ``scan`` is of all stored tokens.

    Raises DataError where a text is in more rows than can be looked at.
    """
    stream = order.stream if isinstance(order, TrainingRows) else None
    starts = np.empty(0, np.int64) if stream is None else stream_starts(stream.documents, stream.sizes)
    rows = candidate_rows(order, table, scan, starts)
    rows = rows[(rows >= first_row) & (rows < stop_row)]
    if len(rows) > MOST_ROWS:
        raise DataError(
            f"the texts may be in {len(rows):,} rows, more than {MOST_ROWS:,}; ask for longer matches or leave out "
            "texts that are everywhere, such as runs of spaces"
        )
    empty = Matches(np.empty((0, 4), np.int64), *(np.empty(0, np.int64) for _ in range(3)))
    portions = [rows[at : at + ROWS_AT_ONCE] for at in range(0, len(rows), ROWS_AT_ONCE)]
    parts = [empty, *(matches_of(order, table, portion, starts) for portion in portions)]
    return Matches(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in dataclasses.fields(Matches))
    )


def matches_of(order: Order, table: GramTable, rows: Integers, starts: Array) -> Matches:
    """Matches in rows of the given numbers."""
    if isinstance(order, PreshuffledRows):
        found = matches_in_rows(np.concatenate([order.rows(row, row + 1) for row in rows.tolist()]), table)
        nowhere = np.full(len(found), UNKNOWN, np.int64)
        return Matches(numbered(found, rows), nowhere, nowhere, nowhere)
    found = matches_in_rows(order.take(rows), table)
    sample = order.shuffle_idx[rows[found[:, 0]]].astype(np.int64)
    at = locate(order.stream.documents, order.stream.sizes, starts, sample * order.seq_length + found[:, 1])
    document = np.asarray(order.stream.documents[at[:, 0]]).astype(np.int64)
    return Matches(numbered(found, rows), at[:, 0], document, at[:, 1])


def numbered(found: Integers, rows: Integers) -> Integers:
    """Matches with the numbers of their rows in place of places in ``rows``."""
    return np.column_stack([rows[found[:, 0]], found[:, 1:]])


def candidate_rows(order: Order, table: GramTable, scan: Scan, starts: Array) -> Integers:
    """Numbers of the rows that may hold a match, rising."""
    if isinstance(order, PreshuffledRows):
        width = order.row_tokens
        held = [np.arange(first // width, (stop - 1) // width + 1) for first, stop in scan.spans.tolist()]
        return np.unique(np.concatenate([np.empty(0, np.int64), *held]))
    wanted = np.zeros(order.plan.samples, np.bool_)
    for first, stop in stream_stretches(order, scan, starts):
        mark_samples(wanted, first, stop, order.seq_length)
    crossings = border_positions(order, scan, starts)
    crossings = crossings[crosses(order, table, crossings, starts)]
    mark_samples(wanted, crossings[:, 1], crossings[:, 1] + 1, order.seq_length)
    found = [
        begin + np.flatnonzero(wanted[order.shuffle_idx[begin : begin + BLOCK]])
        for begin in range(0, order.n_rows, BLOCK)
    ]
    rows = np.concatenate([np.empty(0, np.int64), *found])
    return rows[rows < order.n_rows]


@compiled
def mark_samples(wanted: Array, first: Array, stop: Array, seq_length: int) -> None:
    """Set ``wanted`` for each sample that holds one of the stream positions [first[k], stop[k])."""
    for k in range(len(first)):
        for sample in range(
            max((first[k] - 1) // seq_length, 0), min((stop[k] - 1) // seq_length, len(wanted) - 1) + 1
        ):
            wanted[sample] = True


def stream_stretches(order: TrainingRows, scan: Scan, starts: Array) -> Iterator[tuple[Integers, Integers]]:
    """Stream positions [first, stop) of the flagged stretches, in every copy of their documents, block by block."""
    document, first, stop = stretches_by_document(order, scan.spans)
    marked = np.zeros(len(order.stream.sizes), np.bool_)
    marked[document] = True
    for at in range(0, len(order.stream.documents), BLOCK) if len(document) else ():
        documents = np.asarray(order.stream.documents[at : at + BLOCK])
        entries = at + np.flatnonzero(marked[documents])
        owners = documents[entries - at]
        begins = np.searchsorted(document, owners)
        counts = np.searchsorted(document, owners, side="right") - begins
        places = ranges(begins, counts)
        base = np.repeat(entry_starts(order.stream.documents, order.stream.sizes, starts, entries), counts)
        yield base + first[places], base + stop[places]


def ranges(begins: Integers, counts: Integers) -> Integers:
    """``counts[k]`` numbers from ``begins[k]`` on, for each k.

    >>> ranges(np.array([5, 1]), np.array([2, 3])).tolist()
    [5, 6, 1, 2, 3]
    """
    return np.repeat(begins - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())


def stretches_by_document(order: TrainingRows, spans: Integers) -> tuple[Integers, Integers, Integers]:
    """Flagged spans cut at the borders of documents: document, first and stop token in it; by document."""
    itemsize = order.dtype.itemsize
    pointers, sizes = order.data.index.pointers, order.stream.sizes
    low = np.searchsorted(pointers, spans[:, 0] * itemsize, side="right") - 1
    high = np.searchsorted(pointers, spans[:, 1] * itemsize, side="left") - 1
    counts = high - low + 1
    document = ranges(low, counts)
    start = np.asarray(pointers[document]) // itemsize
    first = np.maximum(np.repeat(spans[:, 0], counts) - start, 0)
    stop = np.minimum(np.repeat(spans[:, 1], counts) - start, sizes[document])
    kept = first < stop
    return document[kept].astype(np.int64), first[kept].astype(np.int64), stop[kept].astype(np.int64)


def border_positions(order: TrainingRows, scan: Scan, starts: Array) -> Integers:
    """Borders of the order that a match may cross, int64 [k, 2]: entry of doc_idx behind it, its stream position."""
    flags = np.zeros(len(order.stream.sizes), np.uint8)
    flags[scan.documents] = scan.flags
    documents = order.stream.documents
    found = [np.empty(0, np.int64)]
    for at in range(1, len(documents), BLOCK) if len(scan.documents) else ():
        known = flags[documents[at - 1 : at + BLOCK]]
        found.append(at + np.flatnonzero(may_cross(known[:-1], known[1:])))
    entries = np.concatenate(found)
    return np.stack([entries, entry_starts(documents, order.stream.sizes, starts, entries)], axis=1)


def crosses(order: TrainingRows, table: GramTable, crossings: Integers, starts: Array) -> NDArray[np.bool_]:
    """Which of these borders have a match around them: the tokens on both sides are read, in short windows."""
    reach = table.min_tokens - 1
    total = int(starts[-1])
    found = np.zeros(len(crossings), np.bool_)
    for at in range(0, len(crossings), ROWS_AT_ONCE):
        for k, position in enumerate(crossings[at : at + ROWS_AT_ONCE, 1].tolist()):
            window = stream_tokens(order, max(position - reach, 0), min(position + reach, total), starts)
            found[at + k] = len(matches_in_rows(window[None], table)) > 0
    return found


def stream_tokens(order: TrainingRows, first: int, stop: int, starts: Array) -> Array:
    """Tokens [first, stop) of the stream."""
    firsts = locate(order.stream.documents, order.stream.sizes, starts, np.array([first], np.int64))
    pieces = np.empty((4 + stop - first, 4), np.int64)
    count = split_rows(order.stream, order.dtype.itemsize, firsts, stop - first, pieces)
    return order.data.tokens.gather(pieces[:count, 0], pieces[:count, 1])


@compiled
def entry_starts(documents: Array, sizes: Array, starts: Array, entries: Array) -> Array:
    """Stream position at which each of ``entries`` starts; ``starts`` comes from stream_starts."""
    found = np.empty(len(entries), np.int64)
    for k in range(len(entries)):
        begin = entries[k] // 64 * 64  # row_pieces.py keeps each 64th start
        position = starts[entries[k] // 64]
        for entry in range(begin, entries[k]):
            position += sizes[documents[entry]]
        found[k] = position
    return found


def exposures(matches: Matches, forms: Sequence[Form], texts: Sequence[TracedText], batch_rows: int) -> pd.DataFrame:
    """Matches as a table, a row per exposure in the order of training; see docs/experiments/traces.md for the columns.

    A match of one form that lies within a match of the text's other form is the same exposure and left out.
    """
    ends = np.cumsum([len(form.tokens) for form in forms])
    which = np.searchsorted(ends, matches.found[:, 2], side="right")
    row, position, length = (matches.found[:, column] for column in (0, 1, 3))
    sizes = np.array([len(form.tokens) for form in forms], np.int64)
    place = matches.found[:, 2] - (ends - sizes)[which]
    first, stop = (np.array([getattr(form, name) for form in forms], np.int64)[which] for name in ("first", "stop"))
    owner = np.array([form.text for form in forms], np.int64)[which]
    frame = pd.DataFrame(
        {
            "owner": owner,
            "text": np.array([text.name for text in texts], dtype=object)[owner],
            "domain": np.array([text.domain for text in texts], dtype=object)[owner],
            "form": np.array([form.kind for form in forms], dtype=object)[which],
            "step": row // batch_rows + 1,
            "iteration": row // batch_rows,
            "row": row,
            "position": position,
            "length": length,
            "text_token": place,
            "text_tokens": sizes[which],
            "whole": (place <= first) & (place + length >= stop),
            "document": matches.document,
            "document_token": matches.document_token,
            "entry": matches.entry,
        }
    )
    frame = without_contained(frame)
    frame = frame.sort_values(["row", "position", "owner", "text_token"], kind="stable", ignore_index=True)
    return with_repeats(frame)[list(COLUMNS)]


def with_repeats(frame: pd.DataFrame) -> pd.DataFrame:
    """Add ``repeat``: how many other copies of the document showed this stretch of it earlier; -1 where not known."""
    diagonal = frame["document_token"] - frame["text_token"]
    keys = ["owner", "form", "document", "diagonal"]
    copies = frame.assign(diagonal=diagonal)[[*keys, "entry"]].drop_duplicates()
    copies = copies.assign(repeat=copies.groupby(keys).cumcount())
    joined = frame.assign(diagonal=diagonal).merge(copies, on=[*keys, "entry"], how="left")
    return joined.assign(repeat=joined["repeat"].where(joined["document"] >= 0, UNKNOWN))


def without_contained(frame: pd.DataFrame) -> pd.DataFrame:
    """Leave out matches inside a match of the same text's other form, or equal to one of its given form."""
    by = ["owner", "row", "position", "length", "form"]
    longest = frame.sort_values(by, ascending=[True, True, True, False, True])
    kept = np.ones(len(longest), np.bool_)
    ends: dict[str, int] = {}
    last = None
    for at, (owner, row, position, length, form) in enumerate(zip(*(longest[name] for name in by), strict=True)):
        if (owner, row) != last:
            ends, last = {}, (owner, row)
        kept[at] = all(position + length > end for kind, end in ends.items() if kind != form)
        ends[form] = max(ends.get(form, 0), position + length)
    return longest[kept]
