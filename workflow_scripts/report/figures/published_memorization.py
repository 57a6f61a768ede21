"""Figures of two other papers over their published numbers: predictable memorization, and PolyPythias' training map.

The first is Biderman et al., arXiv 2304.11158: what small models and early checkpoints tell of large ones.
"""

from collections.abc import Iterable, Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from workflow_scripts.report.drawing.axes import label_line_ends, set_token_axis
from workflow_scripts.report.drawing.curve_panels import select
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import name_y, panel_grid
from workflow_scripts.report.drawing.style import FAMILY_COLOURS, INK, ordered_sizes, readable, size_colours
from workflow_scripts.report.figures.experiment_figures import INTERVENTION_COLOUR, seeds_training_map
from workflow_scripts.report.figures.own_experiments import (
    COMPARED_ROWS,
    TOKENS_PER_STEP,
    own_confusions,
    own_memorized,
)
from workflow_scripts.report.figures.own_points import draw_diamond, joined_rows, legend_of_own, scale_of
from workflow_scripts.report.report_tables import Tables

TABLE = "predictability_published"
MEASURES = {"precision": (FAMILY_COLOURS["pythia"], "o"), "recall": (FAMILY_COLOURS["opt"], "^")}
ROOM_OF_NARROW_PANELS = 0.1  # share of the x range that labels need beside that of set_token_axis
EARLY_LIMITS = {"recall": (0.0, 1.02), "precision": (0.8, 1.0)}
LARGEST = "pythia-12b"
OWN_TITLES = {True: "ours, the same rows", False: "ours, other rows"}
OWN_REMARK = (
    " Diamonds: measured in this run, on the standard data; hollow where it compares other rows (another "
    "first step or sampling) or uses other lengths. Bars: 95 %."
)
EXCHANGED = "The published files swap false positives and false negatives; this is corrected here."


def confusions(tables: Tables) -> pd.DataFrame:
    """Published confusions with tokens and the share of rows that each model has memorized itself (per cent)."""
    rows = tables.experiments[TABLE].astype({"size": str, "kind": str, "model": str})
    memorized = rows["true_positive"] + rows["false_positive"]
    return rows.assign(tokens=rows["step"] * TOKENS_PER_STEP, memorized=memorized)


def published_memorization(tables: Tables) -> Drawing:
    """Precision and recall of small models against 12b (the paper's figure 2), of early checkpoints (its table 2)."""
    rows = confusions(tables)
    last = rows["step"].max()
    small = select(rows, kind="small", step=last)
    small = small[small["size"] != ordered_sizes(list(small["size"]))[-1]]
    early = rows[(rows["kind"] == "early") & (rows["step"] < last)]
    own_small, own_early = own_predictions(tables, int(last), list(early["size"]))
    figure, axes = panel_grid(3, columns=3, height=2.2)
    draw_by_size(axes[0], small, own_small)
    colours = size_colours(list(early["size"]))
    for ax, (measure, limits) in zip(axes[1:], EARLY_LIMITS.items(), strict=True):
        ax.set_ylim(*limits)
        draw_over_training(ax, early, own_early, measure, colours)
        name_y(ax, measure)
        ax.set_title(f"{measure}, early checkpoints", pad=14, y=1.0, fontsize=7.5)
    shown = pd.concat([small, early], ignore_index=True).drop(columns=["memorized"])
    ours = pd.concat([own_small, own_early], ignore_index=True)
    legend_of_own(figure, ours, titles=OWN_TITLES)
    first, final = small.sort_values("recall").iloc[0], small.sort_values("recall").iloc[-1]
    return Drawing(
        figure,
        joined_rows(shown, ours),
        "Predicting what a large model memorizes (published)",
        f"Left: rows that a smaller model has memorized at step {last} as a prediction of those of 12b. Middle, right: "
        "rows memorized at an earlier checkpoint as a prediction of the same model's last one; the axis on the right "
        f"starts at .8. Over the first {COMPARED_ROWS:,} rows of the standard data; memorized means 32 correct tokens "
        f"after a prompt of 32. {EXCHANGED}" + (OWN_REMARK if len(ours) else ""),
        f"Precision stays near .9 while recall of 12b's rows rises from {first['recall']:.2f} ({first['size']}) to "
        f"{final['recall']:.2f} ({final['size']}); recall of early checkpoints rises steadily with training.",
    )


