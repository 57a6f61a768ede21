"""Look-ups against brute force over all rows of small runs."""

from __future__ import annotations

import json
from collections import Counter

import corpusgen
import numpy as np
import pytest

from workflow_scripts import cli
from workflow_scripts.dataset import look_up
from workflow_scripts.dataset.files.index_writer import indexed_writer
from workflow_scripts.dataset.order.lookups import Occurrence, OrderLookup, find_ngram, ngram_starts
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.errors import ConfigError

LENGTH = 8
BATCH = 4


@pytest.fixture(params=[1, 2, 3], ids=["one epoch", "two epochs", "three epochs"])
def lookup(request, tmp_path):
    """Tokens are unique numbers, so that each row says by itself where its tokens come from."""
    sizes = [5, 0, 17, 1, 30, 8, 3, 0, 12, 24]
    with indexed_writer(tmp_path / "c", np.dtype("<i4")) as writer:
        for number, size in enumerate(sizes):
            writer.add((number * 1000 + np.arange(size)).astype(np.int32))
            writer.end_document()
    iterations = {1: 2, 2: 5, 3: 8}[request.param]
    rows = TrainingRows.open(tmp_path / "c", None, LENGTH, 11, iterations, BATCH)
    assert rows.plan.epochs == request.param
    return OrderLookup(rows, BATCH)


def every_token(lookup):
    sizes = lookup.order.data.index.sizes
    return [(document, position) for document in range(len(sizes)) for position in range(sizes[document])]


def test_exposures_are_all_places_of_a_token(lookup):
    rows = lookup.order.rows(0, lookup.order.n_rows)
    for document, position in every_token(lookup):
        expected = sorted(map(tuple, np.argwhere(rows == document * 1000 + position).tolist()))
        found = lookup.exposures(document, position)
        assert [(exposure.row, exposure.position) for exposure in found] == expected
        for exposure in found:
            assert exposure.iteration == exposure.row // BATCH
            roles = {0: "input", LENGTH: "label"}
            assert exposure.role == roles.get(exposure.position, "both")
        assert {exposure.copy for exposure in found} <= set(range(lookup.order.plan.epochs))


def test_documents_of_an_iteration_are_what_stands_in_its_rows(lookup):
    for iteration in range(lookup.order.n_rows // BATCH):
        rows = lookup.order.rows(iteration * BATCH, (iteration + 1) * BATCH)
        seen = np.full(rows.shape, -1)
        for run in lookup.documents(iteration):
            tokens = run.document * 1000 + np.arange(run.first, run.stop)
            seen[run.row - iteration * BATCH, run.position : run.position + len(tokens)] = tokens
        np.testing.assert_array_equal(seen, rows)


@pytest.mark.parametrize("step", [0, 1, 2, 100])
def test_coverage_counts_how_often_tokens_were_predicted(lookup, step):
    rows = lookup.order.rows(0, min(step * BATCH, lookup.order.n_rows))
    times = Counter(rows[:, 1:].ravel().tolist())
    tokens = [document * 1000 + position for document, position in every_token(lookup)]
    shares = Counter(times[token] for token in tokens)
    expected = [shares[number] / len(tokens) for number in range(lookup.order.plan.epochs + 1)]
    assert lookup.coverage(step) == pytest.approx(expected)


def test_the_deduplicated_run_is_not_a_pass_and_a_half(tmp_path):
    """Two mixed copies, f = 0.7238 of all samples consumed: (1-f)^2, 2f(1-f), f^2 of the tokens (data-order.md)."""
    params = {"corpus_seed": 2, "n_seq": 1500, "sizes": {"kind": "uniform", "lo": 1, "hi": 400}, "dtype": "uint16"}
    prefix = corpusgen.write_corpus(params | {"vocab": 999}, tmp_path / "c")
    tokens = int(corpusgen.sizes_of(params).sum())
    steps = int(tokens * 2 / 64 * 0.7238) // 16
    lookup = OrderLookup(TrainingRows.open(prefix, None, 64, 1, steps, 16), 16)
    assert lookup.order.plan.epochs == 2
    assert lookup.coverage(steps) == pytest.approx([0.0763, 0.3998, 0.5239], abs=0.02)


def test_ngrams_are_found_where_they_are(lookup):
    rows = lookup.order
    for document, position in every_token(lookup)[:-2:7]:
        first = document * 1000 + position
        expected = []
        for row in range((rows.n_rows // BATCH) * BATCH):
            values = rows.rows(row, row + 1)[0].tolist()
            expected += [
                Occurrence(row // BATCH, row, k) for k in range(LENGTH) if values[k : k + 2] == [first, first + 1]
            ]
        assert list(find_ngram(rows, [first, first + 1], BATCH, 0, rows.n_rows // BATCH)) == expected


def test_ngram_longer_than_a_row_or_empty(lookup):
    assert ngram_starts(np.zeros((2, 3), np.uint16), [0] * 4).shape == (2, 0)
    with pytest.raises(ConfigError, match="empty"):
        list(find_ngram(lookup.order, [], BATCH, 0, 1))


def test_questions_about_things_that_do_not_exist_are_refused(lookup):
    with pytest.raises(ConfigError, match="document 10: this set has 0 to 9"):
        lookup.exposures(10, 0)
    with pytest.raises(ConfigError, match="token 5: document 0 has 5 tokens"):
        lookup.exposures(0, 5)
    with pytest.raises(ConfigError, match="there are"):
        lookup.documents(1000)
    with pytest.raises(ConfigError, match="at least 1"):
        OrderLookup(lookup.order, 0)


def test_program_answers_in_json_lines(lookup, tmp_path, capsys):
    iterations = {1: 2, 2: 5, 3: 8}[lookup.order.plan.epochs]
    numbers = ["--seq-length", "8", "--seed", "11", "--train-iters", str(iterations), "--batch-size", "4"]
    where = ["--view", str(tmp_path / "c"), *numbers]

    def ask(*words):
        assert cli.run(look_up.main, [*words, *where]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    found = ask("exposures", "--document", "4", "--token", "3")
    assert [answer["row"] for answer in found] == [exposure.row for exposure in lookup.exposures(4, 3)]
    assert all(answer["within_run"] == (answer["iteration"] < iterations) for answer in found)
    assert len(ask("documents", "--iteration", "1")) == len(lookup.documents(1))
    found = ask("ngram", "--tokens", "4003", "--start_iteration", "0", "--end_iteration", "2")
    assert [answer["row"] for answer in found] == [e.row for e in lookup.exposures(4, 3) if e.iteration < 2]
    (answer,) = ask("coverage", "--step", "2")
    assert list(answer["share_predicted"].values()) == pytest.approx(lookup.coverage(2))
