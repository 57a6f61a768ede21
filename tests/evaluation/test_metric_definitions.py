"""Metrics on made-up numbers equal lm-eval's own functions on the same numbers."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import EvaluationError
from workflow_scripts.evaluation.scoring.metrics import (
    Answers,
    TaskRequests,
    aggregate,
    check_supported,
    document_values,
    group_metrics,
    task_metrics,
)

LOGLIKELIHOOD = st.floats(-200, -0.001, allow_nan=False)


def make_requests(output_type, sizes, gold=None, lengths=None, words=None):
    document = np.repeat(np.arange(len(sizes)), sizes)
    count = len(document)
    lengths = np.arange(1, count + 1) if lengths is None else np.array(lengths)
    words = np.ones(len(sizes), dtype=np.int64) if words is None else np.array(words)
    golds = np.zeros(count, dtype=np.bool_) if gold is None else np.array(gold)
    return TaskRequests(output_type, document, golds, lengths, lengths[::-1], words, words * 5)


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_choices_equal_process_results(data):
    """The reference is numpy argmax per document as in lm-eval's ConfigurableTask.process_results."""
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=8))
    count = sum(sizes)
    values = data.draw(
        st.lists(st.sampled_from([-1.0, -2.0, -2.5, -7.0]) | LOGLIKELIHOOD, min_size=count, max_size=count)
    )
    lengths = data.draw(st.lists(st.integers(1, 60), min_size=count, max_size=count))
    golds = [data.draw(st.integers(0, size - 1)) for size in sizes]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    flags = np.zeros(count, dtype=np.bool_)
    flags[starts[:-1] + golds] = True
    requests = make_requests("multiple_choice", sizes, flags, lengths)
    answers = Answers(np.array(values), np.zeros(count, dtype=np.bool_))
    for name, divisor in (
        ("acc", np.ones(count)),
        ("acc_norm", np.array(lengths)),
        ("acc_bytes", np.array(lengths[::-1])),
    ):
        ours = document_values(requests, name, answers)
        for number, gold in enumerate(golds):
            part = slice(starts[number], starts[number + 1])
            assert ours[number] == float(np.argmax(np.array(values)[part] / divisor[part]) == gold)


def test_a_tie_counts_for_the_first_choice():
    requests = make_requests("multiple_choice", [2, 2], [True, False, False, True])
    answers = Answers(np.array([-3.0, -3.0, -3.0, -3.0]), np.zeros(4, dtype=np.bool_))
    assert document_values(requests, "acc", answers).tolist() == [1.0, 0.0]
    assert document_values(requests, "pct_stereotype", answers).tolist() == [0.0, 0.0]


def test_several_right_choices():
    requests = make_requests("multiple_choice", [3], [True, False, True])
    for best, value in ((0, 1.0), (1, 0.0), (2, 1.0)):
        numbers = np.full(3, -5.0)
        numbers[best] = -1.0
        assert document_values(requests, "acc", Answers(numbers, np.zeros(3, dtype=np.bool_))).tolist() == [value]


def test_a_label_out_of_range_is_never_right():
    requests = make_requests("multiple_choice", [2], [False, False])
    assert document_values(requests, "acc", Answers(np.array([-1.0, -2.0]), np.zeros(2, dtype=np.bool_))).tolist() == [
        0.0
    ]


@settings(deadline=None, max_examples=80)
@given(st.lists(LOGLIKELIHOOD, min_size=2, max_size=30))
def test_mean_and_perplexity_equal_lm_eval(values):
    from lm_eval.api.metrics import mean, mean_stderr, perplexity

    array = np.array(values)
    value, error = aggregate("mean", array, None)
    assert math.isclose(value, mean(values), rel_tol=1e-12)
    assert math.isclose(error, mean_stderr(values), rel_tol=1e-9, abs_tol=1e-12)
    value, error = aggregate("perplexity", array, None)
    assert math.isclose(value, perplexity(values), rel_tol=1e-12)
    assert math.isclose(error, perplexity(values) * mean_stderr(values), rel_tol=1e-9, abs_tol=1e-12)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(LOGLIKELIHOOD, st.integers(1, 5000)), min_size=1, max_size=20))