def own_predictions(tables: Tables, last: int, sizes: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Our counterparts: small models against 12b at step ``last``, and earlier steps against ``last``."""
    rows = own_confusions(tables)
    if rows.empty:
        return rows, rows
    at_end = select(rows, truth_step=last, size=sizes)
    small = select(at_end, kind="small", step=last, truth_model=LARGEST)
    return small[small["model"] != LARGEST], at_end[(at_end["kind"] == "early") & (at_end["step"] > 0)]


def draw_by_size(ax: Axes, rows: pd.DataFrame, ours: pd.DataFrame) -> None:
    """Precision and recall by size of the smaller model."""
    sizes = ordered_sizes(list(rows["size"]))
    ordered = rows.set_index("size").loc[sizes]
    for measure, (colour, marker) in MEASURES.items():
        ax.plot(range(len(sizes)), ordered[measure], marker=marker, color=colour, markersize=3.5)
        ax.text(3.2, float(ordered[measure].iloc[3]) - 0.08, measure, color=readable(colour), fontsize=7)
        draw_own_measure(ax, ours, measure, [sizes.index(size) for size in ours.get("size", [])], [colour] * len(ours))
    ax.set_xticks(range(len(sizes)), sizes, fontsize=6)
    ax.set_xlabel("smaller model")
    name_y(ax, "precision, recall")
    ax.set_ylim(0, 1.02)
    ax.set_title("small models for 12b", pad=14, y=1.0, fontsize=7.5)


def draw_over_training(
    ax: Axes, rows: pd.DataFrame, ours: pd.DataFrame, measure: str, colours: Mapping[str, str]
) -> None:
    """One line per size over training tokens, labelled at the ends, and our diamonds. Set the y limits before."""
    scale = scale_of(rows, ours)
    set_token_axis(ax, scale)
    left, right = ax.get_xlim()
    ax.set_xlim(left, right + ROOM_OF_NARROW_PANELS * (right - left))
    ends = {}
    for size in ordered_sizes(list(rows["size"])):
        line = rows[rows["size"] == size].sort_values("tokens")
        place = scale.place(line["tokens"].to_numpy(dtype=float))
        ax.plot(place, line[measure], color=colours[size], marker="o", markersize=2)
        ends[size] = float(line[measure].iloc[-1])
    if len(ours):
        places = scale.place(ours["tokens"].to_numpy(dtype=float))
        draw_own_measure(ax, ours, measure, places, [colours[str(size)] for size in ours["size"]])
    label_line_ends(ax, float(scale.place([scale.last])[0]), ends, colours, size=6)


def draw_own_measure(
    ax: Axes, ours: pd.DataFrame, measure: str, places: Iterable[float], colours: Iterable[str]
) -> None:
    """Diamonds of one measure with its 95 % interval."""
    if ours.empty:
        return
    points = ours.assign(value=ours[measure], lower=ours[f"{measure}_lower"], upper=ours[f"{measure}_upper"])
    for place, row, colour in zip(places, points.itertuples(), colours, strict=True):
        draw_diamond(ax, float(place), row, colour)


def published_memorization_rates(tables: Tables) -> Drawing:
    """Share of rows that each model has memorized over training (the paper's figure 8 for the standard data)."""
    rows = confusions(tables)
    rows = rows[rows["kind"] == "small"]
    ours = own_memorized(own_confusions(tables))
    ours = ours[ours["size"].isin(rows["size"]) & (ours["step"] > 0)] if len(ours) else ours
    figure, (ax,) = panel_grid(1, width=5.0, height=2.7)
    highest = 1.08 * max(float(part["memorized"].max()) for part in (rows, ours) if len(part))
    ax.set_ylim(0.0, highest)
    draw_over_training(ax, rows, ours, "memorized", size_colours(list(rows["size"])))
    ax.set_title("memorized rows", pad=14, y=1.0)
    name_y(ax, "% of the rows")
    legend_of_own(figure, ours, titles=OWN_TITLES)
    last = rows[rows["step"] == rows["step"].max()].set_index("size")["memorized"]
    sizes = ordered_sizes(list(last.index))
    return Drawing(
        figure,
        joined_rows(rows[["model", "size", "step", "tokens", "memorized"]], ours),
        "Memorized share of the training data (published)",
        f"Rows of the first {COMPARED_ROWS:,} (standard data) whose next 32 tokens a model reproduces after 32 "
        f"given ones, in per cent, at seven checkpoints. {EXCHANGED}" + (OWN_REMARK if len(ours) else ""),
        f"The share rises with size and training; at the last checkpoint from {last[sizes[0]]:.3f} % ({sizes[0]}) to "
        f"{last[sizes[-1]]:.3f} % ({sizes[-1]}).",
    )


def published_training_map(tables: Tables) -> Drawing:
    """The training map of PolyPythias with a legend of its two groups."""
    drawing = seeds_training_map(tables)
    ax = drawing.figure.axes[0]
    ax.set_title("")
    ax.set_ylabel("hidden state")
    seeds = drawing.data.groupby("group")["seed"].agg(lambda of_group: ", ".join(map(str, sorted(set(of_group)))))
    outliers = str(seeds.get("outlier", "none"))
    handles = [
        Line2D([], [], color=INK, linewidth=0.8, label="stable seeds"),
        Line2D([], [], color=INTERVENTION_COLOUR, linewidth=0.8, label=f"outliers: seeds {outliers}"),
    ]
    ax.legend(handles=handles, loc="upper left", frameon=False)
    return drawing
