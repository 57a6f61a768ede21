"""Accuracy of each operand at each checkpoint as a heat map: which numbers are answered, and from when on."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import panel_grid
from workflow_scripts.report.report_tables import Tables

MOST_TICKS = 10


def term_heat_map(tables: Tables) -> Drawing:
    """A panel per size and task: checkpoints from left to right, operands from below, colour is accuracy."""
    frame = tables.experiments["term_frequency_terms"]
    rows = frame[(frame["mode"] == "word") & (frame["data"] == "standard") & frame["control"].notna()]
    rows = rows[rows["shots"] == rows.groupby("task")["shots"].transform("max")].astype({"size": str, "task": str})
    panels = list(rows.groupby(["task", "size"], sort=False))
    figure, axes = panel_grid(len(panels), columns=3, height=2.2)
    top = max(float(rows["accuracy"].max()), 0.01) if len(rows) else 1.0
    for place, (ax, ((task, size), part)) in enumerate(zip(axes, panels, strict=True)):
        draw_panel(ax, part, top)
        ax.set_title(f"{size}, {task}, {int(part['shots'].iloc[0])} examples", fontsize=7.5)
        ax.set_xlabel("step")
        if place % 3 == 0:
            ax.set_ylabel("first operand")
    mean = rows.groupby("control")["accuracy"].mean()
    words = "No operand was tested." if mean.empty else (
        f"Over all shown models and steps operand {mean.idxmax():.0f} is answered best ({mean.max():.2f}) and "
        f"operand {mean.idxmin():.0f} worst ({mean.min():.2f})."
    )  # fmt: skip
    return Drawing(
        figure,
        rows,
        "Accuracy by operand over training",
        "Share of correct answers for each first operand at each checkpoint, from 0 (the colour of the page) to "
        f"{top:.2f} (the strongest colour). "
        "The largest number of examples; standard data. Small operands are both frequent and easy.",
        words,
    )


def draw_panel(ax: Axes, part: pd.DataFrame, top: float) -> None:
    """One heat map: a column per step, a row per operand."""
    grid = part.pivot_table(index="control", columns="step", values="accuracy", sort=True)
    ax.pcolormesh(grid.to_numpy(dtype=float), cmap="Blues", vmin=0, vmax=top, rasterized=True)
    ax.grid(visible=False)
    columns = np.arange(0, len(grid.columns), -(-len(grid.columns) // 5))
    ax.set_xticks(columns + 0.5, [f"{grid.columns.tolist()[place]:,}" for place in columns])
    lines = np.arange(0, len(grid.index), -(-len(grid.index) // MOST_TICKS))
    ax.set_yticks(lines + 0.5, [f"{grid.index.tolist()[place]:.0f}" for place in lines])
