"""Numbers for the explorer on the page: every score of this run and the published ones, compact.

A series is one model on one task with one number of shots: rows of [step, tokens, value, stderr, items, file, note],
where file (with the start of its sha256) and note are places in a list of words, because most repeat. Where a run
scores published models, its lines are shown beside the published ones (``ours``). Values are rounded to five digits:
the explorer is for looking, the tables beside the page are for numbers.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from workflow_scripts.json_values import JsonObject
from workflow_scripts.published.summary import CORE_TASKS, MMLU_PREFIX, suite_rows
from workflow_scripts.report.drawing.curve_panels import select
from workflow_scripts.report.drawing.style import ordered_sizes, size_colours
from workflow_scripts.report.figures.published_groups import group_means
from workflow_scripts.report.page.report_inputs import ReportInputs
from workflow_scripts.report.score_rows import METRIC_WORDS, shot_words, task_rows
from workflow_scripts.suite.models import Task
from workflow_scripts.suite.registry import load_suite

DIGITS = 5
PUBLISHED_SHOTS = (0, 5)
BIAS_TASKS = ("crows_pairs_english", "crows_pairs_english_gender")
SHORT_HASH = 12
MOST_STEPS = 40  # per source; 154 checkpoints of 16 models would make the page too large


class Words:
    """A list of words without repeats."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, word: str) -> int:
        """Place of ``word`` in the list, added when new."""
        return self.places.setdefault(word, len(self.places))


def explore_data(inputs: ReportInputs) -> JsonObject | None:
    """Everything the explorer shows, None where there are no scores at all."""
    words = Words()
    sources = []
    if len(inputs.scores):
        sources.append(own_source(inputs, words))
    if len(inputs.published):
        sources.append(published_source(inputs.published, inputs.own, words))
    sources = [shown for shown in sources if shown["panels"]]
    return {"sources": sources, "words": list(words.places)} if sources else None


def own_source(inputs: ReportInputs, words: Words) -> JsonObject:
    """Scores of this run."""
    scores = inputs.scores[inputs.scores["step"].isin(shown_steps(inputs.scores["step"]))]
    suites = sorted(set(scores["suite"].astype(str)))
    parts = [part for suite in suites for part in task_rows(select(scores, suite=suite), suite, inputs.run)]
    panels = with_lines(panel(part.task, part.shots, part.rows, words) for part in parts)
    return source("this run", inputs.scores, panels)


def shown_steps(steps: pd.Series) -> list[int]:
    """All steps where there are few, else MOST_STEPS of them, evenly in rank, first and last included."""
    known = sorted(int(step) for step in steps.unique())
    if len(known) <= MOST_STEPS:
        return known
    last = len(known) - 1
    return [known[round(place * last / (MOST_STEPS - 1))] for place in range(MOST_STEPS)]


def published_source(published: pd.DataFrame, own: pd.DataFrame, words: Words) -> JsonObject:
    """Published scores of the 16 models, zero- and five-shot, and ours of the same models on single tasks."""
    panels: list[JsonObject] = []
    models: set[str] = set()
    for shots in PUBLISHED_SHOTS:
        ours = select(own, shots=shots)
        for task, rows in published_parts(published, shots):
            shown = panel(task, shots, rows, words)
            models.update(line["model"] for line in shown["lines"])
            if len(ours):
                mine = select(ours, task=task.name, metric=task.metric)
                shown["lines"] += [{**line, "ours": True} for line in lines_of(mine, words)]
            panels.append(shown)
    return source("published", published[published["model"].isin(models)], with_lines(panels))


def published_parts(published: pd.DataFrame, shots: int) -> Iterator[tuple[Task, pd.DataFrame]]:
    """Tasks and the rows of each that were published with one number of shots; of MMLU the mean of its subjects."""
    tasks, rows = load_suite("pythia").tasks, suite_rows(published, shots)
    for name in (*CORE_TASKS, *BIAS_TASKS):
        yield tasks[name], select(rows, task=name, metric=tasks[name].metric)
    subjects = {name: "mmlu" for name in rows["task"].astype(str).unique() if name.startswith(MMLU_PREFIX)}
    if subjects:
        means = group_means(select(rows, metric="acc"), subjects)
        told = f"the mean of {len(subjects)} subjects"
        yield tasks["mmlu"], means.assign(metric="acc", source_file=told, source_sha256="", note="")


def with_lines(panels: Iterable[JsonObject]) -> list[JsonObject]:
    """Those of ``panels`` that have something to show."""
    return [panel for panel in panels if panel["lines"]]


def source(name: str, rows: pd.DataFrame, panels: list[JsonObject]) -> JsonObject:
    """One source with the colours of its sizes."""
    sizes = ordered_sizes([str(size) for size in rows["size"].unique()])
    return {"name": name, "colours": size_colours(sizes), "dark": size_colours(sizes, is_dark=True), "panels": panels}


def panel(task: Task, shots: int, rows: pd.DataFrame, words: Words) -> JsonObject:
    """One task with one number of shots: a line per model."""
    metric = str(rows["metric"].iloc[0]) if len(rows) else task.metric
    return {
        "task": task.name,
        "name": task.title,
        "shots": shot_words(shots),
        "title": f"{task.title}, {shot_words(shots)}",
        "metric": METRIC_WORDS.get(metric, metric.replace("_", " ")),
        "chance": task.chance,
        "lines": lines_of(rows, words),
    }


def lines_of(rows: pd.DataFrame, words: Words) -> list[JsonObject]:
    """A line per model, small to large, standard data first."""
    lines: list[JsonObject] = [
        {
            "model": str(model),
            "size": str(of_model["size"].iloc[0]),
            "data": str(of_model["data"].iloc[0]),
            "points": [point(row, words) for row in of_model.sort_values("step").itertuples()],
        }
        for model, of_model in rows[rows["value"].abs() < math.inf].groupby("model", observed=True)
    ]
    order = ordered_sizes([line["size"] for line in lines])
    return sorted(lines, key=lambda line: (order.index(line["size"]), line["data"] != "standard"))


def point(row: Any, words: Words) -> list[float | int | None]:
    """One row of a series; its value is finite (JSON has no other numbers)."""
    note = getattr(row, "note", None)
    return [
        int(row.step),
        int(row.tokens),
        round(float(row.value), DIGITS),
        round(float(row.stderr), DIGITS) if math.isfinite(row.stderr) else None,
        None if pd.isna(row.n) else int(row.n),
        words.place(source_words(str(row.source_file), str(row.source_sha256))),
        words.place("" if note is None or pd.isna(note) else str(note)),
    ]


def source_words(file: str, sha256: str) -> str:
    """Where a number is from; a mean over many files has no hash of its own.

    >>> source_words("scores/a.json", "0123456789abcdef"), source_words("the mean of 57 subjects", "")
    ('scores/a.json (sha256 0123456789ab)', 'the mean of 57 subjects')
    """
    return f"{file} (sha256 {sha256[:SHORT_HASH]})" if sha256 else file
