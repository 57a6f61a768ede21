"""Figures of the published results: 16 models over training, and their final scores."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts.published.rules.findings import DOUBTFUL, has_note
from workflow_scripts.published.summary import CORE_TASKS, suite_rows
from workflow_scripts.report.drawing.axes import TokenScale
from workflow_scripts.report.drawing.curve_panels import (
    PLOTTED,
    Panel,
    common_limits,
    draw_panel,
    label_sizes,
    select,
    with_band,
)
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import name_y, panel_grid
from workflow_scripts.report.drawing.style import FULL_WIDTH, size_colours
from workflow_scripts.report.figures.own_points import (
    REMARK,
    draw_own,
    joined_rows,
    legend_of_own,
    own_points,
    scale_of,
)
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.suite.registry import load_suite

# The deduplicated Pile holds 207 billion tokens (Pythia paper, section 3.1), so training goes 1.45 times over it.
EPOCH_OF_DEDUPED = 207e9
SOLID = {"standard": "-", "deduped": "-"}  # the panel says which data it is
FIVE = 5
DOUBTFUL_WORDS = (
    " Open circles: {points} points at which the files of 2.8b and 2.8b-deduped are identical although the models saw "
    "different data, so one of each pair is from the wrong model."
)
DATA_TITLES = {"standard": "the Pile", "deduped": "the deduplicated Pile"}


def published_scores(published: pd.DataFrame, task: str, metric: str = "acc", shots: int = 0) -> pd.DataFrame:
    """Rows of the 16 models of the suite for one task, doubtful ones marked."""
    rows = with_band(select(suite_rows(published, shots), task=task, metric=metric))
    return rows.assign(doubtful=has_note(rows, *DOUBTFUL))


def published_over_training(tables: Tables, task: str) -> Drawing:
    """One task over training, standard beside deduplicated data, as in the paper's figures 10 to 15."""
    facts, rows = load_suite("pythia").task(task), published_scores(tables.published, task)
    ours = own_points(tables, task, shots=0)
    panels = [
        Panel(title, rows[rows["data"] == data], facts.chance, EPOCH_OF_DEDUPED if data == "deduped" else None)
        for data, title in DATA_TITLES.items()
    ]
    return Drawing(
        pair_of_panels(panels, ours, f"{facts.title} accuracy, zero-shot"),
        plotted(rows, ours),
        f"{facts.title} over training: 16 published models",
        caption_over_training(rows, facts.title) + (REMARK if len(ours) else ""),
        alternative_over_training(rows, facts.title),
    )


def draw_with_own(ax: Axes, panel: Panel, ours: pd.DataFrame, colours: Mapping[str, str], scale: TokenScale) -> None:
    """Published curves and our diamonds over them."""
    draw_panel(ax, panel, colours, scale, SOLID)
    draw_own(ax, ours, colours, scale)


def pair_of_panels(panels: Sequence[Panel], ours: pd.DataFrame, label: str) -> Figure:
    """A panel for each data set side by side, on common axes with sizes at the line ends; our points lie over both."""
    rows = pd.concat([panel.rows for panel in panels])
    scale, colours = scale_of(rows, ours), size_colours([*rows["size"], *ours.get("size", [])])
    figure: Figure
    figure, axes = plt.subplots(1, 2, figsize=(FULL_WIDTH, 3.1), sharey=True, layout="none")
    figure.subplots_adjust(left=0.075, right=0.99, top=0.84, bottom=0.13, wspace=0.06)
    axes[0].set_ylim(*common_limits([*panels, Panel("", ours)]))
    axes[0].set_ylabel(label)
    for ax, panel, data in zip(axes, panels, DATA_TITLES, strict=True):
        draw_with_own(ax, panel, select(ours, data=data), colours, scale)
        label_sizes(ax, panel.rows, colours, scale)
    legend_of_own(figure, ours)
    return figure


