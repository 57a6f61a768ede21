"""Rows of a data frame, for code that reads single cells: to pandas a cell is any scalar, the code knows its column."""

from collections.abc import Iterator
from typing import Any

import pandas as pd


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """Rows with the columns as attributes."""
    yield from frame.itertuples()


def row_of_largest(frame: pd.DataFrame, column: str) -> pd.Series:
    """First row with the largest value of ``column``; missing values do not count.

    >>> row_of_largest(pd.DataFrame({"size": ["1m", "2m"], "value": [0.5, 0.25]}), "value")["size"]
    '1m'
    """
    return frame.iloc[int(frame[column].argmax())]
