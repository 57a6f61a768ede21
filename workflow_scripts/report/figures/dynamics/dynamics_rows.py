"""Rows of the table of dynamics as its figures need them: of one data set, with size, tokens and the model's facts."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from workflow_scripts.report.drawing.axes import TokenScale, set_token_axis
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import name_y, single_panel
from workflow_scripts.report.drawing.style import INK, parameters_of_size
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import suite_of


def models_shown(tables: Tables) -> dict[str, Model]:
    """Measured models by name, small to large, of the data set of the first: all have much the same figures."""
    suite = suite_of(tables.run)
    names = list(dict.fromkeys(tables.experiments["dynamics"]["model"].astype(str)))
    known = [suite.model(name) for name in names]
    shown = [model for model in known if model.dataset == known[0].dataset]
    return {model.name: model for model in sorted(shown, key=lambda model: parameters_of_size(model.size))}


def metric_rows(tables: Tables, *metrics: str) -> pd.DataFrame:
    """Rows of ``metrics`` of the shown models, with their size and the tokens that a step has seen."""
    frame, shown = tables.experiments["dynamics"], models_shown(tables)
    rows = frame[frame["metric"].isin(metrics) & frame["model"].isin(list(shown))].reset_index(drop=True)
    names = rows["model"].astype(str)
    tokens = [shown[name].step(int(step)).tokens for name, step in zip(names, rows["step"], strict=True)]
    return rows.assign(model=names, size=[shown[name].size for name in names], tokens=tokens)


def scale_of(rows: pd.DataFrame) -> TokenScale:
    """Token axis for all of ``rows``."""
    return TokenScale.of(rows["tokens"], rows["step"])


def token_panel(ax: Axes, scale: TokenScale, title: str, label: str) -> None:
    """Give ``ax`` the token axis, a title and a name for what it counts."""
    set_token_axis(ax, scale)
    ax.set_title(title, pad=14, y=1.0, fontsize=7.5)
    name_y(ax, label)


def draw_lines(
    ax: Axes, rows: pd.DataFrame, colours: Mapping[str, str], scale: TokenScale, *, style: str = "-", by: str = "size"
) -> None:
    """One line for each value of ``by`` with its band from lower to upper; step 0 has its own place."""
    for name, line in rows.groupby(by, sort=False):
        ordered = line.sort_values("tokens")
        place, colour = scale.place(ordered["tokens"].to_numpy(dtype=float)), colours[str(name)]
        ax.plot(place, ordered["value"].to_numpy(dtype=float), color=colour, linestyle=style, zorder=3)
        bounds = ordered[["lower", "upper"]].to_numpy(dtype=float).T
        ax.fill_between(place, *bounds, color=colour, alpha=0.15, linewidth=0, zorder=2)


def not_measured(title: str, caption: str, what: str) -> Drawing:
    """A drawing that says that the declaration of the run leaves out what it would show."""
    figure, (ax,) = single_panel()
    words = f"The declaration of this run does not measure {what}."
    ax.text(0.5, 0.5, words, ha="center", va="center", color=INK, transform=ax.transAxes)
    ax.set_axis_off()
    return Drawing(figure, pd.DataFrame({"measured": [0]}), title, caption, words)