def test_weighted_perplexities_equal_lm_eval(items):
    from lm_eval.api.metrics import bits_per_byte, weighted_perplexity

    values, weights = np.array([value for value, _ in items]), np.array([weight for _, weight in items])
    assert math.isclose(aggregate("weighted_perplexity", values, weights)[0], weighted_perplexity(items), rel_tol=1e-12)
    assert math.isclose(aggregate("bits_per_byte", values, weights)[0], bits_per_byte(items), rel_tol=1e-12)


def test_delta_method_is_near_a_bootstrap():
    rng = np.random.default_rng(5)
    values = -rng.gamma(2.0, 2.0, 2000)
    draws = [math.exp(-rng.choice(values, len(values)).mean()) for _ in range(2000)]
    assert math.isclose(aggregate("perplexity", values, None)[1], float(np.std(draws)), rel_tol=0.06)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0.001, 0.2), st.integers(2, 2000)), min_size=1, max_size=8),
    st.booleans(),
)
def test_groups_equal_lm_eval(members, weight_by_size):
    from lm_eval.api.group import Group
    from lm_eval.config.group import AggMetricConfig

    entries = [{"sample_len": size, "acc,none": value, "acc_stderr,none": error} for value, error, size in members]
    group = Group("g", aggregate_metric_list=[AggMetricConfig("acc", weight_by_size=weight_by_size)])
    names = [str(number) for number in range(len(members))]
    group.get_all_tasks = lambda recursive=True: [SimpleNamespace(task_name=name) for name in names]
    expected = group.aggregate(dict(zip(names, entries, strict=True)))
    ours = group_metrics([{"metric": "acc", "weight_by_size": weight_by_size}], entries)
    for key in ("acc,none", "acc_stderr,none"):
        assert math.isclose(ours[key], expected[key], rel_tol=1e-9)


def test_one_document_has_no_standard_error():
    requests = make_requests("loglikelihood", [1])
    metrics = [{"name": "acc", "aggregation": "mean"}, {"name": "perplexity", "aggregation": "perplexity"}]
    results = task_metrics(requests, metrics, Answers(np.array([-2.0]), np.array([True])))
    assert results == {
        "acc,none": 1.0,
        "acc_stderr,none": "N/A",
        "perplexity,none": math.exp(2.0),
        "perplexity_stderr,none": "N/A",
    }
    unknown = {"sample_len": 1, "acc,none": 1.0, "acc_stderr,none": "N/A"}
    assert group_metrics([{"metric": "acc", "weight_by_size": True}], [unknown])["acc_stderr,none"] == "N/A"


def test_what_is_not_defined_is_refused():
    with pytest.raises(EvaluationError, match="task 'gsm8k': output type 'generate_until' needs generation"):
        check_supported("gsm8k", "generate_until", "exact_match", "mean")
    with pytest.raises(EvaluationError, match="metric 'brier_score'"):
        check_supported("x", "multiple_choice", "brier_score", "brier_score")
    with pytest.raises(EvaluationError, match="does not fit a number"):
        aggregate("perplexity", np.array([-1000.0]), None)
    with pytest.raises(EvaluationError, match="exactly two choices"):
        document_values(
            make_requests("multiple_choice", [2, 3]),
            "likelihood_diff",
            Answers(np.zeros(5), np.zeros(5, dtype=np.bool_)),
        )


@pytest.mark.parametrize("rounds", [70, 2000])
def test_bootstrap_is_lm_evals(rounds):
    from lm_eval.api.metrics import _bootstrap_internal_no_mp, perplexity, sample_stddev

    values = -np.random.default_rng(3).gamma(2.0, 1.0, 83)
    expected = sample_stddev(_bootstrap_internal_no_mp(perplexity, values.tolist(), rounds))
    value, error = aggregate("perplexity", values, None, rounds)
    assert math.isclose(value, perplexity(values.tolist()), rel_tol=1e-12)
    assert math.isclose(error, expected, rel_tol=1e-10)


def test_groups_have_both_means():
    members = [
        {"acc,none": 1.0, "acc_stderr,none": 0.1, "sample_len": 1},
        {"acc,none": 0.0, "acc_stderr,none": 0.1, "sample_len": 3},
    ]
    for weighted, name in ((True, "by_item"), (False, "by_task")):
        results = group_metrics([{"metric": "acc", "weight_by_size": weighted}], members)
        assert (results["acc_by_item,none"], results["acc_by_task,none"]) == (0.25, 0.5)
        assert results["acc,none"] == results[f"acc_{name},none"]
