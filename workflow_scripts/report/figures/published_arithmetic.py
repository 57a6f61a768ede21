"""Published accuracies of arithmetic by operand and checkpoint, the data behind the term-frequency experiment."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from workflow_scripts.report.drawing.axes import amount_label
from workflow_scripts.report.drawing.curve_panels import select
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import panel_grid
from workflow_scripts.report.drawing.style import ordered_sizes
from workflow_scripts.report.figures.own_experiments import own_multiplication
from workflow_scripts.report.figures.own_points import joined_rows
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.suite.registry import load_suite

PREFIX = "num_reasoning_arithmetic_multiplication_"
SHOTS = 16
OWN_TASK = "multiplication"
MOST_STEPS = 6
OWN_REMARK = (
    " Panels of ours: models of today's suite in this run, the same questions with examples drawn by another rule, all "
    "tokens of the answer correct."
)


def published_arithmetic(tables: Tables) -> Drawing:
    """Heat map of multiplication: first operand against checkpoint, a panel per size."""
    rows, ours = multiplication(tables.published), own_multiplication(tables, OWN_TASK, SHOTS)
    sizes = ordered_sizes(list(rows["size"]))
    panels = {size: rows[rows["size"] == size] for size in sizes}
    names = (
        sorted(set(ours["model"]), key=lambda name: load_suite("pythia").model(name).parameters) if len(ours) else []
    )
    panels |= {f"ours: {name}": ours[ours["model"] == name] for name in names}
    figure = heat_maps(panels)
    tens = rows[(rows["step"] == rows["step"].max()) & (rows["size"] == sizes[-1])]
    easy = tens[(tens["operand"] < 10) | (tens["operand"] % 10 == 0)]["value"].mean()
    return Drawing(
        figure,
        joined_rows(rows, ours),
        "Multiplication by first operand",
        f"Accuracy (acc) on {SHOTS}-shot multiplication, 50 questions per first operand, by operand (across) and step "
        "(upwards), deduplicated models of version 0, as published in evals/csv. There are no values for 70m."
        + (OWN_REMARK if len(ours) else ""),
        f"Operands below 10 and multiples of 10 are answered first: at the end {easy:.2f} on average for {sizes[-1]}, "
        f"against {tens['value'].mean():.2f} over all operands.",
    )


def heat_maps(panels: Mapping[str, pd.DataFrame]) -> Figure:
    """A heat map for each title, operand by step, and the scale of colours in the last place."""
    figure, axes = panel_grid(len(panels) + 1, height=0.72, gap=0.62)
    scale = Normalize(0, 1)
    for ax, (title, rows) in zip(axes, panels.items(), strict=False):
        grid = rows.pivot_table(index="step", columns="operand", values="value")
        ax.imshow(grid.to_numpy(), aspect="auto", cmap="viridis", norm=scale, origin="lower")
        shown = range(0, len(grid.index), -(-len(grid.index) // MOST_STEPS))
        ax.set_yticks(shown, [amount_label(grid.index[place]) for place in shown], fontsize=5.5)
        ax.set_xticks(range(0, 100, 10))
        ax.set_title(title, fontsize=7.5)
        ax.grid(visible=False)
    for ax in axes[: len(panels) : 2]:
        ax.set_ylabel("step", fontsize=7)
    axes[-1].set_axis_off()
    for ax in axes[len(panels) - 2 : len(panels)]:  # the lowest of each column
        ax.set_xlabel("first operand")
    figure.colorbar(ScalarMappable(scale, "viridis"), ax=axes[-1], orientation="horizontal", fraction=0.35, aspect=30,
                    shrink=0.94, label="accuracy")  # fmt: skip
    return figure


def multiplication(published: pd.DataFrame) -> pd.DataFrame:
    """Accuracies of multiplication: size, model, step, operand, value."""
    named = published[published["task"].astype(str).str.startswith(PREFIX)]
    rows = select(named, metric="acc", shots=SHOTS).astype({"task": str, "size": str, "model": str})
    rows = rows.assign(operand=rows["task"].str.removeprefix(PREFIX).astype(int))
    return rows[["size", "model", "step", "operand", "value"]].sort_values(["size", "step", "operand"], kind="stable")
