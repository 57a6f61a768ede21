"""How sure is the difference that examples in the prompt make? Few-shot minus zero-shot, document by document.

Both scores of a checkpoint come from the same documents, and what is hard stays hard with examples. So the error of
their difference is that of the mean of the documents' differences, sample deviation / sqrt(n), which is smaller than
what two independent scores would give. Metrics that are no mean over documents (perplexities) have none here.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from workflow_scripts.errors import EvaluationError
from workflow_scripts.evaluation.planning.plan_file import Plan, read_plan
from workflow_scripts.evaluation.planning.prefix_trees import Forest
from workflow_scripts.evaluation.scoring.metrics import (
    Answers,
    Floats,
    definition_of,
    document_values,
    pooled_error,
    standard_error,
)
from workflow_scripts.evaluation.scoring.results import loglikelihoods_path, read_answers

Errors = dict[tuple[str, str], float]  # by task or group, and metric
Values = dict[tuple[str, str], Floats]


@dataclass(frozen=True)
class Pairing:
    """Plans by protocol, shots and task, without their tokens; a protocol has its zero-shot plans."""

    plans: Mapping[tuple[str, int], Mapping[str, Plan]]  # the inner keys are the names of the plan's tasks

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Self:
        """Plans in the files ``paths``; raises EvaluationError for two of one task, protocol and number of shots."""
        plans: dict[tuple[str, int], dict[str, Plan]] = {}
        for path in paths:
            plan = without_tokens(read_plan(path))
            key = (str(plan.header["protocol"]), int(plan.header["shots"]))
            names = " ".join(sorted(names_of(plan)))
            if not names:
                continue  # of a task that takes no examples
            if names in plans.setdefault(key, {}):
                raise EvaluationError(
                    f"{path}: a second plan of {names} under protocol {key[0]} for {key[1]} shots; give one of each"
                )
            plans[key][names] = plan
        return cls(plans)

    def errors(self, protocol: str, shots: int, zero_file: Path, file: Path) -> Errors:
        """Errors of the scores in ``file`` minus those in ``zero_file``; none where a side is not there."""
        zero_plans, plans = self.plans.get((protocol, 0), {}), self.plans.get((protocol, shots), {})
        if shots == 0 or not all(loglikelihoods_path(path).is_file() for path in (zero_file, file)):
            return {}
        found: Errors = {}
        for before, after in itertools.product(zero_plans.values(), plans.values()):
            if names_of(before) & names_of(after) and same_documents(before, after):
                found |= paired_errors(before, read_answers(zero_file, before), after, read_answers(file, after))
        return found


def names_of(plan: Plan) -> set[str]:
    """Names of the tasks of a plan."""
    return {str(task["name"]) for task in plan.header["tasks"]}


def without_tokens(plan: Plan) -> Plan:
    """``plan`` with an empty forest: its documents and choices are all that is needed here, a few bytes each."""
    nothing: dict[str, Any] = {item.name: getattr(plan.forest, item.name)[:0].copy() for item in fields(Forest)}
    return replace(plan, forest=Forest(**nothing))


def same_documents(first: Plan, second: Plan) -> bool:
    """True when both plans took as many documents of each task from the same files."""
    files = first.header["data"], second.header["data"]
    shared = files[0].keys() & files[1].keys()
    limits = first.header["limit"], second.header["limit"]
    return limits[0] == limits[1] and all(files[0][name] == files[1][name] for name in shared)


def values_by_metric(plan: Plan, answers: Answers) -> Values:
    """Value of each metric that is a mean, per document, float64 [documents], by task and metric."""
    found: Values = {}
    for task in plan.header["tasks"]:
        part, requests = answers.of_task(task), plan.task_requests(task)
        for metric in task["metrics"]:
            if metric["aggregation"] == "mean":
                found[task["name"], metric["name"]] = document_values(requests, definition_of(metric), part)
    return found


def paired_errors(zero_plan: Plan, zero: Answers, plan: Plan, few: Answers) -> Errors:
    """Standard error of few-shot minus zero-shot by task or group, and metric."""
    before, after = values_by_metric(zero_plan, zero), values_by_metric(plan, few)
    errors: Errors = {}
    for key in before.keys() & after.keys():
        if len(before[key]) == len(after[key]):
            error = standard_error(after[key] - before[key])
            errors[key] = math.nan if isinstance(error, str) else error
    sizes = {key: len(values) for key, values in after.items()}
    for group in plan.header["groups"]:
        errors |= group_errors(group, errors, sizes)
    return errors


def group_errors(group: Mapping[str, Any], errors: Errors, sizes: Mapping[tuple[str, str], int]) -> Errors:
    """Errors of a group's means from those of its tasks, pooled as the errors of its scores are."""
    found: Errors = {}
    for item in group["aggregations"]:
        keys = [(task, item["metric"]) for task in group["tasks"] if (task, item["metric"]) in sizes]
        if keys and all(key in errors for key in keys):
            of_tasks = np.array([errors[key] for key in keys])
            documents = np.array([sizes[key] for key in keys], dtype=np.float64)
            found[group["name"], item["metric"]] = pooled_error(of_tasks, documents, item["weight_by_size"])
    return found
