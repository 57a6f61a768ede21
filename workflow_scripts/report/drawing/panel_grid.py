"""Small multiples: a grid of panels with fixed margins in inches, so that every figure has the same look."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from workflow_scripts.report.drawing.style import DATA_STYLES, FAINT, FULL_WIDTH, ordered_sizes

LEFT, RIGHT, TOP, BOTTOM = 0.52, 0.08, 0.5, 0.42  # inches
GAP_X, GAP_Y = 0.52, 0.8
PANEL_HEIGHT = 1.75


def panel_grid(
    count: int, columns: int = 2, width: float = FULL_WIDTH, height: float = PANEL_HEIGHT, gap: float = GAP_Y
) -> tuple[Figure, list[Axes]]:
    """Figure with ``count`` panels in reading order, sizes in inches; unused places stay empty."""
    columns = max(1, min(columns, count))
    rows = -(-count // columns)
    total = TOP + rows * height + (rows - 1) * gap + BOTTOM
    panel_width = (width - LEFT - RIGHT - (columns - 1) * GAP_X) / columns
    figure, grid = plt.subplots(rows, columns, figsize=(width, total), squeeze=False, layout="none")
    figure.subplots_adjust(
        left=LEFT / width,
        right=1 - RIGHT / width,
        top=1 - TOP / total,
        bottom=BOTTOM / total,
        wspace=GAP_X / panel_width,
        hspace=gap / height,
    )
    axes = list(np.ravel(grid))
    for ax in axes:  # ticks of few digits, for which there is room
        ax.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, axes[:count]


def single_panel() -> tuple[Figure, list[Axes]]:
    """Figure with one panel, larger than those of a grid."""
    return panel_grid(1, width=5.0, height=2.7)


def name_y(ax: Axes, label: str) -> None:
    """Say what the y axis counts, in the little room between two panels."""
    ax.set_ylabel(label, fontsize=7, labelpad=1.5)


def legend_of_data(figure: Figure, data: list[str]) -> None:
    """Line styles of the data sets, in the top right corner; nothing where there is only one."""
    if len(data) > 1:
        handles = [Line2D([], [], color=FAINT, linestyle=DATA_STYLES[name], label=name) for name in data]
        figure.legend(handles=handles, loc="upper right", ncols=len(handles), handlelength=2.2, borderaxespad=0.1)


def legend_of_sizes(figure: Figure, colours: Mapping[str, str]) -> None:
    """Colours of the sizes, small to large, in the top right corner."""
    handles = [Line2D([], [], color=colours[size], label=size) for size in ordered_sizes(list(colours))]
    figure.legend(handles=handles, loc="upper right", ncols=8, handlelength=1.2, columnspacing=1.0, borderaxespad=0.1)


def data_sets_of(rows: pd.DataFrame) -> list[str]:
    """Data sets among the rows, in the order of the legend."""
    present = set(rows["data"].astype(str))
    return [name for name in DATA_STYLES if name in present]
