"""The final scores of the 16 published models as a table: picture, numbers, and Markdown for other people's pages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes

from workflow_scripts.published.frame_rows import row_of_largest, rows_of
from workflow_scripts.published.summary import CORE_TASKS, LAST_STEP, MMLU_PREFIX, final_scores, final_table
from workflow_scripts.report.drawing.curve_panels import Z95, select
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import panel_grid
from workflow_scripts.report.drawing.style import FAINT, GRID, INK
from workflow_scripts.report.figures.own_points import joined_rows, own_points
from workflow_scripts.report.figures.published_groups import own_means
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.report.score_rows import shot_words
from workflow_scripts.suite.registry import load_suite

NAME_COLUMNS = 2.4  # width of the column of names in widths of a number
LINE_HEIGHT = 0.162  # inches
OURS, MARKS = "   ours", {True: "\N{BLACK DIAMOND}", False: "\N{WHITE DIAMOND}"}
OWN_REMARK = (
    " Ours: scored in this run; a hollow diamond where lm-eval builds the requests differently today "
    "(docs/evaluation.md)."
)
DATA_TITLES = {"standard": "trained on the Pile", "deduped": "trained on the deduplicated Pile"}


@dataclass(frozen=True)
class Line:
    """One line of the table: its name, and text and colour of each size's cell."""

    name: str
    cells: Sequence[tuple[str, str]]


def published_final(tables: Tables, shots: int) -> Drawing:
    """Table of tasks x sizes for both data sets, ours below each task; scores that chance explains are grey."""
    scores, own = final_scores(tables.published, shots), own_final(tables, shots)
    parts = {data: table_lines(scores, own, data) for data in DATA_TITLES}
    most = max(len(lines) for lines in parts.values())
    figure, axes = panel_grid(len(parts), columns=1, height=LINE_HEIGHT * (most + 1), gap=0.4)
    for ax, (data, title) in zip(axes, DATA_TITLES.items(), strict=True):
        ax.set_title(title, pad=8)
        draw_table(ax, list(final_table(scores, data).columns), parts[data], most)
    best = row_of_largest(scores[scores["task"] == "lambada_openai"], "value")
    return Drawing(
        figure,
        joined_rows(scores, own),
        f"Published final scores, {shot_words(shots)}",
        f"Accuracy (acc) at step 143000, {shot_words(shots)}, as published in EleutherAI/pythia (evals/pythia-v1). "
        "MMLU is the unweighted mean over 57 subjects. Grey: not above chance at 95 %. WSC at .365 (38 of 104) "
        "is a model that always gives the same answer." + (OWN_REMARK if len(own) else ""),
        f"A table of 9 tasks by 8 sizes for both data sets; LAMBADA is highest for {best['size']} {best['data']} with "
        f"{best['value']:.3f}.",
        markdown=markdown_of(scores, parts, shots),
    )


def own_final(tables: Tables, shots: int) -> pd.DataFrame:
    """Our scores at the last step in the columns of ``final_scores`` and ``comparable``; empty where there are none."""
    parts = [own_points(tables, task, shots) for task in CORE_TASKS]
    subjects = {task: "mmlu" for task in tables.published["task"].astype(str).unique() if task.startswith(MMLU_PREFIX)}
    means = own_means(tables, shots, subjects)
    held = [part for part in (*parts, means.assign(task="mmlu") if len(means) else means) if len(part)]
    if not held:
        return pd.DataFrame()
    rows = pd.concat(held, ignore_index=True)
    return rows[rows["step"] == LAST_STEP][["task", "data", "size", "value", "stderr", "n", "comparable"]]


def table_lines(scores: pd.DataFrame, own: pd.DataFrame, data: str) -> list[Line]:
    """Lines for one data set: each task, and below it ours with a diamond, full where asked as in 2023."""
    table, errors = final_table(scores, data), final_table(scores, data, "stderr")
    lines = []
    for task in map(str, table.index):
        chance = load_suite("pythia").tasks[task].chance or 0.0
        cells = [
            (score_text(value), INK if value - Z95 * error > chance else FAINT)
            for value, error in zip(table.loc[task], errors.loc[task], strict=True)
        ]
        lines.append(Line(titles()[task], cells))
        ours = select(own, task=task, data=data)
        if len(ours):
            lines.append(Line(OURS, own_cells(ours, list(table.columns), chance)))
    return lines


def own_cells(ours: pd.DataFrame, sizes: Sequence[str], chance: float) -> list[tuple[str, str]]:
    """Text and colour for each size, empty where we have none."""
    cells = dict.fromkeys(sizes, ("", INK))
    for row in rows_of(ours):
        sure = row.value - Z95 * row.stderr > chance
        mark = MARKS[bool(row.comparable)]
        cells[str(row.size)] = (f"{mark} {score_text(float(row.value))}", INK if sure else FAINT)
    return list(cells.values())


def draw_table(ax: Axes, sizes: Sequence[str], lines: Sequence[Line], most: int) -> None:
    """Write ``lines`` as text between hair lines, as high as if there were ``most`` of them."""
    ax.set_axis_off()
    ax.set_xlim(0, NAME_COLUMNS + len(sizes))
    ax.set_ylim(most + 0.5, -0.5)
    for column, size in enumerate(sizes):
        ax.text(NAME_COLUMNS + column + 0.9, 0, size, ha="right", va="center", fontsize=7, color=FAINT)
    for row, line in enumerate(lines, start=1):
        if line.name != OURS:
            ax.axhline(row - 0.5, color=GRID, linewidth=0.6)
        ax.text(0, row, line.name, va="center", fontsize=7, color=INK)
        for column, (text, colour) in enumerate(line.cells):
            ax.text(NAME_COLUMNS + column + 0.9, row, text, ha="right", va="center", fontsize=7, color=colour)


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


def markdown_of(scores: pd.DataFrame, parts: Mapping[str, Sequence[Line]], shots: int) -> str:
    """The same table in Markdown."""
    blocks = [f"# Published final scores, {shot_words(shots)}"]
    for data, title in DATA_TITLES.items():
        sizes = final_table(scores, data).columns
        lines = [f"| {title} | {' | '.join(sizes)} |", "|" + "---|" * (len(sizes) + 1)]
        lines += [f"| {line.name} | {' | '.join(text for text, _ in line.cells)} |" for line in parts[data]]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"
