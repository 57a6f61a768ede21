"""Results of one checkpoint on one plan, in the shape of lm-eval 0.4's results JSON.

Time of day, paths, versions of the machine and everything else that differs between equal runs is left out, so equal
scores give equal bytes. What lm-eval writes and this leaves out: date, git_hash, pretty_env_info, samples, timings.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import DataError, EvaluationError, MissingInputError
from workflow_scripts.evaluation.planning.plan_file import Plan
from workflow_scripts.evaluation.scoring.metrics import NOT_AVAILABLE, Answers, group_metrics, task_metrics
from workflow_scripts.storage.atomic import write_bytes

REQUIRED = ("results", "versions", "n-shot", "n-samples", "higher_is_better", "config", "lm_eval_version")
LOGLIKELIHOODS = ".loglikelihoods.npz"
NOT_METRICS = ("name", "alias", "sample_len", "sample_count")


def sum_requests(plan: Plan, values: NDArray[np.float32], best: NDArray[np.bool_]) -> Answers:
    """Loglikelihood (float64) and greedy flag of each request from the values of the plan's edges.

    A request is greedy when every scored token of all its pieces is the most likely one.
    """
    forest, requests = plan.forest, plan.requests
    owner = np.repeat(plan.table.piece_request, np.diff(forest.piece_start))
    loglikelihood = np.bincount(owner, weights=values[forest.piece_edge].astype(np.float64), minlength=requests)
    wrong = np.bincount(owner[~best[forest.piece_edge]], minlength=requests)
    return Answers(np.asarray(loglikelihood, dtype=np.float64), wrong == 0)


def make_results(plan: Plan, answers: Answers, config: Mapping[str, Any], bootstrap: int = 0) -> dict[str, Any]:
    """Results JSON of one checkpoint; ``config`` says which checkpoint and how it was run.

    ``bootstrap``: rounds for the standard errors of perplexities, 0 for the delta method.
    """
    header = plan.header
    results: dict[str, dict[str, Any]] = {}
    for task in header["tasks"]:
        first, last = task["requests"]
        part = Answers(answers.loglikelihood[first:last], answers.greedy[first:last])
        requests = plan.task_requests(task)
        results[task["name"]] = {
            "name": task["name"],
            "alias": task["alias"],
            "sample_len": requests.documents,
            **task_metrics(requests, task["metrics"], part, bootstrap),
        }
    groups = {group["name"]: group_entry(group, results) for group in header["groups"]}
    return {
        "results": results | groups,
        "groups": {name: entry for name, entry in groups.items() if len(entry) > 2},
        "group_subtasks": {group["name"]: group["members"] for group in header["groups"]},
        "configs": {task["name"]: task_config(task) for task in header["tasks"]},
        "versions": {item["name"]: item["version"] for item in [*header["tasks"], *header["groups"]]},
        "n-shot": shots_by_name(header),
        "higher_is_better": {task["name"]: directions(task) for task in header["tasks"]},
        "n-samples": {
            task["name"]: {"original": task["original_documents"], "effective": results[task["name"]]["sample_len"]}
            for task in header["tasks"]
        },
        "config": {
            **config,
            "limit": header["limit"],
            "fewshot_seed": header["fewshot_seed"],
            "bootstrap_iters": bootstrap,
        },
        "left_out": header["left_out"],
        "lm_eval_version": header["lm_eval"],
        "protocol": header["protocol"],
        "max_length": header["max_length"],
        "plan_identity": plan.identity,
        "tokenizer_sha256": header["tokenizer_sha256"],
    }


def group_entry(group: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Entry of a group; without aggregations it has only its name, as in lm-eval."""
    entry: dict[str, Any] = {"name": group["name"], "alias": group["alias"]}
    if not group["aggregations"]:
        return entry
    members = [results[name] for name in group["tasks"]]
    entry["sample_len"] = sum(member["sample_len"] for member in members)
    return entry | group_metrics(group["aggregations"], members)


def task_config(task: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a task's configuration that is the same on every machine."""
    return {
        "task": task["name"],
        "dataset": task["dataset"],
        "split": task["split"],
        "dropped_splits": task["dropped_splits"],
        "output_type": task["output_type"],
        "num_fewshot": task["num_fewshot"],
    }


def shots_by_name(header: Mapping[str, Any]) -> dict[str, int]:
    """Shots of each task, and of each group whose tasks agree."""
    shots = {task["name"]: int(task["num_fewshot"]) for task in header["tasks"]}
    for group in header["groups"]:
        of_members = {shots[name] for name in group["tasks"]}
        if len(of_members) == 1:
            shots[group["name"]] = of_members.pop()
    return shots


def directions(task: Mapping[str, Any]) -> dict[str, bool]:
    """Whether higher is better, per metric."""
    return {metric["name"]: metric["higher_is_better"] for metric in task["metrics"]}


def loglikelihoods_path(output: Path) -> Path:
    """Where the loglikelihoods of the results file ``output`` lie."""
    return output.with_name(output.name + LOGLIKELIHOODS)


def write_answers(output: Path, answers: Answers, plan: Plan) -> None:
    """Write loglikelihoods and greedy flags beside ``output``, atomically, as ``.npz``."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        loglikelihood=answers.loglikelihood,
        greedy=answers.greedy,
        plan_identity=np.array(plan.identity),
    )
    write_bytes(loglikelihoods_path(output), buffer.getvalue())


def read_answers(output: Path, plan: Plan) -> Answers:
    """Loglikelihoods beside ``output``; :class:`EvaluationError` when they belong to another plan."""
    path = loglikelihoods_path(output)
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file; score the checkpoint first")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            identity = str(file["plan_identity"])
            answers = Answers(file["loglikelihood"], file["greedy"])
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: not a file of loglikelihoods ({error}); score the checkpoint again") from error
    if identity != plan.identity or len(answers.loglikelihood) != plan.requests:
        raise EvaluationError(f"{path}: scored on plan {identity[:12]}, not {plan.identity[:12]}; score it again")
    return answers


def read_results(path: Path) -> dict[str, Any]:
    """Read a results JSON and check it; :class:`DataError` names the file and what is wrong with it."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such results file; score the checkpoint first")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); score the checkpoint again") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds no JSON object; score the checkpoint again")
    check_results(path, content)
    return content


def check_results(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse results with missing keys, no tasks, or a metric that is not a finite number."""
    missing = [key for key in REQUIRED if key not in content]
    if missing:
        raise DataError(f"{path}: lacks {', '.join(missing)}; it is not a results file of lm-eval 0.4's shape")
    if not content["results"]:
        raise DataError(f"{path}: holds no task; score the checkpoint again")
    for task, entry in content["results"].items():
        for key, value in metric_values(entry).items():
            if not is_number(value) and not ("_stderr," in key and value == NOT_AVAILABLE):
                raise DataError(f"{path}: task '{task}': {key} is {value!r}, not a finite number; score it again")


def metric_values(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The ``metric,filter`` entries of a task."""
    return {key: value for key, value in entry.items() if key not in NOT_METRICS and "," in key}


def is_number(value: Any) -> bool:
    """True for a finite int or float that is not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
