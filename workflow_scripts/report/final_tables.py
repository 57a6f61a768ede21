"""The final scores of the 16 published models as a table: picture, numbers, and Markdown for other people's pages."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from workflow_scripts.published.summary import CORE_TASKS, final_scores, final_table
from workflow_scripts.report.curves import Z95
from workflow_scripts.report.figure import Drawing
from workflow_scripts.report.grid import panel_grid
from workflow_scripts.report.score_rows import shot_words
from workflow_scripts.report.style import FAINT, GRID, INK
from workflow_scripts.report.tables import Tables
from workflow_scripts.suite.registry import load_suite

NAME_COLUMNS = 2.4  # width of the column of names in widths of a number
DATA_TITLES = {"standard": "trained on the Pile", "deduped": "trained on the deduplicated Pile"}


def published_final_zero_shot(tables: Tables) -> Drawing:
    """Final zero-shot accuracy, the paper's tables 7 and 11."""
    return published_final(tables.published, shots=0)


def published_final_five_shot(tables: Tables) -> Drawing:
    """Final five-shot accuracy, the paper's tables 8 and 12."""
    return published_final(tables.published, shots=5)


def published_final(published: pd.DataFrame, shots: int) -> Drawing:
    """Table of tasks x sizes for both data sets; scores that chance explains are grey."""
    scores = final_scores(published, shots)
    figure, axes = panel_grid(len(DATA_TITLES), columns=1, height=1.62, gap=0.4)
    for ax, (data, title) in zip(axes, DATA_TITLES.items(), strict=True):
        ax.set_title(title, pad=8)
        draw_table(ax, final_table(scores, data), final_table(scores, data, "stderr"))
    best = scores.loc[scores[scores["task"] == "lambada_openai"]["value"].idxmax()]
    return Drawing(
        figure,
        scores,
        f"Published final scores, {shot_words(shots)}",
        f"Accuracy (acc) at step 143000, {shot_words(shots)}, as published in EleutherAI/pythia (evals/pythia-v1). "
        "MMLU is the unweighted mean over 57 subjects. Grey: not above chance at 95 %. WSC at .365 (38 of 104) "
        "is a model that always gives the same answer.",
        f"A table of 9 tasks by 8 sizes for both data sets; LAMBADA is highest for {best['size']} {best['data']} with "
        f"{best['value']:.3f}.",
        markdown=markdown_of(scores, shots),
    )


def draw_table(ax: Axes, table: pd.DataFrame, errors: pd.DataFrame) -> None:
    """Write ``table`` as text between hair lines: rows are tasks, columns are sizes; ``errors`` are standard errors."""
    ax.set_axis_off()
    ax.set_xlim(0, NAME_COLUMNS + len(table.columns))
    ax.set_ylim(len(table) + 0.5, -0.5)
    tasks = load_suite("pythia").tasks
    for column, size in enumerate(table.columns):
        ax.text(NAME_COLUMNS + column + 0.9, 0, size, ha="right", va="center", fontsize=7, color=FAINT)
    for row, (task, values) in enumerate(table.iterrows(), start=1):
        ax.axhline(row - 0.5, color=GRID, linewidth=0.6)
        ax.text(0, row, tasks[str(task)].title, va="center", fontsize=7, color=INK)
        for column, value in enumerate(values):
            chance = tasks[str(task)].chance or 0.0
            colour = INK if value - Z95 * errors.loc[task].iloc[column] > chance else FAINT
            place = NAME_COLUMNS + column + 0.9
            ax.text(place, row, score_text(value), ha="right", va="center", fontsize=7, color=colour)


def titles() -> dict[str, str]:
    """Title of each row."""
    tasks = load_suite("pythia").tasks
    return {name: tasks[name].title for name in (*CORE_TASKS, "mmlu")}


def score_text(value: float) -> str:
    """Score in three digits without a leading zero.

    >>> score_text(0.7044), score_text(1.0)
    ('.704', '1.000')
    """
    return f"{value:.3f}".removeprefix("0")


def markdown_of(scores: pd.DataFrame, shots: int) -> str:
    """The same table in Markdown."""
    names, blocks = titles(), [f"# Published final scores, {shot_words(shots)}"]
    for data, title in DATA_TITLES.items():
        table = final_table(scores, data)
        lines = [f"| {title} | {' | '.join(table.columns)} |", "|" + "---|" * (len(table.columns) + 1)]
        lines += [
            f"| {names[str(task)]} | {' | '.join(score_text(value) for value in values)} |"
            for task, values in table.iterrows()
        ]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"
