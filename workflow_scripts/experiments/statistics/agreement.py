"""What a checkpoint predicted, document by document, and how far two sets of predictions agree beyond chance.

A prediction is the number of the chosen answer, or for tasks without choices whether the greedy continuation was right.
Agreement is Cohen's kappa: (observed - expected) / (1 - expected), where expected comes from both sides' own shares.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workflow_scripts.errors import DataError
from workflow_scripts.evaluation.planning.plan_file import Plan
from workflow_scripts.evaluation.scoring.metrics import Answers, TaskRequests, best_choice

Integers = NDArray[np.int64]


def predictions(requests: TaskRequests, answers: Answers) -> Integers:
    """Prediction for each document of one task, int64 [documents]."""
    if requests.output_type == "multiple_choice":
        return best_choice(requests, answers.loglikelihood) - requests.table[:, 0]
    return answers.greedy.astype(np.int64)


def predictions_of(plan: Plan, answers: Answers) -> dict[str, tuple[Integers, float]]:
    """Predictions and accuracy of every task of a plan that has either choices or a greedy answer."""
    found = {}
    for task in plan.header["tasks"]:
        if task["output_type"] not in {"multiple_choice", "loglikelihood"}:
            continue
        part, requests = answers.of_task(task), plan.task_requests(task)
        made = predictions(requests, part)
        is_choice = requests.output_type == "multiple_choice"
        right = requests.gold[best_choice(requests, part.loglikelihood)] if is_choice else part.greedy
        found[str(task["name"])] = (made, float(right.mean()))
    return found


def kappa(first: ArrayLike, second: ArrayLike) -> float:
    """Cohen's kappa of two lists of predictions; NaN where both always say the same one thing.

    >>> kappa([0, 1, 0, 1], [0, 1, 1, 0])
    0.0
    """
    a, b = np.asarray(first), np.asarray(second)
    if a.shape != b.shape or a.ndim != 1 or not len(a):
        raise DataError(f"{a.size} and {b.size} predictions: agreement needs the same documents on both sides")
    observed = float((a == b).mean())
    expected = float(sum((a == label).mean() * (b == label).mean() for label in np.union1d(a, b)))
    return (observed - expected) / (1 - expected) if expected < 1 else math.nan