def plotted(rows: pd.DataFrame, ours: pd.DataFrame) -> pd.DataFrame:
    """Columns of the csv of a figure over training."""
    both = joined_rows(rows, ours)
    return both[[*PLOTTED, "doubtful", "note", "source_file", "whose"]]


def five_shot_grid(tables: Tables, data: str) -> Drawing:
    """A panel per task: the models on one data set over training, five-shot."""
    tasks = load_suite("pythia").tasks
    parts = {name: published_scores(tables.published, name, shots=FIVE) for name in CORE_TASKS}
    parts = {name: rows[rows["data"] == data] for name, rows in parts.items()}
    own = {name: select(own_points(tables, name, shots=FIVE), data=data) for name in CORE_TASKS}
    rows, ours = pd.concat(parts.values(), ignore_index=True), pd.concat(own.values(), ignore_index=True)
    scale, colours = scale_of(rows, ours), size_colours(list(rows["size"]))
    figure, axes = panel_grid(len(parts))
    epoch = EPOCH_OF_DEDUPED if data == "deduped" else None
    for ax, (name, of_task) in zip(axes, parts.items(), strict=True):
        panel = Panel(tasks[name].title, of_task, tasks[name].chance, epoch)
        ax.set_ylim(*common_limits([panel, Panel("", own[name])]))
        draw_with_own(ax, panel, own[name], colours, scale)
        name_y(ax, "accuracy")
        label_sizes(ax, of_task, colours, scale)
    legend_of_own(figure, ours)
    marked = DOUBTFUL_WORDS.format(points=int(rows["doubtful"].sum())) if rows["doubtful"].any() else ""
    best = rows[(rows["task"] == "lambada_openai") & (rows["step"] == rows["step"].max())].sort_values("value").iloc[-1]
    return Drawing(
        figure,
        plotted(rows, ours),
        f"Five-shot scores over training: models on {DATA_TITLES[data]}",
        f"Five-shot accuracy (acc) of {rows['model'].nunique()} models trained on {DATA_TITLES[data]} at "
        f"{rows['step'].nunique()} checkpoints, as published in EleutherAI/pythia (evals/pythia-v1); items: "
        + "; ".join(f"{tasks[name].title} {int(part['n'].dropna().mode()[0]):,}" for name, part in parts.items())
        + f". Bands: 95 % from the published standard error. Dotted: chance. The y axis differs between tasks.{marked}"
        + (REMARK if len(ours) else ""),
        "Scores rise with training and size except for WSC, LogiQA and the small models on WinoGrande, near chance; "
        f"at the end LAMBADA is highest for {best['model']} with {best['value']:.3f}.",
    )


def caption_over_training(rows: pd.DataFrame, title: str) -> str:
    """Caption with items, metric, marks and source, computed from the rows."""
    items, doubtful = int(rows["n"].dropna().mode()[0]), int(rows["doubtful"].sum())
    marked = DOUBTFUL_WORDS.format(points=doubtful) if doubtful else ""
    return (
        f"{title}, zero-shot accuracy (acc) on {items:,} items, as published in EleutherAI/pythia (evals/pythia-v1); "
        f"{rows['model'].nunique()} models, {rows['step'].nunique()} checkpoints. Bands: 95 % from the published "
        "standard error. The axis is broken left of the first trained checkpoint to show step 0. Dashed line: one "
        f"epoch of the deduplicated data (207B tokens); right of it tokens are seen again.{marked}"
    )


def alternative_over_training(rows: pd.DataFrame, title: str) -> str:
    """The picture in words."""
    last = rows[rows["step"] == rows["step"].max()]
    best, worst = last.loc[last["value"].idxmax()], last.loc[last["value"].idxmin()]
    return (
        f"{title} accuracy rises with training tokens and with model size; at the last checkpoint from "
        f"{worst['value']:.3f} ({worst['model']}) to {best['value']:.3f} ({best['model']})."
    )
