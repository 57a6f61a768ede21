"""Selections of our scores that figures, tables and sentences share: by task, last checkpoint, largest model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from workflow_scripts.errors import DataError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.report.drawing.curve_panels import select, with_band
from workflow_scripts.suite.models import Task
from workflow_scripts.suite.registry import load_suite

# What the y axis of a metric is called; others are called as lm-eval calls them.
METRIC_WORDS = {
    "acc": "accuracy",
    "acc_norm": "accuracy, by length",
    "pct_stereotype": "share stereotyped",
    "exact_match": "exact matches",
}
SHOT_WORDS = {0: "zero-shot", 1: "one-shot", 5: "five-shot"}


@dataclass(frozen=True)
class TaskRows:
    """Scores of one task with one number of shots, by the task's headline metric."""

    task: Task
    shots: int
    rows: pd.DataFrame

    @property
    def title(self) -> str:
        """Title of a panel."""
        return f"{self.task.title}, {shot_words(self.shots)}"

    @property
    def metric(self) -> str:
        """Words for the metric, for the y axis."""
        return METRIC_WORDS.get(self.task.metric, self.task.metric.replace("_", " "))

    @property
    def items(self) -> str:
        """Task, metric and number of items, for captions."""
        counted = self.rows["n"].dropna()
        count = f", n = {int(counted.max()):,}" if len(counted) else ""
        return f"{self.task.title} {self.task.metric}{count}"


def shot_words(shots: int) -> str:
    """Words for a number of shots.

    >>> shot_words(5), shot_words(3)
    ('five-shot', '3-shot')
    """
    return SHOT_WORDS.get(shots, f"{shots}-shot")


def by_task(scores: pd.DataFrame, run: JsonMapping) -> Iterator[TaskRows]:
    """Scores of the suite's main models by task and shots, the suite's tasks first, then others that the run asks for.

    Arms and other versions (seeds, v0) are left out where there are main models: they would be second lines of a size.
    """
    for suite in sorted(set(scores["suite"].astype(str))):
        of_suite = select(scores, suite=suite, arm="baseline")
        main = select(of_suite, version=main_version(suite))
        yield from task_rows(main if len(main) else of_suite, suite, run)


def main_version(suite: str) -> str:
    """Version of the models that ``models: all`` means: that of the suite's first model."""
    return next(iter(load_suite(suite).models.values())).version


def task_rows(scores: pd.DataFrame, suite: str, run: JsonMapping) -> Iterator[TaskRows]:
    """Scores of any models of one suite by task and shots, in the suite's order, then in the run's."""
    known = dict(load_suite(suite).tasks)
    for task in run.get("tasks", []):
        facts = Task(task["name"], task.get("repository", ""), task["metric"], task["title"], task["chance"])
        known.setdefault(facts.name, facts)
    for name, task in known.items():
        of_task = select(scores, task=name, metric=task.metric)
        for shots in sorted(of_task["shots"].dropna().unique()):
            rows = with_band(of_task[of_task["shots"] == shots]).assign(doubtful=False)
            yield TaskRows(task, int(shots), rows)


def shot_difference(zero: pd.DataFrame, five: pd.DataFrame) -> pd.DataFrame:
    """Rows of five-shot minus zero-shot at the same checkpoints, with the error of the difference.

    The table of scores has it paired by document; where it has none, it is that of two independent scores: too large.
    """
    merged = five.merge(zero[["model", "step", "value", "stderr"]], on=["model", "step"], suffixes=("", "_zero"))
    squares = merged["stderr"].astype(float) ** 2 + merged["stderr_zero"].astype(float) ** 2
    independent = pd.Series(np.sqrt(squares), index=merged.index)
    paired = merged["gain_stderr"] if "gain_stderr" in merged else pd.Series(np.nan, index=merged.index)
    difference = merged.assign(
        value=merged["value"] - merged["value_zero"],
        stderr=paired.astype(float).fillna(independent),
        is_paired=paired.notna(),
    )
    return with_band(difference.drop(columns=["value_zero", "stderr_zero"]))


def at_last_step(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of each model's last checkpoint."""
    return rows[rows["step"] == rows.groupby("model", observed=True)["step"].transform("max")]


def joined(parts: Sequence[TaskRows]) -> pd.DataFrame:
    """Rows of all parts; raises DataError if there are no rows."""
    if not parts:
        raise DataError("the table of scores has none of the suite's tasks with the compared numbers of shots")
    frame = pd.concat([part.rows for part in parts], ignore_index=True)
    return frame.astype(dict.fromkeys(("task", "metric", "model", "size", "data"), str))
