"""Second exposures against a plain walk over the documents of each row."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.dataset.files.index_writer import indexed_writer
from workflow_scripts.dataset.order.preshuffled_rows import PreshuffledRows
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.errors import ConfigError
from workflow_scripts.experiments.memory.exposures import earliest_of_other_copies, second_exposures


def by_walking(source, rows):
    """The same by following the stream token by token."""
    length = source.seq_length
    owner = np.repeat(np.arange(len(source.stream.documents)), source.stream.sizes[source.stream.documents])
    met: dict[int, dict[int, int]] = {}
    touched = []
    for row in range(rows):
        start = int(source.shuffle_idx[row]) * length
        entries = owner[start : start + length + 1]
        touched.append(entries)
        for entry in entries:
            met.setdefault(int(source.stream.documents[entry]), {}).setdefault(int(entry), row)
    result = []
    for row, entries in enumerate(touched):
        first = int(entries[0])
        copies = met[int(source.stream.documents[first])]
        result.append(any(seen < row for entry, seen in copies.items() if entry != first))
    return result


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=12))
def test_other_copies_by_definition(pairs):
    documents, rows = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
    found = earliest_of_other_copies(documents, rows)
    for place in range(len(pairs)):
        others = [rows[k] for k in range(len(pairs)) if k != place and documents[k] == documents[place]]
        assert found[place] == (min(others) if others else np.iinfo(np.int64).max)


@pytest.fixture
def source(tmp_path):
    """Twelve documents of 3 to 14 tokens, read about two and a half times."""
    lengths = np.random.default_rng(0).integers(3, 15, 12)
    with indexed_writer(tmp_path / "text", np.dtype("<u2")) as writer:
        for length in lengths:
            writer.add(list(range(length)))
            writer.end_document()
    rows = int(2.5 * lengths.sum() / 8)
    return TrainingRows.open(tmp_path / "text", None, 8, 1234, rows // 2, 2)


def test_rows_that_repeat_a_document(source):
    rows = source.n_rows // 2 * 2
    found = second_exposures(source, rows)
    assert found.tolist() == by_walking(source, rows)
    assert 0 < found.sum() < rows


def test_one_pass_repeats_nothing(tmp_path):
    with indexed_writer(tmp_path / "text", np.dtype("<u2")) as writer:
        for _ in range(60):
            writer.add(list(range(10)))
            writer.end_document()
    rows = TrainingRows.open(tmp_path / "text", None, 8, 1234, 20, 2)
    assert not second_exposures(rows, 40).any()


def test_preshuffled_rows_are_refused():
    with pytest.raises(ConfigError, match="preshuffled"):
        second_exposures(object.__new__(PreshuffledRows), 1)
