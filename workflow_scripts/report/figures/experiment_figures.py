"""Figures of the experiments, drawn from the tables that they leave: no score is computed here."""

from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator, ScalarFormatter

from workflow_scripts.published.frame_rows import row_of_largest
from workflow_scripts.report.drawing.axes import amount_label
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import data_sets_of, legend_of_data, name_y, panel_grid
from workflow_scripts.report.drawing.style import ARM_COLOURS, DATA_STYLES, FAINT, INK, size_colours
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.report.score_rows import shot_words

TERM_BINS = 8
FEWEST_MEMORIZED = 10  # rows below which a rate over training is not drawn, where another model has more
MARKERS = {"small": "o", "early": "s", "both": "D"}
KINDS = {"small": "largest, same step", "early": "own last step", "both": "largest, last step"}
MEASURES = {"log_odds": "log-odds masculine", "outcome": "chosen or correct"}
UNITS = {"log_odds": "difference, nats", "outcome": "difference, points"}
INTERVENTION_COLOUR = ARM_COLOURS["intervention"]


# Okabe and Ito's palette without the yellow, and with a grey, purple and light blue that are not too pale on white.
ARM_RAMP = ("#8A8A8A", "#444444", "#009E73", "#D55E00", "#C0659A", "#0072B2", "#3A97D3")


