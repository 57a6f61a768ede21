"""Reader of the results that lm-eval 0.4 writes (``lm_eval --output_path``): runs of other people, stock runs of ours.

    {"results": {task: {"acc,none": .5, "acc_stderr,none": .01, "alias": ...}}, "groups", "group_subtasks",
     "n-shot", "n-samples", "versions", "config": {"model", "model_args", "limit"}, "model_name", "lm_eval_version"}

Metrics carry the name of a filter behind a comma; ``none`` is dropped, another one stays part of the metric's name.
An error that lm-eval does not define is the text ``N/A``. The number of items, written since 0.4.2, is taken as it is.
"""

import re
from collections import defaultdict
from dataclasses import replace

from workflow_scripts.errors import DataError
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.published import claims
from workflow_scripts.published.formats.measurements import (
    Content,
    Measurement,
    flat_metrics,
    limit_notes,
    mapping,
    text,
    whole,
)
from workflow_scripts.published.model_arguments import asking_notes, given_arguments

INDENT = re.compile(r"^\s*-\s+")
AROUND_PROMPTS = ("chat_template", "system_instruction", "fewshot_as_multiturn")
NO_FILTER = "none"
TAKEN_AS_LAST = "revision-main-taken-as-last-step"
NOT_METRICS = frozenset({"alias", "name", "sample_len", "samples", "sample_count"})


def read_harness_04(document: JsonObject) -> list[Content]:
    """One content for each number of shots: tasks of a run may differ in it."""
    config, shots, versions = mapping(document, "config"), tasks_of(document, "n-shot"), tasks_of(document, "versions")
    by_shots: dict[int | None, list[Measurement]] = defaultdict(list)
    refused: dict[int | None, list[str]] = defaultdict(list)
    tasks = tasks_of(document, "groups") | tasks_of(document, "results")
    for task in tasks:
        metrics, n, k = metrics_of(mapping(tasks, task)), items_of(document, task), whole(shots.get(task))
        found = flat_metrics(task, text(versions.get(task)), metrics, refused[k])
        by_shots[k] += [replace_count(measured, n) for measured in found]
    claim, notes = claim_of_run(document, config)
    harness = f"lm-eval {document.get('lm_eval_version') or 0.4} {config.get('model', 'hf')}"
    facts = {"batch_size": None}  # it may be "auto", and padding does not change what is compared
    notes = (*limit_notes(config), *notes, *prompt_notes(document))
    return [
        Content(replace(claim, shots=k), harness, found, facts, notes, tuple(refused[k]))
        for k, found in by_shots.items()
    ]


def tasks_of(document: JsonMapping, key: str) -> JsonObject:
    """The table at ``key`` by task; lm-eval before 0.4.3 indented the members of a group in their names.

    >>> tasks_of({"results": {"mmlu": 1, " - mmlu_anatomy": 2, "  - x": 3}}, "results")
    {'mmlu': 1, 'mmlu_anatomy': 2, 'x': 3}
    """
    return {INDENT.sub("", task): value for task, value in mapping(document, key).items()}


def prompt_notes(document: JsonMapping) -> tuple[str, ...]:
    """A note for each thing that was put around the prompts of the tasks."""
    return tuple(f"asked-with-{key}" for key in AROUND_PROMPTS if document.get(key))


def metrics_of(written: JsonMapping) -> JsonObject:
    """Numbers of one task as ``m`` and ``m_stderr``.

    >>> metrics_of({"alias": "x", "acc,none": 0.5, "acc_stderr,none": "N/A", "em,strict": 1.0, "em_stderr,strict": 0.1})
    {'acc': 0.5, 'em,strict': 1.0, 'em,strict_stderr': 0.1}
    """
    found = {}
    for key, value in written.items():
        name, _, chosen = key.partition(",")
        if key in NOT_METRICS or isinstance(value, str | dict | list) or value is None:
            continue
        metric = name.removesuffix("_stderr")
        filtered = metric if chosen in ("", NO_FILTER) else f"{metric},{chosen}"
        found[filtered + ("_stderr" if name.endswith("_stderr") else "")] = value
    return found


def items_of(document: JsonMapping, task: str) -> int | None:
    """Items that were scored for a task, or for the members of a group; None where the file does not say."""
    counts = mapping(document, "n-samples")
    members = mapping(document, "group_subtasks").get(task) or [task]
    if not isinstance(members, list) or not all(isinstance(member, str) for member in members):
        return None
    found = [whole(mapping(counts, member).get("effective")) for member in members]
    known = [count for count in found if count is not None]
    return sum(known) if known and len(known) == len(found) else None


def replace_count(measured: Measurement, n: int | None) -> Measurement:
    """``measured`` with the number of items that the file states, where it states one."""
    return measured if n is None else measured._replace(n=n)


def claim_of_run(document: JsonMapping, config: JsonMapping) -> tuple[claims.Claim, tuple[str, ...]]:
    """Model and step that a run names, and a note where it names no revision.

    The last checkpoint of a Pythia model is its main branch, so a run without a revision is of that one.
    """
    given = given_arguments(config.get("model_args"))
    named = given.get("pretrained") or given.get("model") or str(document.get("model_name") or "")
    if not named:
        raise DataError("config.model_args names no model (pretrained=...)")
    revision = given.get("revision") or claims.MAIN
    claim = claims.claim_of_hub_arguments(given | {"pretrained": named, "revision": revision})
    last = claims.last_step(claim) if claim.raw_step is None and revision == claims.MAIN else None
    notes = asking_notes(given)
    return (claim, notes) if last is None else (replace(claim, raw_step=last), (TAKEN_AS_LAST, *notes))
