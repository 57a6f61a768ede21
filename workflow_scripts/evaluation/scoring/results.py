"""Results of one checkpoint on the plans of one number of shots, in the shape of lm-eval 0.4's results JSON.

A results file is put together from parts, one for each plan, and can be taken apart again (:func:`merge_parts`,
:func:`part_of`): a task that is added later joins the scores that are there. The entry ``plans`` says which tasks came
from which plan. The loglikelihoods are stored beside it in one archive, as <plan>/loglikelihood, <plan>/greedy and
<plan>/plan_identity.

Time of day, paths, versions of the machine and everything else that differs between equal runs is left out, so equal
scores give equal bytes. What lm-eval writes and this leaves out: date, git_hash, pretty_env_info, samples, timings.
"""

import io
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import DataError, EvaluationError, MissingInputError
from workflow_scripts.evaluation.planning.plan_file import Plan
from workflow_scripts.evaluation.scoring.metrics import NOT_AVAILABLE, Answers, group_metrics, task_metrics
from workflow_scripts.json_values import JsonMapping, JsonObject, read_object
from workflow_scripts.storage.atomic import write_bytes

REQUIRED = ("results", "versions", "n-shot", "n-samples", "higher_is_better", "config", "lm_eval_version")
LOGLIKELIHOODS = ".loglikelihoods.npz"  # as in suite/layout.py, whose import takes a tenth of a second
# Entries that hold something for each task or group; every other one is about the whole file and the same in all parts.
BY_NAME = (
    "results", "groups", "group_subtasks", "configs", "versions", "n-shot", "higher_is_better", "n-samples", "left_out",
    "plans",
)  # fmt: skip
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


def make_results(
    plan: Plan, answers: Answers, config: JsonMapping, bootstrap: int = 0, name: str = "plan"
) -> JsonObject:
    """Results JSON of one checkpoint on one plan; ``config`` says which checkpoint and how it was run.

    ``name`` is that of the plan. ``bootstrap``: rounds for the standard errors of perplexities, 0 for the delta method.
    """
    header = plan.header
    results: dict[str, JsonObject] = {}
    for task in header["tasks"]:
        part, requests = answers.of_task(task), plan.task_requests(task)
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
        "plans": {name: {"identity": plan.identity, "names": sorted(results | groups | header["left_out"])}},
        "tokenizer_sha256": header["tokenizer_sha256"],
    }


def merge_parts(parts: Sequence[JsonMapping]) -> JsonObject:
    """One results file of several parts.

    :class:`EvaluationError` when two have a task in common or were made in different ways.
    """
    merged: JsonObject = {key: value for key, value in parts[0].items() if key not in BY_NAME}
    for part in parts[1:]:
        different = [key for key in common(part) if common(part)[key] != merged.get(key)]
        if different:
            raise EvaluationError(f"plans {plan_names(parts)}: differ in {', '.join(different)}; make them alike")
    for key in BY_NAME:
        names = [name for part in parts for name in part[key]]
        if len(names) > len(set(names)):
            twice = next(name for name in names if names.count(name) > 1)
            raise EvaluationError(f"plans {plan_names(parts)}: {twice} is in two of them; ask for it once")
        merged[key] = {name: value for part in parts for name, value in part[key].items()}
    return merged


def common(content: JsonMapping) -> JsonObject:
    """The entries of a results file that are about all of it."""
    return {key: value for key, value in content.items() if key not in BY_NAME}


def plan_names(parts: Sequence[JsonMapping]) -> str:
    """Names of all plans of ``parts``."""
    return ", ".join(name for part in parts for name in part["plans"])


def part_of(content: JsonMapping, plan: str) -> JsonObject:
    """What the results ``content`` hold of one of their plans."""
    names = set(content["plans"][plan]["names"])
    taken = {key: {name: value for name, value in content[key].items() if name in names} for key in BY_NAME}
    return {**common(content), **taken, "plans": {plan: content["plans"][plan]}}


def has_scores(output: Path, content: JsonMapping, name: str, plan: Plan) -> bool:
    """True when ``content``, read from ``output``, and the archive beside it hold the scores of ``plan``."""
    if content.get("plans", {}).get(name, {}).get("identity") != plan.identity:
        return False
    try:
        read_answers(output, plan)
    except (MissingInputError, DataError, EvaluationError):
        return False
    return True


