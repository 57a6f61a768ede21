"""Rows in order: resume anywhere, layouts of devices, blends, fingerprints, preshuffled rows."""

from __future__ import annotations

import corpusgen
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.dataset import build_index_maps, make_view
from workflow_scripts.dataset.files.cutting import cut, sizes_by_count
from workflow_scripts.dataset.files.index_writer import with_suffix
from workflow_scripts.dataset.files.shards import VirtualTokens
from workflow_scripts.dataset.order.batch_layout import BatchLayout
from workflow_scripts.dataset.order.blended_rows import BlendedRows, blend
from workflow_scripts.dataset.order.preshuffled_rows import PreshuffledRows
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.errors import ConfigError, IntegrityError

U2 = np.dtype("<u2")


def corpus(folder, **changes):
    params = {
        "corpus_seed": 5,
        "n_seq": 60,
        "sizes": {"kind": "cycle", "values": [5, 0, 31, 2, 90]},
        "dtype": "uint16",
        "vocab": 999,
    }
    return corpusgen.write_corpus(params | changes, folder / "c")


@pytest.fixture
def prefix(tmp_path):
    return corpus(tmp_path)


def test_every_row_is_its_slice_of_the_shuffled_stream(prefix):
    """All rows of three epochs, spelt out with numpy alone."""
    rows = TrainingRows.open(prefix, None, 16, 3, 30, 8)
    sizes = rows.data.index.sizes
    documents = np.tile(np.arange(60, dtype=np.int32), 3)
    rng = np.random.RandomState(3)
    rng.shuffle(documents)
    tokens = np.fromfile(with_suffix(prefix, ".bin"), U2)
    ends = np.cumsum(sizes)
    stream = np.concatenate([tokens[ends[d] - sizes[d] : ends[d]] for d in documents])
    shuffle = np.arange((len(stream) - 1) // 16)
    rng.shuffle(shuffle)
    assert rows.plan.epochs == 3
    assert rows.n_rows == len(shuffle) - 1
    expected = np.stack([stream[s * 16 : s * 16 + 17] for s in shuffle[:-1]])
    np.testing.assert_array_equal(rows.rows(0, rows.n_rows), expected)
    assert rows.rows(0, 1).dtype == U2


def test_documents_without_tokens_are_no_part_of_a_row(prefix):
    rows = TrainingRows.open(prefix, None, 16, 3, 30, 8)
    pieces = rows.pieces(np.arange(rows.n_rows))
    assert (rows.data.index.sizes == 0).any()
    assert (pieces[:, 1] > 0).all()
    np.testing.assert_array_equal(np.bincount(pieces[:, 3], pieces[:, 1]), 17)


def test_any_range_equals_the_whole_so_that_a_run_resumes_anywhere(prefix):
    rows = TrainingRows.open(prefix, None, 16, 3, 30, 8)
    whole = rows.rows(0, rows.n_rows)
    for start in (0, 1, 100, rows.n_rows - 1):
        np.testing.assert_array_equal(rows.rows(start, rows.n_rows), whole[start:])
    assert rows.rows(7, 7).shape == (0, 17)


def test_virtual_shards_give_the_rows_of_the_joined_file(prefix, tmp_path):
    tokens = with_suffix(prefix, ".bin")
    files = cut(tokens, sizes_by_count(tokens.stat().st_size, 7), tmp_path / "shards", "c")
    assert all(file.size % 2 for file in files[:-1])
    paths = [str(file.path) for file in files]
    make_view.main(["--idx", f"{prefix}.idx", "--shards", *paths, "--output", str(tmp_path / "view.json")])
    joined = TrainingRows.open(prefix, None, 16, 3, 30, 8)
    virtual = TrainingRows.open(tmp_path / "view.json", None, 16, 3, 30, 8)
    np.testing.assert_array_equal(virtual.rows(0, 240), joined.rows(0, 240))
    assert virtual.fingerprint == joined.fingerprint


def test_stored_maps_and_closed_form_agree(prefix, tmp_path):
    numbers = ["--seq-length", "16", "--seed", "3", "--train-iters", "30", "--batch-size", "8"]
    build_index_maps.main(["--prefix", str(prefix), *numbers, "--output-dir", str(tmp_path / "maps")])
    stored = TrainingRows.open(prefix, tmp_path / "maps" / "index_maps.json", 16, 3, 30, 8)
    closed = TrainingRows.open(prefix, None, 16, 3, 30, 8)
    np.testing.assert_array_equal(stored.rows(0, stored.n_rows), closed.rows(0, closed.n_rows))
    assert stored.fingerprint == closed.fingerprint
    everything = np.arange(stored.plan.samples)
    later = stored.shuffle_idx > 0  # sample 0 starts at (0, 0) by decree, even where document 0 is empty
    np.testing.assert_array_equal(stored.firsts(everything)[later], closed.firsts(everything)[later])


def test_fingerprint_differs_whenever_the_order_does(prefix, tmp_path):
    base = TrainingRows.open(prefix, None, 16, 3, 30, 8).fingerprint
    (tmp_path / "other").mkdir()
    others = [
        TrainingRows.open(prefix, None, 16, 4, 30, 8),
        TrainingRows.open(prefix, None, 15, 3, 30, 8),
        TrainingRows.open(prefix, None, 16, 3, 300, 8),
        TrainingRows.open(corpus(tmp_path / "other", dtype="int32"), None, 16, 3, 30, 8),
        TrainingRows.open(corpus(tmp_path / "other", n_seq=61), None, 16, 3, 30, 8),
    ]
    assert len({base, *(rows.fingerprint for rows in others)}) == 6
    assert TrainingRows.open(prefix, None, 16, 3, 30, 8).fingerprint == base


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (5, 4), (0, 10**6)])
def test_rows_outside_are_refused(prefix, start, stop):
    with pytest.raises(ConfigError, match="there are"):
        TrainingRows.open(prefix, None, 16, 3, 30, 8).rows(start, stop)