def last_steps(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of each model's last step, repetitions counted once."""
    rows = frame[frame["step"] == frame.groupby("model")["step"].transform("max")]
    return rows[rows["exposure"] == "all"] if "exposure" in rows else rows


def memorization_quantiles(tables: Tables) -> Drawing:
    """Counts of memorized rows per bin against Poisson quantiles, a panel per model, with the envelope of chance."""
    rows = last_steps(tables.experiments["memorization_quantiles"]).astype({"model": str})
    models = list(dict.fromkeys(rows["model"]))
    figure, axes = panel_grid(len(models), columns=3, height=1.5, gap=0.75)
    for ax, model in zip(axes, models, strict=True):
        part = rows[rows["model"] == model].sort_values("theoretical")
        ax.fill_between(part["theoretical"], part["lower"], part["upper"], color=FAINT, alpha=0.25, linewidth=0)
        top = float(max(part["theoretical"].max(), part["observed"].max()))
        ax.plot([0, top], [0, top], color=FAINT, linewidth=0.8, linestyle=(0, (3, 2)))
        ax.scatter(part["theoretical"], part["observed"], s=4 + 3 * part["multiplicity"], color=INK, zorder=3)
        memorized = int((part["observed"] * part["multiplicity"]).sum())
        ax.set_title(f"{model}: {memorized} rows", fontsize=7.5)
        ax.set_xlabel("Poisson quantile")
    axes[0].set_ylabel("memorized rows per bin")
    size = int(rows["bin_rows"].iloc[0])
    return Drawing(
        figure,
        rows,
        "Memorized rows in training order",
        f"Memorized rows in bins of {size} consecutive training rows, ordered, against quantiles of a Poisson "
        "distribution of the same mean; last checkpoints. Grey: where 95 % of uniform orders lie, rank by rank. Panels "
        f"of fewer than {FEWEST_MEMORIZED} rows (titles: memorized rows in whole bins) are not informative.",
        "; ".join(
            f"{model}: {int((part['observed'] * part['multiplicity']).sum())} memorized rows"
            for model, part in rows.groupby("model", sort=False)
        )
        + ".",
    )


def memorization_deciles(tables: Tables) -> Drawing:
    """Rate of memorized rows in each tenth of training."""
    rows = last_steps(tables.experiments["memorization_deciles"]).astype({"model": str, "size": str, "data": str})
    total = rows.groupby("model")["memorized"].transform("sum")
    rows = rows[total >= min(FEWEST_MEMORIZED, int(total.max()))]
    colours = size_colours(list(rows["size"]))
    figure, (ax,) = panel_grid(1, width=5.2, height=2.6)
    for place, (model, part) in enumerate(rows.groupby("model", sort=False)):
        x = part["decile"] + 0.08 * (place - (rows["model"].nunique() - 1) / 2)
        bars = [100 * (part["rate"] - part["rate_lower"]), 100 * (part["rate_upper"] - part["rate"])]
        style = DATA_STYLES[str(part["data"].iloc[0])]
        colour = colours[str(part["size"].iloc[0])]
        ax.errorbar(x, 100 * part["rate"], yerr=bars, color=colour, linestyle=style, marker="o", markersize=2.5,
                    elinewidth=0.6, label=str(model))  # fmt: skip
    ax.set_xlabel("tenth of training")
    name_y(ax, "memorized rows, %")
    ax.legend(ncols=2)
    return Drawing(
        figure,
        rows,
        "Memorization over the training order",
        "Share of training rows whose continuation is reproduced, by tenth of the training order, last checkpoints; "
        "bars: 95 % (Wilson).",
        "Rates of the first and last tenth in per cent: "
        + "; ".join(
            f"{model} {100 * part['rate'].iloc[0]:.2f} and {100 * part['rate'].iloc[-1]:.2f}"
            for model, part in rows.groupby("model", sort=False)
        )
        + ".",
    )


def predictability_published(tables: Tables) -> Drawing:
    """Published precision and recall of every model and step against 12b at the end."""
    return precision_recall(
        tables.experiments["predictability_published"],
        "Predicting what 12b memorizes (published)",
        "Precision and recall of the published confusions with corrected cell names (they were printed with false "
        "positives and false negatives swapped). Circles: against 12b at the same step; squares: a checkpoint "
        "against its own last step.",
    )


def predictability(tables: Tables) -> Drawing:
    """Precision and recall of small models and early checkpoints in this run."""
    return precision_recall(
        tables.experiments["predictability"],
        "Predicting what the largest model memorizes",
        "Rows memorized by a checkpoint as a prediction of those memorized by another. Circles: the largest model "
        "at the same step; squares: the own last step; diamonds: the largest model at its last step. Only where at "
        f"least {FEWEST_MEMORIZED} rows are to be predicted.",
    )


def precision_recall(frame: pd.DataFrame, title: str, caption: str) -> Drawing:
    """Precision against recall, colour by size, marker by kind of comparison; says so where no comparison is left."""
    rows = frame[frame["precision"].notna() & frame["recall"].notna()].astype({"size": str, "kind": str})
    if "rows" in rows:  # our own counts; the published cells are per cent of millions of rows
        rows = rows[rows["true_positive"] + rows["false_negative"] >= FEWEST_MEMORIZED]
    rows = rows[rows["recall"] < 1]
    colours = size_colours(list(rows["size"]))
    figure, (ax,) = panel_grid(1, width=4.6, height=2.8)
    for (size, kind), part in rows.groupby(["size", "kind"], sort=False):
        ax.scatter(part["recall"], part["precision"], s=14, marker=MARKERS[str(kind)], color=colours[str(size)])
    for size, colour in colours.items():
        ax.scatter([], [], color=colour, s=14, label=size)
    for kind in dict.fromkeys(rows["kind"]):
        ax.scatter(
            [], [], facecolor="none", edgecolor=INK, linewidth=0.8, s=14, marker=MARKERS[kind], label=KINDS[kind]
        )
    ax.set_xlabel("recall")
    name_y(ax, "precision")
    ax.set_xlim(0, 1)
    ax.set_ylim(0, 1.02)
    if rows.empty:  # as in a run with few rows, or with one model at one step
        words = f"No comparison has {FEWEST_MEMORIZED} memorized rows to predict."
        ax.text(0.5, 0.5, words, ha="center", va="center", color=INK)
        return Drawing(figure, pd.DataFrame({"comparisons": [0], "of": [len(frame)]}), title, caption, words)
    ax.legend(loc="lower right", ncols=2)
    best = row_of_largest(rows, "recall")
    words = f"The best recall is {best['recall']:.2f} with precision {best['precision']:.2f} ({best['model']})."
    return Drawing(figure, rows, title, caption, words)


def term_frequency(tables: Tables) -> Drawing:
    """Accuracy of each term against its count at the last step, fewest examples, whole-word counts."""
    frame = tables.experiments["term_frequency_terms"]
    rows = last_steps(frame[(frame["mode"] == "word") & (frame["data"] == "standard")])
    rows = rows[rows["shots"] == rows.groupby("task")["shots"].transform("max")].astype({"size": str, "task": str})
    colours = size_colours(list(rows["size"]))
    tasks = list(dict.fromkeys(rows["task"]))
    figure, axes = panel_grid(len(tasks), height=2.0)
    for ax, task in zip(axes, tasks, strict=True):
        for size, part in rows[rows["task"] == task].groupby("size", sort=False):
            shown = binned(part)
            ax.plot(shown["count"], shown["accuracy"], "o-", color=colours[str(size)], markersize=3, linewidth=0.8,
                    label=str(size))  # fmt: skip
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
        low, high = (max(float(limit), 1.0) for limit in ax.dataLim.intervalx)
        ticks = np.geomspace(low, high, 4).round()
        ax.set_xticks(ticks, [amount_label(tick) for tick in ticks])
        ax.set_xlabel("occurrences in training")
        name_y(ax, "accuracy per term")
        ax.set_title(f"{task}, {shot_words(int(rows[rows['task'] == task]['shots'].iloc[0]))}")
        ax.legend()
    return Drawing(
        figure,
        rows,
        "Accuracy against the frequency of a term",
        "Mean accuracy on the questions of a term, or of an eighth of the terms where there are many, against how "
        "often they occurred in training (whole words; facts: sentences with country and capital). Last checkpoints, "
        "standard data. The tables hold correlations with operand size held fixed.",
        f"{len(rows)} terms of {len(tasks)} tasks.",
    )


def binned(part: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy and count of terms in TERM_BINS groups of like count; single terms where there are few."""
    ordered = part.sort_values("count").assign(count=np.maximum(part["count"], 0.5))
    if len(ordered) <= 3 * TERM_BINS:
        return ordered
    group = np.arange(len(ordered)) * TERM_BINS // len(ordered)
    return ordered.groupby(group)[["count", "accuracy"]].mean()


def interventions(tables: Tables) -> Drawing:
    """Difference of each arm from the untouched data over its steps: log-odds, stereotyped choices and the guard."""
    frame = tables.experiments["interventions"]
    rows = frame[(frame["step"] != "pooled") & frame["measure"].isin(["log_odds", "outcome"])]
    rows = rows.assign(step=rows["step"].astype(int)).astype({"benchmark": str, "measure": str, "arm": str})
    points = rows["measure"].map({"outcome": 100.0}).fillna(1.0)
    rows = rows.assign(**{name: rows[name] * points for name in ("difference", "lower", "upper")})
    panels = list(dict.fromkeys(zip(rows["benchmark"], rows["measure"], strict=True)))
    figure, axes = panel_grid(len(panels), columns=3, height=2.0)
    arms = list(dict.fromkeys(rows["arm"]))
    for ax, (benchmark, measure) in zip(axes, panels, strict=True):
        part = rows[(rows["benchmark"] == benchmark) & (rows["measure"] == measure)]
        draw_arms(ax, part, arms)
        name_y(ax, UNITS[measure])
        ax.set_title(f"{benchmark}\n{MEASURES[measure]}", fontsize=7.5)
    figure.legend(
        *axes[0].get_legend_handles_labels(), loc="lower center", ncols=len(arms), fontsize=6, handlelength=1.5
    )
    figure.subplots_adjust(bottom=figure.subplotpars.bottom + 0.2 / figure.get_figheight())
    last = rows[(rows["measure"] == "log_odds") & (rows["step"] == rows["step"].max())]
    return Drawing(
        figure,
        rows,
        "Interventions on the data",
        "Arm minus identity arm at the same step, same items; bars: 95 % of a paired bootstrap over items. Pairs: how "
        "often the stereotyped sentence is more likely; control: how often the last word is correct. Lines of arms "
        "are slightly offset.",
        "Change of the log-odds at the end in nats: "
        + "; ".join(f"{row.model} {row.arm} {row.difference:+.2f}" for row in last.itertuples())
        + ".",
    )


def draw_arms(ax: Axes, part: pd.DataFrame, arms: list[str]) -> None:
    """Differences over the steps, one line per arm."""
    ramp = dict(zip(arms, cycle(ARM_RAMP), strict=False))
    span = float(part["step"].max() - part["step"].min()) or 1.0
    ax.axhline(0, color=FAINT, linewidth=0.8)
    for arm, line in part.groupby("arm", sort=False):
        bars = [line["difference"] - line["lower"], line["upper"] - line["difference"]]
        moved = line["step"] + 0.012 * span * (arms.index(str(arm)) - (len(arms) - 1) / 2)
        ax.errorbar(moved, line["difference"], yerr=bars, color=ramp[str(arm)], marker="o", markersize=2.5,
                    elinewidth=0.6, label=str(arm))  # fmt: skip
    ax.set_xlabel("step")


def seeds_training_map(tables: Tables) -> Drawing:
    """The published training map: state of each seed over training, on a square-root axis as in the paper."""
    rows = tables.experiments["seeds_training_map"].astype({"group": str})
    figure, (ax,) = panel_grid(1, width=5.2, height=2.4)
    for seed, part in rows.groupby("seed"):
        colour = INTERVENTION_COLOUR if part["group"].iloc[0] == "outlier" else INK
        ax.step(np.sqrt(part["step"]), part["state"] + 0.06 * (float(str(seed)) - 4.5), where="post", color=colour,
                linewidth=0.8)  # fmt: skip
    ticks = [0, 1000, 10_000, 40_000, 143_000]
    ax.set_xticks(np.sqrt(ticks), [f"{tick:,}" for tick in ticks])
    ax.set_yticks(range(int(rows["state"].max()) + 1))
    ax.set_xlabel("step (square root)")
    name_y(ax, "hidden state")
    outliers = sorted(set(rows[rows["group"] == "outlier"]["seed"]))
    return Drawing(
        figure,
        rows,
        "Training map of PolyPythias (published)",
        "State of a five-state model of training for each of ten seeds, lines slightly offset. Orange: "
        "outliers; the others are stable.",
        f"Seeds {', '.join(map(str, outliers))} leave the path shared by the other seeds.",
    )


def scaling(tables: Tables) -> Drawing:
    """Training loss against compute, a line per size."""
    frame = tables.experiments["scaling"]
    rows = frame[(frame["measure"] == "training loss") & (frame["step"] > 0)].astype({"size": str, "data": str})
    colours = size_colours(list(rows["size"]))
    figure, (ax,) = panel_grid(1, width=5.2, height=2.6)
    for (size, data), line in rows.groupby(["size", "data"], sort=False):
        ordered = line.sort_values("compute")
        ax.plot(ordered["compute"], ordered["value"], color=colours[str(size)], linestyle=DATA_STYLES[str(data)],
                marker="o", markersize=2.5, label=str(size) if data == "standard" else None)  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(ScalarFormatter())
    ax.yaxis.set_minor_formatter(ScalarFormatter())
    ax.set_xlabel("training compute 6 N D, floating-point operations")
    name_y(ax, "training loss, nats per token")
    ax.legend()
    legend_of_data(figure, data_sets_of(rows))
    fits = tables.experiments["scaling_fits"]
    words = "; ".join(f"{row.data}: {row.sentence}" for row in fits.itertuples()) if len(fits) else "no fit"
    return Drawing(
        figure,
        rows,
        "Loss against compute",
        "Mean loss over the last tenth of the steps before each checkpoint. N counts all parameters. "
        f"Fits and their ranges: {words}.",
        f"The lowest loss is {rows['value'].min():.2f}.",
    )
