"""Version 0 against today's suite: the same sizes and data, trained again with one recipe for all."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from workflow_scripts.published.frame_rows import rows_of
from workflow_scripts.published.summary import CORE_TASKS, LAST_STEP, suite_rows
from workflow_scripts.report.drawing.curve_panels import Z95, select
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import panel_grid
from workflow_scripts.report.drawing.style import INK, REFERENCE_LINE, ordered_sizes, size_colours
from workflow_scripts.report.figures.own_points import REMARK, joined_rows, legend_of_own, own_points
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.suite.registry import load_suite

MARKERS = {"v0": "d", "v1": "D"}  # ours
THIN = " Thin diamonds are of version 0."
PAIRED_BY = ["task", "size", "data"]
OFFSET = {"standard": 0.17, "deduped": -0.17}  # standard above deduplicated in a row


def published_versions(tables: Tables) -> Drawing:
    """Final zero-shot scores of version 0 and of today's suite, joined by a line: one per size and data set."""
    rows, ours = version_pairs(tables.published), own_versions(tables)
    colours, sizes = size_colours(list(rows["size"])), ordered_sizes(list(rows["size"]))
    figure, axes = panel_grid(len(CORE_TASKS), columns=4, height=1.75, gap=0.55)
    tasks = load_suite("pythia").tasks
    for ax, task in zip(axes, CORE_TASKS, strict=True):
        draw_pairs(ax, rows[rows["task"] == task], sizes, colours)
        draw_own_versions(ax, select(ours, task=task), sizes, colours)
        ax.set_title(tasks[task].title, fontsize=7.5)
        if tasks[task].chance:
            ax.axvline(tasks[task].chance or 0, **REFERENCE_LINE)
    handles = [
        mark("version 0", "white"),
        mark("today", INK),
        Line2D([], [], color=INK, label="standard (above)"),
        Line2D([], [], color=INK, linestyle=(0, (1.5, 1)), label="deduplicated (below)"),
    ]
    figure.legend(handles=handles, loc="upper right", ncols=4, borderaxespad=0.1)
    legend_of_own(figure, ours, place="upper left")
    beyond = rows[(rows["difference"].abs() > Z95 * rows["stderr"])]
    return Drawing(
        figure,
        joined_rows(rows, ours),
        "Version 0 and today's suite",
        "Zero-shot accuracy (acc) at the last checkpoint: open circles version 0 (evals/pythia-v0), full circles "
        "today's suite (evals/pythia-v1), same size and data. The versions differ in batch size (160m, 410m, 1.4b) "
        "and in the schedule of the learning rate. Dotted: chance. The table has the "
        "difference and its standard error, which takes the two as independent although the items are the same."
        + (REMARK + THIN if len(ours) else ""),
        f"In {len(beyond)} of {len(rows)} pairs the difference is more than {Z95} standard errors; the mean difference "
        f"is {rows['difference'].mean():+.3f}.",
    )


def version_pairs(published: pd.DataFrame) -> pd.DataFrame:
    """Final accuracies: task, size, data, v0, v1, difference (v1 - v0) and its standard error."""
    sides = {}
    for version in ("v0", "v1"):
        rows = select(suite_rows(published, 0, version), task=list(CORE_TASKS), metric="acc", step=LAST_STEP)
        sides[version] = rows.astype(dict.fromkeys(PAIRED_BY, str))[[*PAIRED_BY, "value", "stderr"]]
    both = sides["v0"].merge(sides["v1"], on=PAIRED_BY, suffixes=("_v0", "_v1"))
    error = np.hypot(both["stderr_v0"], both["stderr_v1"])
    frame = both.assign(difference=both["value_v1"] - both["value_v0"], stderr=error)
    return frame.rename(columns={"value_v0": "v0", "value_v1": "v1"}).drop(columns=["stderr_v0", "stderr_v1"])


def own_versions(tables: Tables) -> pd.DataFrame:
    """Our final scores of either version: task, size, data, version, value and comparable; empty where we have none."""
    parts = [
        own_points(tables, task, shots=0, version=key).assign(version=key) for key in MARKERS for task in CORE_TASKS
    ]
    rows = pd.concat(parts, ignore_index=True)
    return rows[rows["step"] == LAST_STEP][[*PAIRED_BY, "version", "value", "comparable"]] if len(rows) else rows


def draw_own_versions(ax: Axes, rows: pd.DataFrame, sizes: list[str], colours: Mapping[str, str]) -> None:
    """Diamonds on the rows of the pairs, thin ones for version 0."""
    for row in rows_of(rows):
        y, colour = sizes.index(str(row.size)) + OFFSET[str(row.data)], colours[str(row.size)]
        face, edge = (colour, INK) if row.comparable else ("white", colour)
        ax.plot(row.value, y, MARKERS[str(row.version)], color=face, markeredgecolor=edge, markeredgewidth=0.6,
                markersize=3.6, zorder=5)  # fmt: skip


def mark(label: str, face: str) -> Line2D:
    """Circle for the legend."""
    return Line2D([], [], marker="o", markersize=4, linestyle="none", color=INK, markerfacecolor=face, label=label)


def draw_pairs(ax: Axes, rows: pd.DataFrame, sizes: list[str], colours: dict[str, str]) -> None:
    """One row per size, two joined pairs in it."""
    for row in rows_of(rows):
        y, colour = sizes.index(str(row.size)) + OFFSET[str(row.data)], colours[str(row.size)]
        style = "-" if row.data == "standard" else (0, (1.5, 1))
        ax.plot([row.v0, row.v1], [y, y], color=colour, linestyle=style, linewidth=1.2, zorder=2)
        ax.plot(row.v0, y, "o", color="white", markeredgecolor=colour, markersize=3.2, zorder=3)
        ax.plot(row.v1, y, "o", color=colour, markersize=3.2, zorder=4)
    ax.set_yticks(range(len(sizes)), sizes, fontsize=6)
    ax.set_ylim(-0.6, len(sizes) - 0.4)
    ax.xaxis.set_major_locator(MaxNLocator(4))