def group_entry(group: JsonMapping, results: Mapping[str, JsonMapping]) -> JsonObject:
    """Entry of a group; without aggregations it has only its name, as in lm-eval."""
    entry: JsonObject = {"name": group["name"], "alias": group["alias"]}
    if not group["aggregations"]:
        return entry
    members = [results[name] for name in group["tasks"]]
    entry["sample_len"] = sum(member["sample_len"] for member in members)
    return entry | group_metrics(group["aggregations"], members)


def task_config(task: JsonMapping) -> JsonObject:
    """The part of a task's configuration that is the same on every machine."""
    return {
        "task": task["name"],
        "dataset": task["dataset"],
        "split": task["split"],
        "dropped_splits": task["dropped_splits"],
        "output_type": task["output_type"],
        "num_fewshot": task["num_fewshot"],
    }


def shots_by_name(header: JsonMapping) -> dict[str, int]:
    """Shots of each task, and of each group whose tasks agree."""
    shots = {task["name"]: int(task["num_fewshot"]) for task in header["tasks"]}
    for group in header["groups"]:
        of_members = {shots[name] for name in group["tasks"]}
        if len(of_members) == 1:
            shots[group["name"]] = of_members.pop()
    return shots


def directions(task: JsonMapping) -> dict[str, bool]:
    """Whether higher is better, per metric."""
    return {metric["name"]: metric["higher_is_better"] for metric in task["metrics"]}


def loglikelihoods_path(output: Path) -> Path:
    """Where the loglikelihoods of the results file ``output`` lie."""
    return output.with_name(output.name + LOGLIKELIHOODS)


Archive = dict[str, NDArray[Any]]


def archive_part(name: str, plan: Plan, answers: Answers) -> Archive:
    """Entries of the archive for one plan called ``name``."""
    entries = {
        "loglikelihood": answers.loglikelihood,
        "greedy": answers.greedy,
        "plan_identity": np.array(plan.identity),
    }
    return {f"{name}/{key}": array for key, array in entries.items()}


def write_archive(output: Path, entries: Archive) -> None:
    """Write loglikelihoods and greedy flags beside ``output``, atomically, as ``.npz``; equal scores, equal bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(sorted(entries.items())))  # type: ignore[arg-type]
    write_bytes(loglikelihoods_path(output), buffer.getvalue())


def read_archive(output: Path) -> Archive:
    """Everything in the archive beside ``output``; :class:`DataError` when it is damaged."""
    path = loglikelihoods_path(output)
    if not path.is_file():
        raise MissingInputError(f"{path}: no such file; score the checkpoint first")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{path}: not a file of loglikelihoods ({error}); rescore the checkpoint") from error


def read_answers(output: Path, plan: Plan) -> Answers:
    """Loglikelihoods of ``plan`` beside ``output``; :class:`EvaluationError` when they belong to other plans."""
    entries, path = read_archive(output), loglikelihoods_path(output)
    scored = {str(array): name for name, array in entries.items() if name.endswith("/plan_identity")}
    if plan.identity not in scored:
        known = ", ".join(identity[:12] for identity in scored)
        raise EvaluationError(f"{path}: scored on plan {known}, not {plan.identity[:12]}; rescore it")
    head = scored[plan.identity].removesuffix("plan_identity")
    try:
        answers = Answers(entries[f"{head}loglikelihood"], entries[f"{head}greedy"])
    except KeyError as error:
        raise DataError(f"{path}: not a file of loglikelihoods (no {error}); rescore the checkpoint") from error
    if not len(answers.loglikelihood) == len(answers.greedy) == plan.requests:
        raise EvaluationError(f"{path}: {len(answers.greedy)} of {plan.requests} requests are scored; rescore it")
    return answers


def read_results(path: Path) -> JsonObject:
    """Read a results JSON and check it; :class:`DataError` names the file and what is wrong with it."""
    content = read_object(path, "results file", "rescore the checkpoint", *REQUIRED)
    check_results(path, content)
    return content


def check_results(path: Path, content: JsonMapping) -> None:
    """Refuse results without tasks, or with a metric that is not a finite number."""
    if not content["results"]:
        raise DataError(f"{path}: holds no task; rescore the checkpoint")
    for task, entry in content["results"].items():
        for key, value in metric_values(entry).items():
            if not is_number(value) and not ("_stderr," in key and value == NOT_AVAILABLE):
                raise DataError(f"{path}: task '{task}': {key} is {value!r}, not a finite number; rescore it")


def metric_values(entry: JsonMapping) -> JsonObject:
    """The ``metric,filter`` entries of a task."""
    return {key: value for key, value in entry.items() if key not in NOT_METRICS and "," in key}


def is_number(value: object) -> bool:
    """True for a finite int or float that is not a bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
