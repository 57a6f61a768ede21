"""Scores over training: the panel that most figures are made of, and the selection of the rows that it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workflow_scripts.report.drawing.axes import TokenScale, amount_label, label_line_ends, set_token_axis
from workflow_scripts.report.drawing.style import FAINT, INK, REFERENCE_LINE, ordered_sizes, parameters_of_size

Z95 = 1.96  # half width of a 95 % interval in standard errors
TEXT_SHARE, TEXT_HEIGHT = 0.16, 0.05  # a short text of 6 points, as shares of a panel's width and height
PLACES = 24  # tried for the text of a reference line
BAR_DISTANCE = 0.012  # between the bars of two models, as a share of the axis
ROOM_FOR_EPOCH = 0.06  # share of the y range kept free above the curves for the name of the epoch line
PLOTTED = [
    "task", "metric", "shots", "model", "size", "data", "step", "tokens", "value", "stderr", "lower", "upper", "n",
]  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One small plot: its title, its rows, and the reference lines in it."""

    title: str
    rows: pd.DataFrame
    chance: float | None = None
    epoch_tokens: float | None = None


def select(frame: pd.DataFrame, **wanted: object) -> pd.DataFrame:
    """Rows whose columns have the wanted values; a list or tuple allows several. Of no rows none."""
    if frame.empty:
        return frame
    chosen = pd.Series(data=True, index=frame.index)
    for column, value in wanted.items():
        values = value if isinstance(value, list | tuple) else [value]
        chosen &= frame[column].isin(values)
    return frame[chosen]


