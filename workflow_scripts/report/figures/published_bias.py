"""WinoBias as the files in evals/ measure it: exact match of the generated referent, pro minus anti."""

import numpy as np
import pandas as pd

from workflow_scripts.published.rules.findings import OTHER_HARNESS, has_note
from workflow_scripts.report.drawing.curve_panels import select, with_band
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.figures.own_experiments import FIRST_INTERVENTION_STEP, own_net_bias
from workflow_scripts.report.figures.own_points import joined_rows
from workflow_scripts.report.figures.published_arms import ARM_TITLES, arms_figure
from workflow_scripts.report.report_tables import Tables

PREFIX = "wino_bias_type"
CELLS = 8  # two types, pro and anti, two prompts
OWN_REMARK = (
    " Hollow diamonds: arms that this run trained itself, by another measure: pairs of sentences in which the "
    "stereotyped pronoun is more likely minus the other pairs, in points; compare arms, not levels."
)
GROUPED_BY = ["version", "arm", "model", "size", "data", "step"]


def published_winobias(tables: Tables) -> Drawing:
    """Net bias near the end of training, baseline and interventions."""
    rows = net_bias(tables.published)
    rows = rows[rows["step"] >= FIRST_INTERVENTION_STEP]
    ours = own_net_bias(tables)
    figure = arms_figure(rows, ours, "net bias, points", neutral=0.0)
    last = rows[(rows["step"] == rows["step"].max()) & (rows["version"] == "v1")]
    words = "; ".join(f"{row.size} {ARM_TITLES[str(row.arm)]} {row.value:.1f}" for row in last.itertuples())
    return Drawing(
        figure,
        joined_rows(rows, ours),
        "WinoBias, exact match: pro minus anti",
        "Exact match (em) of the generated referent, mean over two types and two prompts (396 items each): "
        "pro-stereotypical minus anti-stereotypical sentences, in points, deduplicated models, as published in "
        "evals/bias-evals and evals/pythia-v1. Bars: 95 %. The v1 arms were scored by another program than their "
        "baseline and are not comparable with it. This is not the measure of the paper's figure 2, whose "
        "data were not published." + (OWN_REMARK if len(ours) else ""),
        f"Net bias of v1 at the last checkpoint, in points: {words}.",
    )


def net_bias(published: pd.DataFrame) -> pd.DataFrame:
    """Mean of pro minus mean of anti, in points, for each model and step that has all eight cells.

    The error takes the cells as independent, although the two prompts ask about the same sentences.
    """
    rows = published[published["task"].astype(str).str.startswith(PREFIX)]
    rows = select(rows, metric="em", data="deduped")
    rows = rows.assign(doubtful=has_note(rows, OTHER_HARNESS)).astype(dict.fromkeys(GROUPED_BY[:5], str))
    rows = rows.drop_duplicates([*GROUPED_BY, "task"])
    sign = np.where(rows["task"].astype(str).str.contains("_pro"), 1.0, -1.0)
    rows = rows.assign(signed=sign * rows["value"], variance=rows["stderr"] ** 2)
    sums = rows.groupby(GROUPED_BY, as_index=False).agg(
        value=("signed", "sum"), variance=("variance", "sum"), cells=("task", "nunique"), n=("n", "max"),
        doubtful=("doubtful", "any"),
    )  # fmt: skip
    whole = sums[sums["cells"] == CELLS]
    scale = 100 / (CELLS / 2)
    frame = whole.assign(value=scale * whole["value"], stderr=scale * np.sqrt(whole["variance"]), shots=0)
    return with_band(frame.drop(columns=["variance", "cells"]))
