"""Exposures against a search through the bytes of every row, which knows nothing of documents, shards or hashes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.experiments.traces.conftest import SUITE, call, shard
from workflow_scripts.dataset import tokenize_corpus
from workflow_scripts.dataset.files.index_writer import indexed_writer
from workflow_scripts.dataset.files.shards import VirtualTokens
from workflow_scripts.dataset.order.preshuffled_rows import PreshuffledRows
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.errors import ConfigError, DataError
from workflow_scripts.experiments.traces import placement, scanning
from workflow_scripts.experiments.traces.gram_table import gram_table
from workflow_scripts.experiments.traces.placement import exposures, find_matches
from workflow_scripts.experiments.traces.scanning import Scan, joined, load_scan, save_scan, scan_tokens, stored_tokens
from workflow_scripts.experiments.traces.texts import Form, TracedText


def data_of(order):
    """What is scanned for an order: its data, or the rows themselves."""
    return order if isinstance(order, PreshuffledRows) else order.data


def by_reading(rows, grams):
    """(row, position, number of the n-gram) of each occurrence, by searching the bytes of each row."""
    found = set()
    data = [np.ascontiguousarray(row, "<u2").tobytes() for row in rows]
    for number, gram in enumerate(grams):
        wanted = np.asarray(gram, "<u2").tobytes()
        for row, content in enumerate(data):
            at = content.find(wanted)
            while at >= 0:
                if at % 2 == 0:
                    found.add((row, at // 2, number))
                at = content.find(wanted, at + 1)
    return found


def by_scanning(order, grams, shortest, stop_row, jobs=1):
    """The same by the two passes, from several jobs."""
    table = gram_table([np.asarray(gram, np.int32) for gram in grams], shortest)
    total = stored_tokens(data_of(order))
    borders = [total * job // jobs for job in range(jobs + 1)]
    parts = [scan_tokens(data_of(order), table, first, stop) for first, stop in pairwise(borders)]
    matches = find_matches(order, table, joined(parts), 0, stop_row)
    begins = np.cumsum([0, *(len(gram) for gram in grams)])
    whole = {
        (row, position, int(np.searchsorted(begins, place, side="right")) - 1)
        for row, position, place, length in matches.found.tolist()
        if place in begins and length == len(grams[np.searchsorted(begins, place)])
    }
    return whole, matches, begins


def drawn_grams(order, rows, length, seed):
    """500 n-grams, from rows, over borders of documents, shards, rows and epochs, never seen; and 100 near misses."""
    random = np.random.default_rng(seed)
    stored = order.data.tokens.read(0, stored_tokens(data_of(order)))
    ends = np.cumsum(order.stream.sizes[order.stream.documents])
    stream = np.concatenate([order.data.sequence(int(document)) for document in order.stream.documents])

    def around(places, tokens):
        starts = np.asarray(places) - random.integers(1, length, len(places))
        return [tokens[start : start + length] for start in np.clip(starts, 0, len(tokens) - length)]

    places = zip(random.integers(0, len(rows), 150), random.integers(0, rows.shape[1] - length, 150), strict=True)
    inside = [rows[row, place : place + length] for row, place in places]
    borders = (order.data.tokens.layout.borders[1:-1] // 2).tolist()
    shard_borders = around(borders * 10, stored)[:50]
    document_borders = around(random.choice(ends[:-1], 120), stream)
    row_borders = around(random.integers(1, order.plan.samples, 80) * order.seq_length, stream)
    epochs = [int(ends[len(order.stream.documents) // order.plan.epochs - 1])] if order.plan.epochs > 1 else []
    epoch_borders = around((epochs or [int(ends[0])]) * 20, stream)
    seen = [*inside, *shard_borders, *document_borders, *row_borders, *epoch_borders]
    never = [random.integers(0, 1000, length) for _ in range(500 - len(seen))]
    near = []
    for gram in (seen[k] for k in random.integers(0, len(seen), 100)):
        missed = np.array(gram)
        missed[random.integers(0, length)] = random.integers(0, 1000)
        near.append(missed)
    return [np.array(gram) for gram in (*seen, *never, *near)]


def check_suite(order, rows, length):
    grams = drawn_grams(order, rows, length, seed=length)
    assert len(grams) == 600
    wanted = by_reading(rows, grams)
    times = np.bincount([number for _, _, number in wanted], minlength=600)
    assert {0, 1, 2} <= set(times.tolist())
    assert times.max() > 5
    found, matches, begins = by_scanning(order, grams, length, len(rows), jobs=3)
    assert found == wanted
    # Where a match begins: the document and the token in it hold the n-gram's own tokens.
    for (row, position, place, _), document, token in zip(matches.found[:300].tolist(), matches.document,
                                                          matches.document_token, strict=False):  # fmt: skip
        assert order.data.sequence(int(document))[token] == rows[row, position]
        assert place in begins


@pytest.mark.slow
@pytest.mark.parametrize("data", ["standard", "deduped"])
@pytest.mark.parametrize("length", [8, 21])
def test_pocket_suite_against_reading_every_row(pocket_corpus, data, length):
    recipe = SUITE.model("pocket-1m")
    order = TrainingRows.open(pocket_corpus / f"{data}-shards" / "view.json", None, 128, 1234,
                              recipe.train_iterations, 8)  # fmt: skip
    assert len(order.data.tokens.files) == {"standard": 5, "deduped": 3}[data]
    check_suite(order, order.rows(0, recipe.train_iterations * 8), length)


@pytest.mark.slow
@pytest.mark.shared
def test_books_against_reading_every_row(shared, tmp_path):
    call(tokenize_corpus, "--corpus", shared / "corpora" / "gutenberg31_pd.jsonl", "--tokenizer",
         shared / "tokenizer" / "20B_tokenizer.json", "--no-eod", "--output-prefix", tmp_path / "books")  # fmt: skip
    order = TrainingRows.open(shard(tmp_path / "books", tmp_path / "shards", "books", 3), None, 128, 1234, 5000, 8)
    assert order.plan.epochs > 1
    check_suite(order, order.rows(0, 40_000), 8)


def small_order(folder, documents, seq_length, iterations, shards):
    """Documents (some may be empty) in shards of odd sizes, in the order of a run."""
    with indexed_writer(folder / "text", np.dtype("<u2")) as writer:
        for document in documents:
            writer.add(document)
            writer.end_document()
    return TrainingRows.open(
        shard(folder / "text", folder / "shards", "text", shards), None, seq_length, 1234, iterations, 1
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.lists(st.integers(0, 1), max_size=30), min_size=3, max_size=12),
    st.integers(8, 12),
    st.integers(10, 20),
    st.integers(1, 4),
    st.data(),
)
def test_small_worlds_without_ends_of_documents(tmp_path_factory, documents, length, width, jobs, data):  # noqa: PLR0917
    """Documents as short as nothing, so that matches lie in three and more of them, over two epochs."""
    total = sum(len(document) for document in documents)
    if total < 3 * width:
        return
    folder = tmp_path_factory.mktemp("world")
    order = small_order(folder, documents, width, int(1.8 * total / width), 3)
    rows = order.rows(0, order.n_rows)
    places = data.draw(st.lists(st.tuples(st.integers(0, len(rows) - 1), st.integers(0, width + 1 - length)),
                                min_size=1, max_size=8))  # fmt: skip
    grams = [rows[row, place : place + length] for row, place in places]
    found, _, _ = by_scanning(order, grams, length, len(rows), jobs)
    assert found == by_reading(rows, grams)


def preshuffled(folder, rows):
    (folder / "rows.bin").write_bytes(np.ascontiguousarray(rows, "<u2").tobytes())
    return PreshuffledRows(VirtualTokens.open([folder / "rows.bin"], np.dtype("<u2")), rows.shape[1])


def test_preshuffled_rows_by_several_jobs(tmp_path):
    rows = np.random.default_rng(0).integers(0, 3, (500, 33))
    order = preshuffled(tmp_path, rows)
    grams = [rows[number, 3 : 3 + 9] for number in range(0, 500, 25)]
    found, matches, _ = by_scanning(order, grams, 9, 500, jobs=7)
    assert found == by_reading(rows, grams)
    assert (matches.document == -1).all()


TEXT = TracedText("line", "a line", "lines")


def forms(*sequences, core=(0, None)):
    kinds = ("as given", "leading space toggled")
    return [
        Form(0, kinds[k], np.array(tokens, np.int32), core[0], core[1] or len(tokens))
        for k, tokens in enumerate(sequences)
    ]


def table_of(order, own_forms, batch_rows=2):
    table = gram_table([form.tokens for form in own_forms], 8)
    scan = scan_tokens(data_of(order), table, 0, stored_tokens(data_of(order)))
    return exposures(find_matches(order, table, scan, 0, order.n_rows), own_forms, [TEXT], batch_rows)


def test_exposures_say_where_and_how_much(tmp_path):
    line = np.arange(100, 112)
    rows = np.random.default_rng(1).integers(0, 50, (9, 20))
    rows[3, 5:17] = line
    rows[4, 12:20] = line[:8]
    rows[7, :9] = line[3:]
    frame = table_of(preshuffled(tmp_path, rows), forms(line, core=(1, 11)))
    expected = pd.DataFrame(
        {"step": [2, 3, 4], "iteration": [1, 2, 3], "row": [3, 4, 7], "position": [5, 12, 0], "length": [12, 8, 9],
         "text_token": [0, 0, 3], "whole": [True, False, False], "repeat": [-1, -1, -1]}
    )  # fmt: skip
    pd.testing.assert_frame_equal(frame[expected.columns.tolist()], expected)


def test_the_core_alone_makes_an_exposure_whole(tmp_path):
    line = np.arange(100, 112)
    rows = np.zeros((3, 20), int)
    rows[1, 4:14] = line[1:11]
    frame = table_of(preshuffled(tmp_path, rows), forms(line, core=(1, 11)))
    assert frame["whole"].tolist() == [True]
    assert frame["length"].tolist() == [10]


def test_two_forms_are_one_exposure(tmp_path):
    line = np.arange(100, 112)
    rows = np.zeros((3, 20), int)
    rows[1, 4:16] = line
    rows[2, 4:15], rows[2, 3] = line[1:], 77
    frame = table_of(preshuffled(tmp_path, rows), forms(line, np.r_[77, line[1:]]))
    assert frame["row"].tolist() == [1, 2]
    assert frame["form"].tolist() == ["as given", "leading space toggled"]


def test_later_epochs_of_a_document_are_repeats(tmp_path):
    documents = [np.random.default_rng(k).integers(0, 60, 40).tolist() for k in range(5)]
    documents[2][10:20] = range(100, 110)
    order = small_order(tmp_path, documents, 400, 1, 1)
    order = TrainingRows.open(tmp_path / "text", None, 16, 1234, 30, 1)
    frame = table_of(order, forms(range(100, 110)), batch_rows=1)
    whole = frame[frame["whole"]]
    assert len(whole) > 1
    assert whole["document"].unique().tolist() == [2]
    assert whole["document_token"].unique().tolist() == [10]
    assert frame["repeat"].min() == 0
    assert frame.loc[frame["repeat"] == 0, "row"].min() <= frame["row"].min()
    assert frame["repeat"].max() == order.plan.epochs - 1


def test_a_scan_is_read_back_and_foreign_or_damaged_ones_are_refused(tmp_path):
    scan = Scan(np.array([[1, 5]]), np.array([7]), np.array([3], np.uint8))
    save_scan(tmp_path / "scan.npz", scan, "mine")
    again = load_scan(tmp_path / "scan.npz", "mine")
    assert all((getattr(again, name) == getattr(scan, name)).all() for name in ("spans", "documents", "flags"))
    with pytest.raises(DataError, match="other texts"):
        load_scan(tmp_path / "scan.npz", "yours")
    (tmp_path / "scan.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="not a scan"):
        load_scan(tmp_path / "scan.npz", "mine")


def test_a_text_that_is_everywhere_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(placement, "MOST_ROWS", 2)
    rows = np.zeros((9, 20), int)
    with pytest.raises(DataError, match="longer matches"):
        table_of(preshuffled(tmp_path, rows), forms(np.zeros(9, int)))


def test_tokens_that_do_not_exist_are_refused(tmp_path):
    order = preshuffled(tmp_path, np.zeros((2, 10), int))
    with pytest.raises(ConfigError, match="there are 20"):
        scanning.scan_tokens(data_of(order), gram_table([np.zeros(9, np.int32)], 8), 0, 21)
