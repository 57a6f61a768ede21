"""Few-shot minus zero-shot by document: against the definition, and sharper than two independent errors."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import EvaluationError
from workflow_scripts.evaluation import paired
from workflow_scripts.evaluation.planning.plan_file import Plan, RequestTable, make_plan, write_plan
from workflow_scripts.evaluation.planning.prefix_trees import Forest
from workflow_scripts.evaluation.scoring.metrics import Answers

METRIC = {"name": "acc", "aggregation": "mean", "higher_is_better": True}
PERPLEXITY = {"name": "perplexity", "aggregation": "perplexity", "higher_is_better": False}


def plan_of(shots: int, sizes: list[int], limit: int | None = None, sha: str = "0") -> Plan:
    """A plan of tasks a, b ... with one greedy answer per document, and a group of all of them."""
    bounds = np.cumsum([0, *sizes])
    tasks = [
        {"name": chr(97 + n), "alias": "", "output_type": "loglikelihood", "metrics": [METRIC, PERPLEXITY],
         "requests": [int(bounds[n]), int(bounds[n + 1])], "documents": [int(bounds[n]), int(bounds[n + 1])]}
        for n in range(len(sizes))
    ]  # fmt: skip
    group = {"name": "all", "alias": "", "tasks": [task["name"] for task in tasks], "members": [],
             "aggregations": [{"metric": "acc", "weight_by_size": True}]}  # fmt: skip
    header = {"tasks": tasks, "groups": [group], "shots": shots, "limit": limit, "protocol": "current"}
    total = int(bounds[-1])
    numbers = {f.name: np.zeros(total, dtype=np.int32) for f in dataclasses.fields(RequestTable)}
    table = RequestTable(
        **{**numbers, "document": np.arange(total, dtype=np.int32), "gold": np.ones(total, dtype=bool)}
    )
    empty = {
        f.name: np.zeros(1 if f.name.endswith("_start") else 0, dtype=np.int64) for f in dataclasses.fields(Forest)
    }
    return make_plan({**header, "data": {"x.parquet": sha}}, Forest(**empty), table)


def answers_of(right: np.ndarray) -> Answers:
    return Answers(-np.ones(len(right)), right.astype(bool))


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_the_error_is_that_of_the_mean_of_differences(pairs):
    zero, few = np.array(pairs, dtype=bool).T
    errors = paired.paired_errors(plan_of(0, [len(pairs)]), answers_of(zero), plan_of(5, [len(pairs)]), answers_of(few))
    expected = (few.astype(float) - zero).std(ddof=1) / math.sqrt(len(pairs))
    assert errors["a", "acc"] == pytest.approx(expected)
    assert errors["all", "acc"] == pytest.approx(expected)
    assert ("a", "perplexity") not in errors


def test_the_interval_covers_and_is_shorter_where_items_are_hard_or_easy():
    """Draws of 200 items whose difficulty both scores share: 95 % hold the true gain, in two thirds of the length."""
    random = np.random.default_rng(0)
    plans = plan_of(0, [200]), plan_of(5, [200])
    inside, lengths = 0, []
    for _ in range(300):
        easy = random.beta(0.3, 0.3, 200)
        zero, few = random.random(200) < 0.9 * easy, random.random(200) < 0.9 * easy + 0.1
        error = paired.paired_errors(plans[0], answers_of(zero), plans[1], answers_of(few))["a", "acc"]
        inside += abs((few.mean() - zero.mean()) - 0.1) <= 1.96 * error
        lengths.append(error / math.hypot(zero.std(ddof=1) / 200**0.5, few.std(ddof=1) / 200**0.5))
    assert inside / 300 > 0.92
    assert np.mean(lengths) < 0.75


def test_a_group_is_pooled_from_its_tasks():
    sizes = [30, 10]
    random = np.random.default_rng(1)
    zero, few = random.random(40) < 0.5, random.random(40) < 0.6
    errors = paired.paired_errors(plan_of(0, sizes), answers_of(zero), plan_of(5, sizes), answers_of(few))
    parts = np.array([errors["a", "acc"], errors["b", "acc"]])
    weights = np.array(sizes)
    pooled = ((weights - 1) * parts**2 * weights).sum() / (weights.sum() - 2)
    assert errors["all", "acc"] == pytest.approx(math.sqrt(pooled / weights.sum()))


def test_other_documents_are_not_paired():
    assert paired.same_documents(plan_of(0, [4]), plan_of(5, [4]))
    assert not paired.same_documents(plan_of(0, [4]), plan_of(5, [4], limit=4))
    assert not paired.same_documents(plan_of(0, [4]), plan_of(5, [4], sha="1"))
    right = np.ones(5)
    assert paired.paired_errors(plan_of(0, [4]), answers_of(right[:4]), plan_of(5, [5]), answers_of(right)) == {}


def test_tasks_that_take_no_examples_have_plans_without_tasks(tmp_path):
    for name in ("x", "y"):
        write_plan(tmp_path / name, plan_of(5, []))
    assert paired.Pairing.read([tmp_path / "x", tmp_path / "y"]).plans == {}


def test_one_plan_of_each_kind(tmp_path):
    for name in ("x", "y"):
        write_plan(tmp_path / name, plan_of(5, [4]))
    with pytest.raises(EvaluationError, match=r"a second plan of .* under protocol current for 5 shots"):
        paired.Pairing.read([tmp_path / "x", tmp_path / "y"])
    pairing = paired.Pairing.read([tmp_path / "x"])
    assert pairing.errors("current", 5, tmp_path / "0-shot.json", tmp_path / "5-shot.json") == {}
    (plan,) = pairing.plans["current", 5].values()
    assert len(plan.forest.token) == 0
