"""How often was the text of a training row seen before? Needed where training reads its data more than once.

A deduplicated data set is read about one and a half times; GPT-NeoX mixes the copies of all epochs, so a row cannot be
told to be a repetition from its place. Each entry of doc_idx is one copy of a document. A row counts as a repetition
when another copy of the document that it starts in was touched by an earlier row. It must not read a token.
"""

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.errors import ConfigError, DataError
from workflow_scripts.training.run.training_rows import RowSource

Integers = NDArray[np.int64]
BLOCK = 1 << 14
NEVER = np.iinfo(np.int64).max


def second_exposures(source: RowSource, stop: int) -> NDArray[np.bool_]:
    """True for each row in [0, stop) whose first document was seen before through another copy.

    Raises ConfigError for data whose documents are not known (preshuffled rows).
    """
    if not isinstance(source, TrainingRows):
        raise ConfigError("second exposures need the documents of each row, which preshuffled rows do not have")
    entries = source.stream.documents
    starts = np.empty(stop, dtype=np.int64)
    earliest = np.full(len(entries), NEVER, dtype=np.int64)
    for begin in range(0, stop, BLOCK):
        numbers = np.arange(begin, min(begin + BLOCK, stop), dtype=np.int64)
        touched, row = touched_entries(source, numbers)
        np.minimum.at(earliest, touched, row)
        starts[numbers] = source.firsts(numbers)[:, 0]
    before = earliest_of_other_copies(np.asarray(entries), earliest)
    return np.asarray(before[starts] < np.arange(stop))


def touched_entries(source: TrainingRows, numbers: Integers) -> tuple[Integers, Integers]:
    """Entries of doc_idx that the given rows touch, and the row of each: two int64 arrays of one length."""
    pieces = source.pieces(numbers)
    place = pieces[:, 3].astype(np.int64)
    first = np.searchsorted(place, np.arange(len(numbers)))
    entry = source.firsts(numbers)[place, 0].astype(np.int64) + np.arange(len(place)) - first[place]
    if not np.array_equal(np.asarray(source.stream.documents)[entry], pieces[:, 2]):
        raise DataError("the documents of a row do not follow each other in doc_idx; an empty document lies between")
    return entry, numbers[place]


def earliest_of_other_copies(documents: NDArray[np.integer], earliest: Integers) -> Integers:
    """For each entry, the first row that touched another entry of the same document; a huge number if none did.

    >>> earliest_of_other_copies(np.array([7, 8, 7]), np.array([5, 6, 2])).tolist()[::2]
    [2, 5]
    """
    order = np.lexsort((earliest, documents))
    sorted_documents, sorted_rows = documents[order], earliest[order]
    begins = np.flatnonzero(np.r_[True, sorted_documents[1:] != sorted_documents[:-1]])
    group = np.cumsum(np.r_[True, sorted_documents[1:] != sorted_documents[:-1]]) - 1
    first = sorted_rows[begins]
    padded = np.r_[sorted_rows, NEVER]
    second_place = np.minimum(begins + 1, len(sorted_rows))
    is_same = np.r_[sorted_documents, -1][second_place] == sorted_documents[begins]
    second = np.where(is_same, padded[second_place], NEVER)
    is_first = np.arange(len(order)) == begins[group]
    result = np.empty(len(order), dtype=np.int64)
    result[order] = np.where(is_first, second[group], first[group])
    return result
