"""Figures of our own scores: every task over training, shots against shots, scores against model size.

They work on any tidy table of scores: the pocket suite, the books run, or the real suite evaluated on a cluster.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workflow_scripts.report.drawing.axes import TokenScale, set_token_axis
from workflow_scripts.report.drawing.curve_panels import (
    PLOTTED,
    Panel,
    chance_words,
    common_limits,
    draw_last_bars,
    draw_line,
    draw_panel,
    label_sizes,
    text_of_line,
)
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import data_sets_of, legend_of_data, name_y, panel_grid, single_panel
from workflow_scripts.report.drawing.style import (
    DATA_STYLES,
    FAINT,
    FAMILY_COLOURS,
    FAMILY_MARKERS,
    REFERENCE_LINE,
    ordered_sizes,
    parameters_of_size,
    size_colours,
)
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.report.score_rows import (
    TaskRows,
    at_last_step,
    by_task,
    joined,
    shot_difference,
    shot_words,
)

DIFFERENT_AXES = " The y axis differs between tasks."
PAIRED = "Bars at the last checkpoint: 95 % of the difference item by item, as both scores are of the same items. "
NOT_PAIRED = (
    "Bars at the last checkpoint: 95 %. Each treats both scores as independent and is too long: the items are the "
    "same. "
)
AGREEMENT = "pocket_agreement"
DATA_FAMILY = {"standard": "pythia", "deduped": "pythia-deduped"}


def scores_over_training(tables: Tables) -> Drawing:
    """One panel per task and number of shots, a line per size, standard solid and deduplicated dashed."""
    return over_training(list(by_task(tables.scores, tables.run)), "Scores over training")


def agreement_over_training(tables: Tables) -> Drawing:
    """Number agreement alone: the first thing that a language model learns here."""
    chosen = [part for part in by_task(tables.scores, tables.run) if part.task.name == AGREEMENT]
    return over_training(chosen, "Number agreement over training")


def over_training(parts: Sequence[TaskRows], title: str) -> Drawing:
    """Panels of the given tasks over training."""
    rows = joined(parts)
    colours = size_colours(list(rows["size"]))
    figure, axes = panel_grid(len(parts)) if len(parts) > 1 else single_panel()
    for ax, part in zip(axes, parts, strict=True):
        panel = Panel(part.title, part.rows, part.task.chance)
        scale = TokenScale.of(part.rows["tokens"], part.rows["step"])
        same_task = [Panel("", other.rows, other.task.chance) for other in parts if other.task.name == part.task.name]
        ax.set_ylim(*common_limits(same_task))
        draw_panel(ax, panel, colours, scale, DATA_STYLES)
        name_y(ax, part.metric)
        label_sizes(ax, part.rows, colours, scale)
    legend_of_data(figure, data_sets_of(rows))
    remark = "Bands: 95 % from the standard error. Dotted: chance." + (DIFFERENT_AXES if len(parts) > 1 else "")
    return Drawing(figure, rows[PLOTTED], title, caption_of(parts, remark), change_in_words(parts))


def five_shot_minus_zero_shot(tables: Tables) -> Drawing:
    """What five examples in the prompt add, for each task that was scored both ways."""
    by_name: dict[str, dict[int, TaskRows]] = {}
    for part in by_task(tables.scores, tables.run):
        by_name.setdefault(part.task.name, {})[part.shots] = part
    pairs = [(shots[0], shots[5]) for shots in by_name.values() if {0, 5} <= shots.keys()]
    parts = [TaskRows(zero.task, 5, shot_difference(zero.rows, five.rows)) for zero, five in pairs]
    rows = joined(parts)
    colours = size_colours(list(rows["size"]))
    figure, axes = panel_grid(len(parts))
    for ax, part in zip(axes, parts, strict=True):
        scale = TokenScale.of(part.rows["tokens"], part.rows["step"])
        ax.set_ylim(*difference_limits(part.rows))
        set_token_axis(ax, scale)
        ax.set_title(part.task.title, pad=14, y=1.0)
        ax.axhline(0, color=FAINT, linewidth=0.8, zorder=1)
        name_y(ax, f"difference in {part.metric}")
        for (size, data, _), line in part.rows.groupby(["size", "data", "model"], observed=True):
            draw_line(ax, line, colours[str(size)], DATA_STYLES[str(data)], scale)
        first = draw_last_bars(ax, part.rows, colours, scale)
        text_of_line(ax, 0, "no difference", until=first)
        label_sizes(ax, part.rows, colours, scale)
    legend_of_data(figure, data_sets_of(rows))
    is_paired = all(bool(part.rows["is_paired"].all()) for part in parts)
    caption = caption_of(parts, PAIRED if is_paired else NOT_PAIRED)
    return Drawing(
        figure,
        rows[PLOTTED],
        "Five-shot minus zero-shot",
        "Five-shot minus zero-shot. " + caption,
        last_in_words(parts),
    )


def difference_limits(rows: pd.DataFrame) -> tuple[float, float]:
    """Y limits that hold every difference, the bars of the last checkpoint, and 0."""
    last = at_last_step(rows)
    low = min(0.0, float(rows["value"].min()), float(last["lower"].min()))
    high = max(0.0, float(rows["value"].max()), float(last["upper"].max()))
    margin = 0.05 * (high - low or 1.0)
    return low - margin, high + margin


def scores_against_parameters(tables: Tables) -> Drawing:
    """Scores of the last checkpoint against the number of parameters."""
    parts = [TaskRows(part.task, part.shots, at_last_step(part.rows)) for part in by_task(tables.scores, tables.run)]
    rows = joined(parts)
    figure, axes = panel_grid(len(parts), columns=3, height=1.5, gap=0.75)
    for ax, part in zip(axes, parts, strict=True):
        draw_against_parameters(ax, part)
    legend_of_data(figure, data_sets_of(rows))
    caption = "Scores of the last checkpoint. " + caption_of(
        parts, f"Bars: 95 % from the standard error. Dotted: chance.{DIFFERENT_AXES}"
    )
    return Drawing(figure, rows[PLOTTED], "Scores against parameters", caption, last_in_words(parts))


def draw_against_parameters(ax: Axes, part: TaskRows) -> None:
    """One task: x is log10 of the parameters that a size's name states, with 95 % bars."""
    sizes = ordered_sizes(list(part.rows["size"]))
    places = {size: float(np.log10(parameters_of_size(size))) for size in sizes}
    for data, line in part.rows.groupby("data", observed=True):
        ordered = line.assign(place=line["size"].map(places).astype(float)).sort_values("place")
        family = DATA_FAMILY[str(data)]
        ax.errorbar(
            ordered["place"],
            ordered["value"],
            yerr=ordered["value"] - ordered["lower"],
            color=FAMILY_COLOURS[family],
            marker=FAMILY_MARKERS[family],
            linestyle=DATA_STYLES[str(data)],
            markersize=3.5,
            elinewidth=0.8,
        )
    ax.set_xticks(list(places.values()), list(places))
    ax.set_xlim(min(places.values()) - 0.15, max(places.values()) + 0.15)
    ax.set_ylim(*common_limits([Panel("", part.rows, part.task.chance)]))
    ax.set_title(f"{part.task.title}\n{shot_words(part.shots)}", fontsize=7.5)
    ax.set_xlabel("parameters")
    name_y(ax, part.metric)
    if part.task.chance:
        ax.axhline(part.task.chance, **REFERENCE_LINE)
        text_of_line(ax, part.task.chance, chance_words(part.task.chance))