def with_band(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of drawing, with ``lower`` and ``upper`` of the 95 % interval."""
    half = Z95 * rows["stderr"].astype(float)
    banded = rows.assign(lower=rows["value"] - half, upper=rows["value"] + half)
    return banded.sort_values(["size", "data", "shots", "step"], kind="stable").reset_index(drop=True)


def draw_panel(
    ax: Axes, panel: Panel, colours: Mapping[str, str], scale: TokenScale, styles: Mapping[Any, Any]
) -> None:
    """Draw one line per model, bands, reference lines and marks.

    ``styles`` maps a data set to its line style. Set the y limits before: they belong to the figure, not to a panel.
    """
    set_token_axis(ax, scale)
    ax.set_title(panel.title, pad=14, y=1.0)
    if panel.epoch_tokens:
        place = float(scale.place([panel.epoch_tokens])[0])
        ax.axvline(place, color=INK, linewidth=0.8, linestyle=(0, (3, 2)), zorder=1)
        ax.annotate(
            f"1 epoch: {amount_label(panel.epoch_tokens)}", (place, 1.0), xycoords=("data", "axes fraction"),
            xytext=(-3, -1), textcoords="offset points", fontsize=6, color=INK, ha="right", va="top",
        )  # fmt: skip
    for size in ordered_sizes(list(panel.rows["size"])):
        of_size = panel.rows[panel.rows["size"] == size]
        for (data, _), line in of_size.groupby(["data", "model"], observed=True):
            draw_band(ax, line, colours[size], scale)
            draw_line(ax, line, colours[size], styles[data], scale)
    if panel.chance:
        left, last = ax.get_xlim()[0], float(scale.place([scale.last])[0])  # names of the curves are right of it
        ax.plot([left, last], [panel.chance] * 2, **REFERENCE_LINE)
        text_of_line(ax, panel.chance, chance_words(panel.chance))


def chance_words(chance: float) -> str:
    """What is written on the line of chance.

    >>> chance_words(0.25)
    'chance .25'
    """
    return f"chance {chance:g}".replace("0.", ".")


def draw_line(ax: Axes, line: pd.DataFrame, colour: str, style: Any, scale: TokenScale) -> None:
    """One line with its checkpoints; doubtful ones are open circles."""
    line = line.sort_values("tokens")
    place = scale.place(line["tokens"].to_numpy(dtype=float))
    value = line["value"].to_numpy(dtype=float)
    ax.plot(place, value, color=colour, linestyle=style, zorder=3)
    doubtful = line["doubtful"].to_numpy(dtype=bool)
    ax.plot(place[~doubtful], value[~doubtful], "o", color=colour, markersize=1.8, zorder=4)
    ax.plot(place[doubtful], value[doubtful], "o", color="white", markeredgecolor=colour, markersize=4, zorder=5)


def draw_band(ax: Axes, line: pd.DataFrame, colour: str, scale: TokenScale) -> None:
    """The 95 % band of one line."""
    line = line.sort_values("tokens")
    place = scale.place(line["tokens"].to_numpy(dtype=float))
    ax.fill_between(place, line["lower"], line["upper"], color=colour, alpha=0.13, linewidth=0, zorder=2)


def draw_last_bars(ax: Axes, rows: pd.DataFrame, colours: Mapping[str, str], scale: TokenScale) -> float:
    """The 95 % interval of each model's last checkpoint as a bar, side by side: where bands would hide each other.

    Returns the place of the leftmost bar.
    """
    place = float(scale.place([scale.last])[0])
    last = rows[rows["tokens"] == rows.groupby("model", observed=True)["tokens"].transform("max")]
    order = last.assign(rank=[-parameters_of_size(str(size)) for size in last["size"]]).sort_values(["rank", "data"])
    ends, bars = scale.place(order["tokens"].to_numpy(dtype=float)), order[["lower", "upper"]].to_numpy(dtype=float)
    for number, (size, end, bar) in enumerate(zip(order["size"], ends, bars, strict=True)):
        place = float(end) - number * BAR_DISTANCE * scale.span
        ax.plot([place] * 2, bar, color=colours[str(size)], linewidth=0.9, zorder=2)
    return place


def text_of_line(ax: Axes, y: float, text: str, until: float = np.inf) -> None:
    """Small text just above a horizontal reference line, left of ``until``, where the curves leave most room.

    Call when they are drawn.
    """
    behind = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5}  # readable over curves, too
    ax.annotate(
        text, (clearest_place(ax, y, until), y), xytext=(0, 2), textcoords="offset points", fontsize=6, color=FAINT,
        zorder=8, bbox=behind,
    )  # fmt: skip


def clearest_place(ax: Axes, y: float, until: float) -> float:
    """Left end of a stretch of the x axis, as long as a short text, where no curve is near ``y``."""
    left, right = ax.get_xlim()
    lines = [np.asarray(line.get_xydata(), dtype=float) for line in ax.get_lines()]
    curves = [line for line in lines if len(line) > 2 and np.isfinite(line).all()]
    last = min(until, max((curve[-1, 0] for curve in curves), default=right))
    width = TEXT_SHARE * (right - left)
    height = TEXT_HEIGHT * (ax.get_ylim()[1] - ax.get_ylim()[0])
    best, most = left, -np.inf
    for place in np.linspace(left + 0.01 * (right - left), max(left, last - width), PLACES):
        at = np.linspace(place, place + width, 9)
        near = [np.abs(np.interp(at, c[:, 0], c[:, 1], np.nan, np.nan) - y - height / 2) for c in curves]
        free = float(np.nanmin([np.inf, *np.ravel(near)]))
        if free > most:
            best, most = float(place), free
    return best


def label_sizes(ax: Axes, rows: pd.DataFrame, colours: Mapping[str, str], scale: TokenScale) -> None:
    """Direct labels: each size at the last point of its (first) line."""
    ends: dict[str, float] = {}
    for size in ordered_sizes(list(rows["size"])):
        line = rows[rows["size"] == size].sort_values("tokens")
        ends[size] = float(line[line["tokens"] == line["tokens"].max()]["value"].mean())
    label_line_ends(ax, float(scale.place([scale.last])[0]), ends, colours)


def common_limits(panels: Sequence[Panel], floor: float | None = None) -> tuple[float, float]:
    """Y limits that hold all bands and reference lines of the panels, with a small margin."""
    rows = pd.concat([panel.rows for panel in panels if len(panel.rows)])
    low = float(rows["lower"].fillna(rows["value"]).min())
    high = float(rows["upper"].fillna(rows["value"]).max())
    for panel in panels:
        if panel.chance:
            low, high = min(low, panel.chance), max(high, panel.chance)
    margin = 0.04 * (high - low or 1.0)
    head = ROOM_FOR_EPOCH * (high - low) if any(panel.epoch_tokens for panel in panels) else 0.0
    return (low - margin if floor is None else max(floor, low - margin)), high + margin + head
