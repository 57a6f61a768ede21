"""One pass over stored tokens, in the order in which they lie on the disk: where the texts may be.

What is found are places in the stored tokens, not yet rows of the training order; placement.py makes rows of them and
looks closer. Where the order is made from documents, a match may also begin in one document and end in the next of the
*training order*, which lies anywhere in the files. So each document is noted whose first or last tokens occur in a
text: of eight tokens in two documents at least four are in one of them.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.dataset.files.token_view import TokenData
from workflow_scripts.dataset.order.preshuffled_rows import PreshuffledRows
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.experiments.traces.gram_table import GramTable
from workflow_scripts.experiments.traces.kernels import (
    ENDS_KNOWN,
    ENDS_LIKE,
    IS_SHORT,
    STARTS_KNOWN,
    STARTS_LIKE,
    flag_documents,
    flagged_spans,
)
from workflow_scripts.storage.atomic import write_bytes

BLOCK = 1 << 23  # tokens at a time: 16 MiB
Integers = NDArray[np.int64]
Order = TrainingRows | PreshuffledRows
Stored = TokenData | PreshuffledRows


@dataclass(frozen=True)
class Scan:
    """What a pass over some stored tokens found.

    ``spans`` int64 [k, 2]: rising stretches [first, stop) of stored tokens; every window of a text that occurs in a
    document (or row) shares four tokens with one. ``documents`` int64 [d] and ``flags`` uint8 [d]: documents at whose
    borders a match may begin or end, see kernels.py.
    """

    spans: Integers
    documents: Integers
    flags: NDArray[np.uint8]


def stored_tokens(stored: Stored) -> int:
    """Number of tokens that a pass over everything reads."""
    return int(stored.tokens.n_tokens)


def scan_tokens(
    stored: Stored, table: GramTable, first: int, stop: int, advance: Callable[[float], None] = lambda _: None
) -> Scan:
    """Look through the documents, or rows, that begin in stored tokens [first, stop).

    Jobs whose ranges meet find together what one job finds. ``advance`` is told the tokens done. Raises ConfigError
    for a range that does not exist.
    """
    if not 0 <= first <= stop <= stored_tokens(stored):
        raise ConfigError(f"tokens {first} to {stop} requested, but there are {stored_tokens(stored)}")
    if isinstance(stored, PreshuffledRows):
        parts = rows_scanned(stored, table, first, stop)
    else:
        parts = documents_scanned(stored, table, first, stop)
    spans, documents, flags = [np.empty((0, 2), np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.uint8)]
    for part, tokens in parts:
        spans.append(part.spans)
        documents.append(part.documents)
        flags.append(part.flags)
        advance(float(tokens))
    return Scan(np.concatenate(spans), np.concatenate(documents), np.concatenate(flags))


def rows_scanned(order: PreshuffledRows, table: GramTable, first: int, stop: int) -> Iterator[tuple[Scan, int]]:
    """Blocks of whole rows with the tokens of each."""
    width = order.row_tokens
    nothing = (np.empty(0, np.int64), np.empty(0, np.uint8))
    portion = max(1, BLOCK // width)
    last = -(-stop // width)
    for begin in range(-(-first // width), last, portion):
        end = min(begin + portion, last)
        tokens = order.tokens.read(begin * width, end * width)
        yield Scan(flagged_spans(tokens, table) + begin * width, *nothing), len(tokens)


def documents_scanned(data: TokenData, table: GramTable, first: int, stop: int) -> Iterator[tuple[Scan, int]]:
    """Blocks of whole documents with the tokens of each."""
    index, itemsize = data.index, data.index.dtype.itemsize
    begin, last = (int(n) for n in np.searchsorted(index.pointers, [first * itemsize, stop * itemsize]))
    while begin < last:
        start = int(index.pointers[begin]) // itemsize
        end = int(np.searchsorted(index.pointers, (start + BLOCK) * itemsize))
        end = min(max(end, begin + 1), last)
        starts = np.asarray(index.pointers[begin:end]) // itemsize - start
        sizes = np.asarray(index.sizes[begin:end])
        if (np.diff(starts) < 0).any():
            raise DataError(f"{index.path}: documents do not lie in the order of their numbers; they cannot be scanned")
        tokens = data.tokens.read(start, start + int((starts + sizes).max()))
        flags = np.zeros(end - begin, np.uint8)
        flag_documents(tokens, starts, sizes, table, flags)
        noted = np.flatnonzero(is_noted(flags))
        yield Scan(flagged_spans(tokens, table) + start, begin + noted, flags[noted]), len(tokens)
        begin = end


def is_noted(flags: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Documents that may be one side of a border that a match crosses: their token at the border is in some text."""
    return np.asarray((flags & (STARTS_KNOWN | ENDS_KNOWN)) > 0)


def may_cross(before: NDArray[np.uint8], behind: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """True for each pair of neighbours in the order between whose tokens a match may lie, by their flags."""
    meets = ((before & ENDS_KNOWN) > 0) & ((behind & STARTS_KNOWN) > 0)
    likely = ((before & (ENDS_LIKE | IS_SHORT)) > 0) | ((behind & (STARTS_LIKE | IS_SHORT)) > 0)
    return np.asarray(meets & likely)


def save_scan(path: Path, scan: Scan, identity: str) -> None:
    """Write atomically; ``identity`` says what was looked for, and where."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, spans=scan.spans, documents=scan.documents, flags=scan.flags, identity=np.array(identity)
    )
    write_bytes(path, buffer.getvalue())


def load_scan(path: Path, identity: str | None = None) -> Scan:
    """Read a scan; raises MissingInputError, and DataError for damage or a scan for other texts or data."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such scan; run the job that makes it first")
    try:
        with np.load(path, allow_pickle=False) as content:
            said = str(content["identity"])
            scan = Scan(content["spans"], content["documents"], content["flags"])
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise DataError(f"{path}: not a scan ({error}); delete it and rerun") from error
    if identity is not None and said != identity:
        raise DataError(f"{path}: made for other texts, data or length of match; delete it and rerun")
    return scan


def joined(scans: list[Scan]) -> Scan:
    """Scans of ranges that follow each other as one."""
    return Scan(
        np.concatenate([scan.spans for scan in scans]),
        np.concatenate([scan.documents for scan in scans]),
        np.concatenate([scan.flags for scan in scans]),
    )