def caption_of(parts: Sequence[TaskRows], remark: str) -> str:
    """Caption: models, checkpoints, tasks with metric and items; ``remark`` says what is drawn."""
    rows = joined(parts)
    tasks = "; ".join(dict.fromkeys(part.items for part in parts))
    return (
        f"{counted(rows['model'].nunique(), 'model')}, {counted(rows['step'].nunique(), 'checkpoint')}, scored in this "
        f"run. {tasks}. {remark}"
    )


def counted(count: int, noun: str) -> str:
    """Count with its noun.

    >>> counted(1, "model"), counted(6, "model")
    ('1 model', '6 models')
    """
    return f"{count} {noun}" + ("" if count == 1 else "s")


def change_in_words(parts: Sequence[TaskRows]) -> str:
    """The pictures in words: first and last score of the largest model for each panel."""
    sentences = []
    for part in parts:
        largest = part.rows[part.rows["size"] == ordered_sizes(list(part.rows["size"]))[-1]]
        line = largest[largest["data"] == largest["data"].iloc[0]].sort_values("step")
        first, last = line.iloc[0], line.iloc[-1]
        sentences.append(
            f"{part.title}: {first['model']} from {first['value']:.2f} at step {first['step']} "
            f"to {last['value']:.2f} at step {last['step']}"
        )
    return "; ".join(sentences) + "."


def last_in_words(parts: Sequence[TaskRows]) -> str:
    """The pictures in words: the last value of each model for each panel."""
    sentences = []
    for part in parts:
        last = at_last_step(part.rows)
        values = ", ".join(f"{row.model} {row.value:.2f}" for row in last.itertuples())
        sentences.append(f"{part.title}: {values}")
    return "; ".join(sentences) + "."
