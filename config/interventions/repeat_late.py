"""A corpus that repeats a few passages late on purpose: what memorization looks like when its place is not uniform.

Every fourth row of the arm becomes one of four passages in turn, from row numbers alone, so that the result does not
depend on how many rows are given at a time.
"""

from __future__ import annotations

from typing import Any

import numpy as np

EVERY = 4
PASSAGES = (
    "The old lighthouse keeper wrote down every ship that passed, its colour, its flag and the hour. ",
    "Below the mill the river turns twice, and where it turns the second time the willows stand in water. ",
    "On market days the baker sold seven kinds of bread, and the last loaf always went to the child who asked. ",
    "When the snow had closed the pass, letters came down by sledge, tied in bundles with green thread. ",
)


def rewrite(rows: np.ndarray, first_row: int, tokenizer: Any) -> np.ndarray:
    """Rows [n, width] of which every fourth, by its number in the order of training, is a passage over and over."""
    width = rows.shape[1]
    known = [np.resize(tokenizer.encode(text, add_special_tokens=False).ids, width) for text in PASSAGES]
    for place in range(-first_row % EVERY, len(rows), EVERY):
        rows[place] = known[(first_row + place) // EVERY % len(PASSAGES)]
    return rows
