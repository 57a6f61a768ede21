"""What lm-eval's task objects ask for, written down so that scores become metrics without lm-eval.

Builds the requests of each task (lm-eval's prompts and few-shot draws, one process, one rank), describes its metrics,
and proves the description on random loglikelihoods against the task's own ``process_results``. A task whose results
are computed in another way is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from workflow_scripts.errors import EvaluationError
from workflow_scripts.evaluation.planning.protocols import (
    CURRENT,
    PYTHIA_2023,
    name_in,
    old_task,
    refuse_shots,
    set_examples,
)
from workflow_scripts.evaluation.scoring.metrics import (
    WEIGHTS,
    Answers,
    TaskRequests,
    check_supported,
    definition_of,
    document_values,
)
from workflow_scripts.json_values import JsonMapping, JsonObject

if TYPE_CHECKING:
    from lm_eval.api.group import Group
    from lm_eval.api.instance import Instance
    from lm_eval.api.task import ConfigurableTask

PROBED_DOCUMENTS = 16
ROLLING = "loglikelihood_rolling"


@dataclass
class Collected:
    """Lists that grow task by task; see :class:`workflow_scripts.evaluation.planning.plan_file.RequestTable`."""

    instances: list[Instance] = field(default_factory=list)
    document: list[int] = field(default_factory=list)
    gold: list[bool] = field(default_factory=list)
    characters: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    text_bytes: list[int] = field(default_factory=list)


def set_shots(task: ConfigurableTask, shots: int, seed: int, protocol: str = CURRENT) -> str | None:
    """Set shots and seed as lm-eval's ``simple_evaluate`` does; returns why the task cannot take ``shots``, or None.

    ``num_fewshot: 0`` in a task's YAML is final in lm-eval: the command line cannot change it.
    """
    if shots and task.get_config("num_fewshot") == 0:
        return "its definition fixes num_fewshot at 0"
    if shots and task.OUTPUT_TYPE == ROLLING:
        return "a rolling loglikelihood has no place for shots"
    if shots and protocol == PYTHIA_2023 and (reason := refuse_shots(task)):
        return reason
    if task.get_config("num_fewshot") != 0:
        task.set_config(key="num_fewshot", value=shots)
    task.set_fewshot_seed(seed=seed)
    if shots and protocol == PYTHIA_2023:
        set_examples(task, shots)
    return None


def build_requests(task: ConfigurableTask, limit: float | None) -> dict[int, list[Instance]]:
    """lm-eval's instances of each document, in the order of documents and choices.

    ``limit`` has lm-eval's meaning: a number of documents, or below 1 a share of them, rounded up.
    """
    from lm_eval.evaluator_utils import get_sample_size

    if task.config.repeats != 1:
        raise EvaluationError(f"task '{task.task_name}': repeats each request {task.config.repeats} times; run lm-eval")
    task.build_all_requests(limit=get_sample_size(task, limit), rank=0, world_size=1)
    documents: dict[int, list[Instance]] = {}
    for instance in task.instances:
        documents.setdefault(instance.doc_id, []).append(instance)
    return {number: sorted(documents[number], key=lambda instance: instance.idx) for number in sorted(documents)}


def add_task(collected: Collected, task: ConfigurableTask, limit: float | None, protocol: str = CURRENT) -> JsonObject:
    """Append the requests of ``task`` and return its entry for the plan's header."""
    metrics = describe_metrics(task, protocol)
    documents = build_requests(task, limit)
    first_document, first_request = len(collected.words), len(collected.document)
    for instances in documents.values():
        add_document(collected, task, instances)
    entry = {
        "name": name_in(protocol, task.task_name),
        "lm_eval_task": task.task_name,
        "alias": task.config.task_alias or name_in(protocol, task.task_name),
        "version": task_version(task, protocol),
        "output_type": task.OUTPUT_TYPE,
        "num_fewshot": task.get_config("num_fewshot") or 0,
        "documents": [first_document, len(collected.words)],
        "requests": [first_request, len(collected.document)],
        "original_documents": len(task.eval_docs),
        "metrics": metrics,
    }
    prove(collected, task, list(documents.values()), entry)
    return entry


def add_document(collected: Collected, task: ConfigurableTask, instances: Sequence[Instance]) -> None:
    """Append one document: a row per request and its counts."""
    number, doc = len(collected.words), instances[0].doc
    collected.instances.extend(instances)
    collected.document.extend([number] * len(instances))
    choices = describe_choices(task, instances)
    gold = right_choices(task, doc, choices) if choices else set()
    blank = [""] * len(instances)
    collected.characters.extend(len(text) for text in choices or blank)
    collected.bytes.extend(len(text.encode()) for text in choices or blank)
    collected.gold.extend(place in gold for place in range(len(instances)))
    words, text_bytes = count_text(task, doc)
    collected.words.append(words)
    collected.text_bytes.append(text_bytes)


def describe_choices(task: ConfigurableTask, instances: Sequence[Instance]) -> list[str]:
    """The choices of a document; none unless it is multiple choice.

    A request's continuation is the delimiter and its choice, except where the choices are contexts (winogrande).
    """
    if task.OUTPUT_TYPE != "multiple_choice":
        return []
    if not task.multiple_input:
        return [instance.args[1][len(task.config.target_delimiter) :] for instance in instances]
    choices: list[str] = list(task.doc_to_choice(instances[0].doc))
    if len(choices) != len(instances):
        raise EvaluationError(
            f"task '{task.task_name}': {len(instances)} requests for {len(choices)} choices; run lm-eval"
        )
    return choices


