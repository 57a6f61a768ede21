"""Published accuracies of arithmetic by operand and checkpoint, the data behind the term-frequency experiment."""

from __future__ import annotations

import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from workflow_scripts.report.curves import select
from workflow_scripts.report.figure import Drawing
from workflow_scripts.report.grid import panel_grid
from workflow_scripts.report.style import ordered_sizes
from workflow_scripts.report.tables import Tables

PREFIX = "num_reasoning_arithmetic_multiplication_"
SHOTS = 16


def published_arithmetic(tables: Tables) -> Drawing:
    """Heat map of multiplication: first operand against checkpoint, a panel per size."""
    rows = multiplication(tables.published)
    sizes = ordered_sizes(list(rows["size"]))
    figure, axes = panel_grid(len(sizes) + 1, height=0.72, gap=0.62)
    scale = Normalize(0, 1)
    colours = ScalarMappable(scale, "viridis")
    for ax, size in zip(axes, sizes, strict=False):
        grid = rows[rows["size"] == size].pivot_table(index="step", columns="operand", values="value")
        ax.imshow(grid.to_numpy(), aspect="auto", cmap="viridis", norm=scale, origin="lower")
        ax.set_yticks(range(len(grid.index)), [f"{step // 1000}k" for step in grid.index], fontsize=5.5)
        ax.set_xticks(range(0, 100, 10))
        ax.set_title(size, fontsize=7.5)
        ax.grid(visible=False)
    for ax in axes[: len(sizes) : 2]:
        ax.set_ylabel("step", fontsize=7)
    axes[-1].set_axis_off()
    for ax in axes[len(sizes) - 2 : len(sizes)]:  # the lowest of each column
        ax.set_xlabel("first operand")
    figure.colorbar(
        colours, ax=axes[-1], orientation="horizontal", fraction=0.35, aspect=30, shrink=0.94, label="accuracy"
    )
    tens = rows[(rows["step"] == rows["step"].max()) & (rows["size"] == sizes[-1])]
    easy = tens[(tens["operand"] < 10) | (tens["operand"] % 10 == 0)]["value"].mean()
    return Drawing(
        figure,
        rows,
        "Multiplication by first operand",
        f"Accuracy (acc) on {SHOTS}-shot multiplication, 50 questions per first operand, by operand (across) and step "
        "(upwards), deduplicated models of version 0, as published in evals/csv. There are no values for 70m.",
        f"Operands below 10 and multiples of 10 are answered first: at the end {easy:.2f} on average for {sizes[-1]}, "
        f"against {tens['value'].mean():.2f} over all operands.",
    )


def multiplication(published: pd.DataFrame) -> pd.DataFrame:
    """Accuracies of multiplication: size, model, step, operand, value."""
    named = published[published["task"].astype(str).str.startswith(PREFIX)]
    rows = select(named, metric="acc", shots=SHOTS).astype({"task": str, "size": str, "model": str})
    rows = rows.assign(operand=rows["task"].str.removeprefix(PREFIX).astype(int))
    return rows[["size", "model", "step", "operand", "value"]].sort_values(["size", "step", "operand"], kind="stable")