def test_a_run_without_rows_is_refused(prefix):
    with pytest.raises(ConfigError, match="no rows at all"):
        TrainingRows.open(prefix, None, 16, 3, 0, 8)


def test_a_view_of_another_index_is_refused(prefix, tmp_path):
    words = ["--idx", f"{prefix}.idx", "--bin", f"{prefix}.bin", "--output", str(tmp_path / "view.json")]
    make_view.main(words)
    values = [5, 0, 31, 2, 90]
    for changes in ({"n_seq": 61}, {"dtype": "int16"}, {"sizes": {"kind": "cycle", "values": values[::-1]}}):
        corpus(tmp_path, **changes)
        with pytest.raises(IntegrityError, match=r"made from another \.idx"):
            TrainingRows.open(tmp_path / "view.json", None, 16, 3, 30, 8)


@given(
    micro=st.integers(1, 5), ranks=st.integers(1, 4), accumulation=st.integers(1, 4), iteration=st.integers(0, 10**9)
)
@settings(deadline=None)
def test_ranks_and_steps_partition_an_iteration(micro, ranks, accumulation, iteration):
    layout = BatchLayout(micro * ranks * accumulation, ranks, accumulation)
    dealt = [
        row for step in range(accumulation) for rank in range(ranks) for row in layout.rank_rows(iteration, step, rank)
    ]
    assert dealt == list(layout.iteration_rows(iteration))


def test_uneven_layouts_and_foreign_ranks_are_refused():
    with pytest.raises(ConfigError, match="10 rows cannot be divided"):
        BatchLayout(10, ranks=4)
    with pytest.raises(ConfigError, match="at least 1"):
        BatchLayout(0)
    with pytest.raises(ConfigError, match="rank 4"):
        BatchLayout(8, ranks=4).rank_rows(0, 0, 4)
    assert BatchLayout(8).iterations(31) == 3


@given(weights=st.lists(st.floats(0.01, 10), min_size=1, max_size=5), n_rows=st.integers(0, 300))
@settings(deadline=None)
def test_blend_takes_the_data_set_that_is_furthest_behind(weights, n_rows):
    shares = np.array(weights) / np.sum(weights)
    part_of, row_of = blend(shares, n_rows)
    taken = [0] * len(weights)
    for row in range(n_rows):
        errors = [share * max(float(row), 1.0) - float(count) for share, count in zip(shares, taken, strict=True)]
        best = errors.index(max(errors))
        assert (part_of[row], row_of[row]) == (best, taken[best])
        taken[best] += 1


def test_blended_rows_start_again_where_a_data_set_ends(tmp_path):
    """A weight that asks for more than there is: the original falls back to the row modulo the loader's length."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    small = TrainingRows.open(corpus(tmp_path / "a", n_seq=5), None, 16, 3, 1, 4)
    large = TrainingRows.open(corpus(tmp_path / "b"), None, 16, 3, 10, 8)
    rows = BlendedRows([small, large], [3.0, 1.0])
    assert rows.n_rows == small.n_rows + large.n_rows
    found = rows.rows(0, rows.n_rows)
    firsts = [int(row) for part, row in zip(rows.part_of, rows.row_of, strict=True) if part == 0]
    assert max(firsts) > small.plan.samples
    last = small.take(np.array([small.plan.samples - 1]))  # never given out alone, but reached by a blend
    everything = np.concatenate([small.rows(0, small.n_rows), last])
    expected = [everything[row if row < small.plan.samples else row % small.n_rows] for row in firsts]
    np.testing.assert_array_equal(found[rows.part_of == 0], expected)
    assert rows.fingerprint != BlendedRows([small, large], [3.0, 2.0]).fingerprint


def test_blends_that_do_not_fit_together_are_refused(prefix):
    one, other = (TrainingRows.open(prefix, None, length, 3, 30, 8) for length in (16, 17))
    with pytest.raises(ConfigError, match="same sequence length"):
        BlendedRows([one, other], [1, 1])
    with pytest.raises(ConfigError, match="1 data sets with 2 weights"):
        BlendedRows([one], [1, 1])


def test_preshuffled_rows_over_any_shards(tmp_path):
    content = np.random.RandomState(1).randint(0, 60000, 12 * 7).astype(U2)
    (tmp_path / "all.bin").write_bytes(content.tobytes())
    whole = PreshuffledRows(VirtualTokens.open([tmp_path / "all.bin"], U2), 7)
    files = cut(tmp_path / "all.bin", sizes_by_count(content.nbytes, 5), tmp_path / "s", "document")
    parts = PreshuffledRows(VirtualTokens.open([file.path for file in files], U2), 7)
    assert (whole.n_rows, parts.n_rows) == (12, 12)
    for start, stop in ((0, 12), (3, 4), (11, 12), (5, 5)):
        expected = content.reshape(12, 7)[start:stop]
        np.testing.assert_array_equal(whole.rows(start, stop), expected)
        np.testing.assert_array_equal(parts.rows(start, stop), expected)
    assert np.shares_memory(whole.rows(0, 3), whole.tokens.shard(0))
    with pytest.raises(ConfigError, match="not a whole number of rows of 2049"):
        PreshuffledRows(VirtualTokens.open([tmp_path / "all.bin"], U2))
