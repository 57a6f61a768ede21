"""Losses of traced texts over training, their exposures marked below; the pooled effect, its placebo and its course."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workflow_scripts.published.frame_rows import rows_of
from workflow_scripts.report.drawing.axes import amount_label
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import panel_grid
from workflow_scripts.report.drawing.style import ARM_COLOURS, FAINT, size_colours
from workflow_scripts.report.report_tables import Tables

# From many exposures to none; the colours are told apart with any colour vision.
EXAMPLE_COLOURS = (ARM_COLOURS["intervention-long"], ARM_COLOURS["intervention"], "#444444")
SELDOM = 4  # exposures
MARKS = 0.07  # height of a row of marks, as a share of the panel


def traces(tables: Tables) -> Drawing:
    """A panel per model for example texts, one for the effect of all, one for its course."""
    losses, exposures = tables.experiments["traces_losses"], tables.experiments["traces_exposures"]
    texts = tables.experiments["traces_texts"].astype({"text": str, "data": str})
    models = list(dict.fromkeys(losses["model"].astype(str)))
    figure, axes = panel_grid(len(models) + 2, columns=3, height=1.9, gap=0.9)
    examples = examples_of(texts)
    shown = [
        draw_examples(ax, model, losses[losses["model"] == model], exposures, examples)
        for ax, model in zip(axes, models, strict=False)
    ]
    axes[0].set_ylabel("loss, nats per token")
    effect = tables.experiments["traces"].astype({"model": str, "size": str})
    draw_effect(axes[-2], effect)
    course = tables.experiments["traces_forgetting"].astype({"model": str, "size": str})
    draw_course(axes[-1], course)
    axes[0].legend(fontsize=6, loc="upper right")
    rows = pd.concat([*shown, effect.assign(panel="effect"), course.assign(panel="course")], ignore_index=True)
    words = "; ".join(f"{name} ({count})" for name, count in examples)
    return Drawing(
        figure,
        rows,
        "Texts in training: exposures, loss and effect",
        f"First panels: loss of three texts at each checkpoint and, below, when the rows trained on held them whole: "
        f"{words}, in brackets the number of exposures. Effect: change of the loss on a text over an interval that "
        "holds it, minus that of controls of the same domain, length and starting loss that it does not hold; bars: "
        "95 % over texts. Grey: where 95 % of shuffled exposures lie. Course: the same at later checkpoints, without "
        "further exposures.",
        "Effect in nats per token, and of shuffled exposures: "
        + "; ".join(f"{row.model} {row.effect:+.3f} and {row.placebo:+.3f}" for row in effect.itertuples())
        + ".",
    )


def examples_of(texts: pd.DataFrame) -> list[tuple[str, int]]:
    """Name and exposures of three texts of the domain with most of them: often seen, seldom seen, never seen."""
    first = texts[texts["data"] == texts["data"].iloc[0]]
    domain = first.groupby("domain", sort=False)["whole"].sum().idxmax()
    ordered = first[first["domain"] == domain].sort_values(["whole", "text"], ascending=[False, True])
    seen, never = ordered[ordered["whole"] > 0], ordered[ordered["whole"] == 0]
    others = seen.iloc[1:]
    seldom = others[others["whole"] <= max(SELDOM, int(others["whole"].min()))] if len(others) else others
    chosen = pd.concat([seen.head(1), seldom.head(1), never.head(1)])
    return [(str(row.text), int(row.whole)) for row in rows_of(chosen)]


def draw_examples(
    ax: Axes, model: str, losses: pd.DataFrame, exposures: pd.DataFrame, examples: Sequence[tuple[str, int]]
) -> pd.DataFrame:
    """Losses of the example texts of one model, below them a mark for each exposure; returns what is shown."""
    data = str(losses["data"].iloc[0])
    ax.set_xscale("symlog", linthresh=1)
    shown = [pd.DataFrame(columns=["panel", "model", "text", "step", "loss", "row"])]
    for place, ((name, count), colour) in enumerate(zip(examples, EXAMPLE_COLOURS, strict=False)):
        line = losses[losses["text"] == name].sort_values("step")
        ax.plot(line["step"], line["loss"], color=colour, marker="o", markersize=2.5, label=f"{name} ({count})")
        mine = exposures[(exposures["text"] == name) & (exposures["data"] == data) & exposures["whole"]]
        height = np.full(len(mine), MARKS * (len(examples) - place - 0.5))
        ax.plot(mine["step"], height, color=colour, marker="|", markersize=4, markeredgewidth=0.6, linestyle="",
                transform=ax.get_xaxis_transform())  # fmt: skip
        parts = (line.assign(panel="loss"), mine.assign(panel="exposure", model=model))
        shown += [part[[column for column in shown[0].columns if column in part]] for part in parts if len(part)]
    low, high = ax.get_ylim()
    ax.set_ylim(low - MARKS * len(examples) * (high - low), high)
    ax.set_yticks([tick for tick in ax.get_yticks() if low <= tick <= high])
    ticks = [step for step in (0, 1, 10, 100, 1000, 10_000, 100_000) if step <= float(losses["step"].max())]
    ax.set_xticks(ticks, [amount_label(tick) if tick else "0" for tick in ticks])
    ax.minorticks_off()
    ax.set_xlabel("step")
    ax.set_title(f"{model}: loss of a text")
    return pd.concat(shown[1:], ignore_index=True)


def draw_effect(ax: Axes, effect: pd.DataFrame) -> None:
    """Pooled effect of each model beside the interval of its placebo."""
    colours = size_colours(list(effect["size"]))
    ax.axhline(0, color=FAINT, linewidth=0.8)
    for place, row in enumerate(rows_of(effect)):
        ax.fill_between(
            [place - 0.3, place + 0.3], row.placebo_lower, row.placebo_upper, color=FAINT, alpha=0.3, linewidth=0
        )
        bars = [[row.effect - row.lower], [row.upper - row.effect]]
        ax.errorbar([place], [row.effect], yerr=bars, color=colours[str(row.size)], marker="o", markersize=4)
    ax.set_xticks(range(len(effect)), [str(size) for size in effect["size"]])
    ax.set_ylabel("change of loss, nats per token")
    ax.set_title("effect of being seen")


def draw_course(ax: Axes, course: pd.DataFrame) -> None:
    """The effect at later checkpoints, a line per model."""
    colours = size_colours(list(course["size"]))
    ax.axhline(0, color=FAINT, linewidth=0.8)
    for size, line in course.groupby("size", sort=False):
        bars = [line["effect"] - line["lower"], line["upper"] - line["effect"]]
        ax.errorbar(line["steps_later"], line["effect"], yerr=bars, color=colours[str(size)], marker="o",
                    markersize=2.5, elinewidth=0.6, label=str(size))  # fmt: skip
    ax.set_xlabel("steps after the interval")
    ax.set_ylabel("change of loss, nats per token")
    ax.set_title("effect later on")
    ax.legend()
