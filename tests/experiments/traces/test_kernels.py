"""The compiled search against a search window by window in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError
from workflow_scripts.experiments.traces.gram_table import gram_table
from workflow_scripts.experiments.traces.kernels import flagged_spans, matches_in_rows

TOKENS = st.lists(st.integers(0, 2), min_size=0, max_size=60)
SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=8, max_size=30), min_size=1, max_size=4)


def windows(tokens, length):
    """Every window and where it starts."""
    return [(start, tuple(tokens[start : start + length])) for start in range(len(tokens) - length + 1)]


def longest_matches(row, sequences, shortest):
    """(position, sequence, place in it, length) of every match that cannot be made longer, by definition."""
    found = set()
    for number, sequence in enumerate(sequences):
        for position in range(len(row)):
            for place in range(len(sequence)):
                if position and place and row[position - 1] == sequence[place - 1]:
                    continue
                length = 0
                while (
                    position + length < len(row)
                    and place + length < len(sequence)
                    and row[position + length] == sequence[place + length]
                ):
                    length += 1
                if length >= shortest:
                    found.add((position, number, place, length))
    return found


@settings(deadline=None, max_examples=300)
@given(TOKENS, SEQUENCES, st.integers(8, 17), st.sampled_from(["<u2", "<i4"]), st.integers(0, 3), st.integers(0, 70000))
def test_no_window_is_missed(  # noqa: PLR0917
    tokens, sequences, shortest, dtype, lead, base
):
    """Few different tokens, so that much agrees; at every alignment; tokens above 16 bits in the wider type."""
    base = base if dtype == "<i4" else base % 60000
    sequences = [[base + token for token in sequence] for sequence in sequences if len(sequence) >= shortest]
    if not sequences:
        return
    whole = np.array([0] * lead + [base + token for token in tokens], dtype)
    data = whole[lead:]
    table = gram_table([np.array(sequence, np.int32) for sequence in sequences], shortest)
    flagged = np.zeros(len(data), bool)
    spans = flagged_spans(data, table)
    for first, stop in spans:
        flagged[first:stop] = True
    assert (np.diff(spans.ravel()) > 0).all()
    wanted = {window for sequence in sequences for _, window in windows(sequence, shortest)}
    for start, window in windows(data.tolist(), shortest):
        if window in wanted:
            assert flagged[start : start + shortest].sum() >= 4


@settings(deadline=None, max_examples=200)
@given(st.lists(TOKENS.filter(lambda row: len(row) >= 12), min_size=1, max_size=3), SEQUENCES, st.integers(8, 12))
def test_longest_matches_by_definition(rows, sequences, shortest):
    sequences = [sequence for sequence in sequences if len(sequence) >= shortest]
    if not sequences:
        return
    width = min(len(row) for row in rows)
    data = np.array([row[:width] for row in rows], np.uint16)
    table = gram_table([np.array(sequence, np.int32) for sequence in sequences], shortest)
    begins = np.cumsum([0, *(len(sequence) for sequence in sequences)])
    found = {
        (row, position, int(np.searchsorted(begins, place, side="right")) - 1, place, length)
        for row, position, place, length in matches_in_rows(data, table).tolist()
    }
    wanted = {
        (number, position, sequence, int(begins[sequence]) + place, length)
        for number, row in enumerate(data.tolist())
        for position, sequence, place, length in longest_matches(row, sequences, shortest)
    }
    assert found == wanted


def test_spans_are_few_where_nothing_occurs():
    data = np.random.default_rng(0).integers(0, 50000, 1_000_000).astype(np.uint16)
    strangers = np.random.default_rng(1).integers(0, 50000, (1000, 100)).astype(np.int32)
    assert len(flagged_spans(data, gram_table(list(strangers), 8))) == 0


def test_more_spans_than_there_is_room_for_at_a_time():
    text = np.arange(10, dtype=np.int32)
    data = np.tile(np.r_[text, 99, 99, 99, 99, 99, 99], 100_000).astype(np.uint16)
    spans = flagged_spans(data, gram_table([text], 10))
    assert len(spans) == 100_000
    assert (spans[:, 0] // 16 == np.arange(100_000)).all()


def test_what_is_too_short_is_refused():
    with pytest.raises(ConfigError, match="at least 8"):
        gram_table([np.arange(10, dtype=np.int32)], 7)
    with pytest.raises(ConfigError, match="fewer than the 12"):
        gram_table([np.arange(10, dtype=np.int32)], 12)
