"""Readers of the shapes of result files that Pythia published.

    harness results   {"results": {task: {metric: number}}, "versions", "config"}       lm-eval up to 0.3
    WinoBias list     {"results": [ {task_name, prompt_name, em, em_stderr} ], ...}      the bigscience fork of lm-eval
    WinoBias table    {"table_results": {task+prompt: {em, em_stderr}}, "model_args"}    the same, stripped
    harness 0.4       {"results": {task: {"acc,none": number}}, "n-shot", ...}           see harness_04.py
    term frequency    CSV with columns model, checkpoint, task, fewshot, acc, acc_stderr

A reader returns what is written and changes no number. A shape that is none of these is a DataError.
"""

import csv
import io
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from workflow_scripts.errors import DataError
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.published import claims
from workflow_scripts.published.claims import Claim
from workflow_scripts.published.formats.harness_04 import read_harness_04
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

CSV_COLUMNS = ["model", "checkpoint", "task", "fewshot", "acc", "acc_stderr"]


def read_result(relative: str, raw: bytes) -> list[Content]:
    """Contents of a result file; ``relative`` is its path below ``evals/``; raises DataError with the reason."""
    if relative.endswith(".csv"):
        return list(read_term_frequency(raw))
    if relative.endswith(".jsonl"):
        raise DataError("a file of single answers (.jsonl); their means are in the results_*.json beside it")
    if not relative.endswith(".json"):
        raise DataError("neither a .json nor a .csv file: nothing to read")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DataError(f"broken JSON: {error}") from error
    contents = shape_of(document)(document)
    if not any(content.measurements for content in contents):
        raise DataError("; ".join(reason for content in contents for reason in content.refused) or "holds no number")
    return contents


def shape_of(document: object) -> Callable[[JsonObject], list[Content]]:
    """Reader for a parsed file; raises DataError that names what was seen and what is known."""
    if isinstance(document, dict):
        results = document.get("results")
        if isinstance(results, dict) and "n-shot" in document:
            return read_harness_04
        if isinstance(results, dict) and "config" in document:
            return read_harness_results
        if isinstance(results, list) and "config" in document:
            return read_winobias_list
        if "table_results" in document and isinstance(document.get("model_args"), dict):
            return read_winobias_table
    seen = ", ".join(sorted(document)[:6]) if isinstance(document, dict) else type(document).__name__
    raise DataError(f"unknown shape ({seen}); known are lm-eval results up to 0.4, WinoBias lists and tables")


def read_harness_results(document: JsonObject) -> list[Content]:
    """Results of lm-eval up to 0.3: flat metrics, one number of shots for all tasks."""
    config, versions = mapping(document, "config"), mapping(document, "versions")
    refused: list[str] = []
    measurements = [
        measurement
        for task in document["results"]
        for measurement in flat_metrics(task, text(versions.get(task)), mapping(document["results"], task), refused)
    ]
    return [content_of_config(config, f"lm-eval<=0.3 {config.get('model')}", measurements, refused)]


def read_winobias_list(document: JsonObject) -> list[Content]:
    """Results of the bigscience fork: a list with one entry per task and prompt."""
    config, versions = mapping(document, "config"), mapping(document, "versions")
    measurements: list[Measurement] = []
    refused: list[str] = []
    for entry in document["results"]:
        if not isinstance(entry, dict) or not {"task_name", "prompt_name"} <= entry.keys():
            raise DataError("an entry of the list of results has no task_name and prompt_name")
        name = f"{entry['task_name']}+{entry['prompt_name']}"
        metrics = {key: value for key, value in entry.items() if isinstance(value, float)}
        measurements += flat_metrics(name, text(versions.get(name)), metrics, refused)
    return [content_of_config(config, f"bigscience lm-eval {config.get('model')}", measurements, refused)]


def read_winobias_table(document: JsonObject) -> list[Content]:
    """The stripped variant: neither harness nor shots are stated."""
    measurements: list[Measurement] = []
    refused: list[str] = []
    table = mapping(document, "table_results")
    for name in table:
        metrics = {key: value for key, value in mapping(table, name).items() if isinstance(value, float)}
        measurements += flat_metrics(name, None, metrics, refused)
    claim = claims.claim_of_config_name(document["model_args"])
    return [Content(claim, "not stated", measurements, {}, ("shots-not-stated",), tuple(refused))]


def read_term_frequency(raw: bytes) -> Iterator[Content]:
    """Arithmetic accuracies: one content per model, checkpoint and number of shots."""
    reader = csv.DictReader(io.StringIO(raw.decode("utf-8", errors="replace"), newline=""))
    try:
        rows, columns = list(reader), reader.fieldnames
    except csv.Error as error:
        raise DataError(f"line {reader.line_num}: not CSV: {error}") from error
    if columns != CSV_COLUMNS:
        raise DataError(f"unknown CSV columns {columns}; known are {CSV_COLUMNS}")
    groups: dict[tuple[str, int, int], list[Measurement]] = defaultdict(list)
    refused: dict[tuple[str, int, int], list[str]] = defaultdict(list)
    for number, row in enumerate(rows, start=2):
        try:
            key = row["model"], int(row["checkpoint"]), int(row["fewshot"])
            metrics = {"acc": float(row["acc"]), "acc_stderr": float(row["acc_stderr"])}
        except (ValueError, TypeError) as error:
            raise DataError(f"line {number}: {error}") from error
        groups[key] += flat_metrics(row["task"], None, metrics, refused[key])
    for (model, checkpoint, shots), measurements in groups.items():
        claim = claims.claim_of_old_name(model, checkpoint)
        left_out = tuple(refused[model, checkpoint, shots])
        yield Content(replace(claim, shots=shots), "not stated", measurements, refused=left_out)


def content_of_config(
    config: JsonMapping, harness: str, measurements: list[Measurement], refused: Sequence[str]
) -> Content:
    """Content of a file that carries a ``config`` section: one number of shots, and what the section says."""
    claim, facts = claim_of_config(config)
    claim = replace(claim, shots=whole(config.get("num_fewshot")))
    notes = (*limit_notes(config), *facts.pop("notes", ()))
    return Content(claim, harness, measurements, facts, notes, tuple(refused))


def claim_of_config(config: JsonMapping) -> tuple[Claim, JsonObject]:
    """Claim of a ``config`` section and the settings that the audit looks at."""
    arguments = config.get("model_args")
    facts: JsonObject = {"batch_size": config.get("batch_size")}
    if not isinstance(arguments, dict):
        given = given_arguments(arguments)
        claim = claims.claim_of_hub_arguments(given)
        return claim, facts | {"pretrained": str(arguments), "notes": asking_notes(given)}
    facts |= {
        key: arguments.get(key) for key in ("lr", "num_attention_heads", "hidden_size", "train_data_paths", "load")
    }
    facts["config_text"] = "\n".join(str(value) for value in mapping(arguments, "config_files").values())
    return claims.claim_of_neox(arguments), facts