def right_choices(task: ConfigurableTask, doc: Any, choices: Sequence[str]) -> set[int]:
    """Positions of the right ones among ``choices``; a label that is no choice is never right, as in lm-eval."""
    gold = task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)
    golds = gold if isinstance(gold, list) else [gold]
    return {choices.index(item) if isinstance(item, str) and item in choices else item for item in golds}


def count_text(task: ConfigurableTask, doc: Any) -> tuple[int, int]:
    """Words and bytes that a rolling task divides by, taken from its own ``process_results``."""
    if task.OUTPUT_TYPE != ROLLING:
        return 0, 0
    counts = {WEIGHTS[name]: value[1] for name, value in task.process_results(doc, [0.0]).items() if name in WEIGHTS}
    return int(counts.get("words", 0)), int(counts.get("text_bytes", 0))


def task_version(task: ConfigurableTask, protocol: str) -> Any:
    """Version of a task's definition under ``protocol``."""
    old = old_task(task.task_name) if protocol == PYTHIA_2023 else None
    return old.version if old else task.VERSION


def describe_metrics(task: ConfigurableTask, protocol: str = CURRENT) -> list[JsonObject]:
    """Name, aggregation and direction of each metric; refuses what the fast path does not define."""
    if task.config.filter_list is not None:
        raise EvaluationError(f"task '{task.task_name}': filters its answers; run it with lm-eval itself")
    better = task.higher_is_better()
    described = []
    for name, function in task.aggregation().items():
        aggregation = aggregation_name(function)
        check_supported(task.task_name, task.OUTPUT_TYPE, name, aggregation)
        described.append({"name": name, "aggregation": aggregation, "higher_is_better": bool(better[name])})
    old = old_task(task.task_name) if protocol == PYTHIA_2023 else None
    return [as_in_2023(metric, old.metrics) for metric in described] if old else described


def as_in_2023(metric: JsonObject, renamed: Mapping[str, tuple[str, str]]) -> JsonObject:
    """A metric under its name of 2023, with the name of its definition here and of lm-eval's present metric."""
    if metric["name"] not in renamed:
        return metric
    name, definition = renamed[metric["name"]]
    return {**metric, "name": name, "definition": definition, "lm_eval_metric": metric["name"]}


def aggregation_name(function: object) -> str:
    """Name under which lm-eval registers an aggregation, or the function's own name."""
    from lm_eval.api.registry import AGGREGATION_REGISTRY

    names = [name for name, known in AGGREGATION_REGISTRY.items() if known is function]
    return names[0] if names else getattr(function, "__name__", str(function))


def prove(
    collected: Collected, task: ConfigurableTask, documents: Sequence[Sequence[Instance]], entry: JsonMapping
) -> None:
    """Compare our values per document with lm-eval's on random loglikelihoods.

    The numbers come from a fixed seed, so a plan's making is repeatable. :class:`EvaluationError` on a difference.
    """
    requests = TaskRequests.of_task(collected, entry)
    generator = np.random.default_rng(20230403)
    answers = Answers(
        -generator.gamma(4.0, 6.0, len(requests.document)), generator.random(len(requests.document)) < 0.5
    )
    ours = {
        item.get("lm_eval_metric", item["name"]): document_values(requests, definition_of(item), answers)
        for item in entry["metrics"]
    }
    starts = np.searchsorted(requests.document, np.arange(requests.documents))
    for number in np.unique(np.linspace(0, requests.documents - 1, PROBED_DOCUMENTS, dtype=np.int64)):
        instances = documents[number]
        theirs = task.process_results(
            instances[0].doc, fake_results(task, answers, int(starts[number]), len(instances))
        )
        for name, values in ours.items():
            reference = theirs[name][0] if isinstance(theirs[name], tuple) else theirs[name]
            if not np.isclose(float(reference), values[number], rtol=1e-12, atol=0):
                raise EvaluationError(
                    f"task '{entry['name']}': metric '{name}' is {values[number]} here and {reference} in lm-eval "
                    f"for document {number} on the same loglikelihoods; run this task with lm-eval itself"
                )


def fake_results(task: ConfigurableTask, answers: Answers, first: int, count: int) -> list[Any]:
    """Results of one document in the shape that ``process_results`` takes."""
    values: list[Any] = answers.loglikelihood[first : first + count].tolist()
    if task.OUTPUT_TYPE == ROLLING:
        return values
    return list(zip(values, answers.greedy[first : first + count].tolist(), strict=True))


def describe_group(group: Group, protocol: str = CURRENT) -> JsonObject:
    """Members and aggregations of a group for the plan's header; in 2023 there were no groups, only their tasks."""
    return {
        "name": name_in(protocol, group.name),
        "alias": group.alias or name_in(protocol, group.name),
        "version": group.version,
        "members": [name_in(protocol, name) for name in group.child_names],
        "tasks": [name_in(protocol, task.task_name) for task in group.get_all_tasks()],
        "aggregations": [
            {"metric": item.metric, "weight_by_size": bool(item.weight_by_size)}
            for item in group.aggregate_metric_list or []
        ],
    }
