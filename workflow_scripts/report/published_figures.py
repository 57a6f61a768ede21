"""Figures of the published results: 16 models over training, and their final scores."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd

from workflow_scripts.published.findings import DOUBTFUL, has_note
from workflow_scripts.published.summary import suite_rows
from workflow_scripts.report.axes import TokenScale
from workflow_scripts.report.curves import (
    PLOTTED,
    Panel,
    common_limits,
    draw_panel,
    label_sizes,
    select,
    with_band,
)
from workflow_scripts.report.figure import Drawing
from workflow_scripts.report.style import FULL_WIDTH, size_colours
from workflow_scripts.report.tables import Tables
from workflow_scripts.suite.registry import load_suite

# The deduplicated Pile holds 207 billion tokens (Pythia paper, section 3.1), so training goes 1.45 times over it.
EPOCH_OF_DEDUPED = 207e9
SOLID = {"standard": "-", "deduped": "-"}  # the panel says which data it is
DATA_TITLES = {"standard": "the Pile", "deduped": "the deduplicated Pile"}


def published_lambada(tables: Tables) -> Drawing:
    """LAMBADA over training, the paper's figure 10."""
    return published_over_training(tables.published, "lambada_openai")


def published_arc_easy(tables: Tables) -> Drawing:
    """ARC-easy over training, the paper's figure 13."""
    return published_over_training(tables.published, "arc_easy")


def published_sciq(tables: Tables) -> Drawing:
    """SciQ over training, the paper's figure 14."""
    return published_over_training(tables.published, "sciq")


def published_wsc(tables: Tables) -> Drawing:
    """WSC over training, the paper's figure 11."""
    return published_over_training(tables.published, "wsc")


def published_winogrande(tables: Tables) -> Drawing:
    """WinoGrande over training, the paper's figure 12."""
    return published_over_training(tables.published, "winogrande")


def published_logiqa(tables: Tables) -> Drawing:
    """LogiQA over training, the paper's figure 15."""
    return published_over_training(tables.published, "logiqa")


def published_scores(published: pd.DataFrame, task: str, metric: str = "acc", shots: int = 0) -> pd.DataFrame:
    """Rows of the 16 models of the suite for one task, doubtful ones marked."""
    rows = with_band(select(suite_rows(published, shots), task=task, metric=metric))
    return rows.assign(doubtful=has_note(rows, *DOUBTFUL))


def published_over_training(published: pd.DataFrame, task: str) -> Drawing:
    """One task over training, standard beside deduplicated data, as in the paper's figures 10 to 15."""
    facts, rows = load_suite("pythia").task(task), published_scores(published, task)
    scale, colours = TokenScale.of(rows["tokens"], rows["step"]), size_colours(list(rows["size"]))
    panels = [
        Panel(title, rows[rows["data"] == data], facts.chance, EPOCH_OF_DEDUPED if data == "deduped" else None)
        for data, title in DATA_TITLES.items()
    ]
    figure, axes = plt.subplots(1, 2, figsize=(FULL_WIDTH, 3.1), sharey=True, layout="none")
    figure.subplots_adjust(left=0.065, right=0.99, top=0.84, bottom=0.13, wspace=0.06)
    axes[0].set_ylim(*common_limits(panels))
    axes[0].set_ylabel(f"{facts.title} accuracy, zero-shot")
    for ax, panel in zip(axes, panels, strict=True):
        draw_panel(ax, panel, colours, scale, SOLID)
        label_sizes(ax, panel.rows, colours, scale)
    return Drawing(
        figure,
        rows[[*PLOTTED, "doubtful", "note", "source_file"]],
        f"{facts.title} over training: 16 published models",
        caption_over_training(rows, facts.title),
        alternative_over_training(rows, facts.title),
    )


def caption_over_training(rows: pd.DataFrame, title: str) -> str:
    """Caption with items, metric, marks and source, computed from the rows."""
    items, doubtful = int(rows["n"].dropna().mode()[0]), int(rows["doubtful"].sum())
    marked = (
        f" Open circles: {doubtful} points at which the files of 2.8b and 2.8b-deduped are identical although the"
        " models saw different data, so one of each pair is of the wrong model." if doubtful else ""
    )  # fmt: skip
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
