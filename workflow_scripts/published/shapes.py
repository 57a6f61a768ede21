"""Readers of the shapes of result files that Pythia published.

    harness results   {"results": {task: {metric: number}}, "versions", "config"}       lm-eval up to 0.3
    WinoBias list     {"results": [ {task_name, prompt_name, em, em_stderr} ], ...}      the bigscience fork of lm-eval
    WinoBias table    {"table_results": {task+prompt: {em, em_stderr}}, "model_args"}    the same, stripped
    harness 0.4       {"results": {task: {"acc,none": number}}, "n-shot", ...}           other people's later runs
    term frequency    CSV with columns model, checkpoint, task, fewshot, acc, acc_stderr

A reader returns what is written and changes no number. A shape that is none of these is a DataError, and so is a
number that cannot be a result (NaN, infinite, an accuracy outside [0, 1]).
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from workflow_scripts.errors import DataError
from workflow_scripts.published import claims
from workflow_scripts.published.claims import Claim

SHARES = frozenset({"acc", "acc_norm", "pct_stereotype", "em"})  # means of 0/1 items: n follows from the error
TEXT_FIELDS = frozenset({"alias", "name", "sample_len", "samples"})
CSV_COLUMNS = ["model", "checkpoint", "task", "fewshot", "acc", "acc_stderr"]


class Measurement(NamedTuple):
    """One number of a result file; ``n`` is the number of items behind it, None where it cannot be told."""

    task: str
    task_version: str | None
    metric: str
    value: float
    stderr: float | None
    n: int | None


@dataclass(frozen=True)
class Content:
    """What one result file holds for one model, step and number of shots."""

    claim: Claim
    harness: str
    measurements: list[Measurement]
    facts: Mapping[str, Any] = field(default_factory=dict)  # recipe and settings, for the audit
    notes: tuple[str, ...] = ()


def read_result(relative: str, raw: bytes) -> list[Content]:
    """Contents of a result file; ``relative`` is its path below ``evals/``; raises DataError with the reason."""
    if relative.endswith(".csv"):
        return list(read_term_frequency(raw))
    if not relative.endswith(".json"):
        raise DataError("neither a .json nor a .csv file: nothing to read")
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise DataError(f"broken JSON: {error}") from error
    contents = shape_of(document)(document)
    if not any(content.measurements for content in contents):
        raise DataError("holds no number")
    return contents


def shape_of(document: Any) -> Callable[[dict[str, Any]], list[Content]]:
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


def read_harness_results(document: dict[str, Any]) -> list[Content]:
    """Results of lm-eval up to 0.3: flat metrics, one number of shots for all tasks."""
    config, versions = mapping(document, "config"), mapping(document, "versions")
    measurements = [
        measurement
        for task in document["results"]
        for measurement in flat_metrics(task, text(versions.get(task)), mapping(document["results"], task))
    ]
    claim, facts = claim_of_config(config)
    claim = replace(claim, shots=whole(config.get("num_fewshot")))
    return [Content(claim, f"lm-eval<=0.3 {config.get('model')}", measurements, facts, limit_notes(config))]


def read_harness_04(document: dict[str, Any]) -> list[Content]:
    """Results of lm-eval 0.4: metrics with a filter name, shots per task."""
    config, shots, versions = mapping(document, "config"), mapping(document, "n-shot"), mapping(document, "versions")
    arguments = config.get("model_args", "")
    if isinstance(arguments, dict):
        arguments = ",".join(f"{key}={value}" for key, value in arguments.items())
    by_shots: dict[int | None, list[Measurement]] = defaultdict(list)
    for task in document["results"]:
        metrics = mapping(document["results"], task)
        plain = {key.split(",")[0]: value for key, value in metrics.items() if key not in TEXT_FIELDS}
        plain = {key: value for key, value in plain.items() if isinstance(value, int | float)}
        by_shots[whole(shots.get(task))] += flat_metrics(task, text(versions.get(task)), plain)
    claim = claims.claim_of_hub_arguments(str(arguments))
    harness = f"lm-eval {document.get('lm_eval_version') or 0.4} {config.get('model', 'hf')}"
    return [Content(replace(claim, shots=k), harness, found) for k, found in by_shots.items()]


def read_winobias_list(document: dict[str, Any]) -> list[Content]:
    """Results of the bigscience fork: a list with one entry per task and prompt."""
    config, versions = mapping(document, "config"), mapping(document, "versions")
    measurements: list[Measurement] = []
    for entry in document["results"]:
        if not isinstance(entry, dict) or not {"task_name", "prompt_name"} <= entry.keys():
            raise DataError("an entry of the list of results has no task_name and prompt_name")
        name = f"{entry['task_name']}+{entry['prompt_name']}"
        metrics = {key: value for key, value in entry.items() if isinstance(value, float)}
        measurements += flat_metrics(name, text(versions.get(name)), metrics)
    claim, facts = claim_of_config(config)
    claim = replace(claim, shots=whole(config.get("num_fewshot")))
    return [Content(claim, f"bigscience lm-eval {config.get('model')}", measurements, facts, limit_notes(config))]


def read_winobias_table(document: dict[str, Any]) -> list[Content]:
    """The stripped variant: neither harness nor shots are stated."""
    measurements: list[Measurement] = []
    table = mapping(document, "table_results")
    for name in table:
        metrics = {key: value for key, value in mapping(table, name).items() if isinstance(value, float)}
        measurements += flat_metrics(name, None, metrics)
    claim = claims.claim_of_config_name(document["model_args"])
    return [Content(claim, "not stated", measurements, {}, ("shots-not-stated",))]


def read_term_frequency(raw: bytes) -> Iterator[Content]:
    """Arithmetic accuracies: one content per model, checkpoint and number of shots."""
    reader = csv.DictReader(io.StringIO(raw.decode("utf-8", errors="replace")))
    if reader.fieldnames != CSV_COLUMNS:
        raise DataError(f"unknown CSV columns {reader.fieldnames}; known are {CSV_COLUMNS}")
    groups: dict[tuple[str, int, int], list[Measurement]] = defaultdict(list)
    for number, row in enumerate(reader, start=2):
        try:
            key = row["model"], int(row["checkpoint"]), int(row["fewshot"])
            metrics = {"acc": float(row["acc"]), "acc_stderr": float(row["acc_stderr"])}
        except (ValueError, TypeError) as error:
            raise DataError(f"line {number}: {error}") from error
        groups[key] += flat_metrics(row["task"], None, metrics)
    for (model, checkpoint, shots), measurements in groups.items():
        size, version = claims.size_of(model)
        data = "deduped" if "dedup" in model else "standard"
        claim = Claim("pythia" if size else None, version, size, data, "baseline", None, checkpoint, shots)
        yield Content(replace(claim, batch=claims.DEFAULT_BATCH), "not stated", measurements)


def claim_of_config(config: Mapping[str, Any]) -> tuple[Claim, dict[str, Any]]:
    """Claim of a ``config`` section and the settings that the audit looks at."""
    arguments = config.get("model_args")
    facts: dict[str, Any] = {"batch_size": config.get("batch_size")}
    if not isinstance(arguments, dict):
        return claims.claim_of_hub_arguments(str(arguments)), facts | {"pretrained": str(arguments)}
    facts |= {
        key: arguments.get(key) for key in ("lr", "num_attention_heads", "hidden_size", "train_data_paths", "load")
    }
    facts["config_text"] = "\n".join(str(value) for value in mapping(arguments, "config_files").values())
    return claims.claim_of_neox(arguments), facts


def limit_notes(config: Mapping[str, Any]) -> tuple[str, ...]:
    """A note when only some items of each task were evaluated."""
    return () if config.get("limit") is None else ("limited-items",)


def flat_metrics(task: str, version: str | None, metrics: Mapping[str, Any]) -> Iterator[Measurement]:
    """Measurements of one task; ``metrics`` maps ``m`` and ``m_stderr`` to numbers.

    All metrics of a task come from the same items, so one that is no share takes n from a share beside it.
    """
    counts = {m: count_of(metrics[m], metrics.get(f"{m}_stderr")) for m in metrics if m in SHARES}
    shared = next((count for count in counts.values() if count is not None), None)
    for metric, value in metrics.items():
        if metric.endswith("_stderr"):
            continue
        stderr = metrics.get(f"{metric}_stderr")
        check_number(task, metric, value, stderr)
        yield Measurement(task, version, metric, float(value), stderr, counts.get(metric) or shared)


def count_of(share: float, stderr: float | None) -> int | None:
    """Items behind a share p with lm-eval's standard error s: n = p(1-p)/s^2 + 1; None where s is 0 or absent.

    >>> count_of(0.5, (0.25 / 99) ** 0.5), count_of(0.0, 0.0)
    (100, None)
    """
    if not stderr:
        return None
    count = share * (1 - share) / stderr**2 + 1
    return round(count) if abs(count - round(count)) < 1e-3 * count else None


def check_number(task: str, metric: str, value: Any, stderr: Any) -> None:
    """Raise DataError unless ``value`` can be a result of ``metric``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{task} {metric} is {value!r}: not a finite number")
    if metric in SHARES and not 0 <= value <= 1:
        raise DataError(f"{task} {metric} is {value}: outside [0, 1]")
    if stderr is not None and (not isinstance(stderr, int | float) or not math.isfinite(stderr) or stderr < 0):
        raise DataError(f"{task} {metric}_stderr is {stderr!r}: not a standard error")


def mapping(holder: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The table at ``holder[key]``, empty where there is none; raises DataError where it is something else."""
    value = holder.get(key)
    if value is not None and not isinstance(value, dict):
        raise DataError(f"{key} is a {type(value).__name__}, a table was expected")
    return value or {}


def whole(value: Any) -> int | None:
    """A whole number, None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: Any) -> str | None:
    """Version number as text."""
    return None if value is None else str(value)
