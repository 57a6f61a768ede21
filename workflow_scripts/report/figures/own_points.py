"""Our own scores over the published ones: diamonds, filled where the requests are those of 2023, hollow where not.

Only runs that score published models on published tasks have any; which runs do is decided when the graph is planned.
"""

from collections.abc import Mapping
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from workflow_scripts.report.drawing.axes import TokenScale
from workflow_scripts.report.drawing.curve_panels import select, with_band
from workflow_scripts.report.drawing.style import FAINT, INK
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.suite.registry import load_suite

COMPARABLE = ("same", "nearly")
TITLES = {True: "ours, requests of 2023", False: "ours, requests of today"}
REMARK = (
    " Diamonds: scored in this run; hollow where lm-eval builds the requests differently today (docs/evaluation.md)."
)


def own_points(tables: Tables, task: str, shots: int, metric: str = "acc", version: str = "v1") -> pd.DataFrame:
    """Our rows of one published task under its name of 2023, with ``comparable``; empty where the run has none."""
    rows = own_rows(tables, shots, version)
    return with_band(select(rows, task=task, metric=metric)) if len(rows) else rows


def own_rows(tables: Tables, shots: int, version: str = "v1") -> pd.DataFrame:
    """Our rows of the suite's models (or of those of ``v0``), with ``comparable``; empty where the run has none."""
    if tables.own.empty:
        return pd.DataFrame()
    suite = load_suite("pythia").models.values()
    names = [model.name for model in suite if model.version == version and model.arm == "baseline"]
    rows = select(tables.own, model=names, shots=shots)
    return rows.assign(comparable=rows["comparability"].isin(COMPARABLE), doubtful=False)


def scale_of(*parts: pd.DataFrame) -> TokenScale:
    """Scale that holds all checkpoints of published and own rows."""
    rows = pd.concat([part[["tokens", "step"]].astype(float) for part in parts if len(part)])
    return TokenScale.of(rows["tokens"], rows["step"])


def draw_own(ax: Axes, rows: pd.DataFrame, colours: Mapping[str, str], scale: TokenScale) -> None:
    """Diamonds at our checkpoints, with 95 % bars."""
    if rows.empty:
        return
    place = scale.place(rows["tokens"].to_numpy(dtype=float))
    for at, row in zip(place, rows.itertuples(), strict=True):
        draw_diamond(ax, float(at), row, colours[str(row.size)])


def draw_diamond(ax: Axes, place: float, row: object, colour: str) -> None:
    """One of our points; ``row`` has value, lower, upper and comparable."""
    value, lower, upper = (float(getattr(row, name)) for name in ("value", "lower", "upper"))
    face, edge = (colour, INK) if getattr(row, "comparable", False) else ("white", colour)
    ax.plot([place, place], [lower, upper], color=edge, linewidth=0.6, zorder=6)
    ax.plot([place], [value], "D", color=face, markeredgecolor=edge, markeredgewidth=0.8, markersize=4, zorder=7)


def legend_of_own(
    figure: Figure,
    *parts: pd.DataFrame,
    place: Literal["upper left", "upper right"] = "upper right",
    titles: Mapping[bool, str] = TITLES,
) -> None:
    """What filled and hollow diamonds mean, in a corner of the figure; nothing where there are none."""
    kinds = {bool(kind) for rows in parts if len(rows) for kind in rows["comparable"]}
    handles = [
        Line2D([], [], marker="D", linestyle="none", color=FAINT if kind else "white", markeredgecolor=INK,
               markeredgewidth=0.7, markersize=4, label=title)
        for kind, title in titles.items() if kind in kinds
    ]  # fmt: skip
    if handles:
        figure.legend(handles=handles, loc=place, ncols=len(handles), handletextpad=0.2, borderaxespad=0.1)


def joined_rows(published: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """Rows of both for the figure's csv, with ``whose``."""
    theirs = published.assign(whose="published")
    return pd.concat([theirs, ours.assign(whose="ours")], ignore_index=True) if len(ours) else theirs
