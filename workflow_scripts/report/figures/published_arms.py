"""Figures of the interventions on pronouns: baseline and arms near the end of training, v0 above v1."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts.published.rules.findings import CONTROL, has_note, without_dropped
from workflow_scripts.report.drawing.curve_panels import select, with_band
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.style import ARM_COLOURS, FAINT, REFERENCE_LINE, ordered_sizes
from workflow_scripts.report.figures.own_experiments import ARM_SIZES, FIRST_INTERVENTION_STEP, own_arm_points
from workflow_scripts.report.figures.own_points import draw_diamond, joined_rows, legend_of_own
from workflow_scripts.report.report_tables import Tables

GENDER_TASK, GENDER_METRIC = "crows_pairs_english_gender", "pct_stereotype"
ARM_TITLES = {"baseline": "baseline", "intervention": "last 7 % swapped", "intervention-long": "last 21 % swapped"}
OWN_TITLES = {True: "ours, published weights", False: "ours, other weights or items"}
OWN_REMARK = (
    " Diamonds: scored in this run; filled, published weights with the requests of 2023; hollow, weights "
    "that this run trained itself (its arms feminine-7 and feminine-21 and its baseline) or, of CrowS-Pairs, the fewer "
    "items of today."
)


def published_crows_pairs(tables: Tables) -> Drawing:
    """CrowS-Pairs gender near the end of training, baseline and interventions: the paper's figure 1, v0 and v1."""
    rows, ours = gender_rows(tables.published), own_arm_points(tables, GENDER_TASK, GENDER_METRIC)
    figure = arms_figure(rows, ours, "% stereotype preferred", neutral=50.0)
    return Drawing(
        figure,
        joined_rows(rows, ours),
        "CrowS-Pairs gender and the pronoun interventions",
        "Share of 320 English CrowS-Pairs about gender in which the stereotyped sentence is more likely "
        "(pct_stereotype; 50 % is no preference, dotted), deduplicated models, as published in evals/bias-evals (v0) "
        "and evals/pythia-v1 (v1). Bars: 95 % of one value. The arms fall below the baseline in v0 and not in v1: see "
        "the defects." + (OWN_REMARK if len(ours) else ""),
        "In v0 the interventions are about 3 points below the baseline for 410m and 1.4b; in v1 they follow it.",
    )


def published_intervention_lambada(tables: Tables) -> Drawing:
    """LAMBADA near the end of training, baseline and interventions: the paper's figure 6, v0 and v1."""
    rows, ours = arm_rows(tables.published, "lambada_openai", "acc"), own_arm_points(tables, "lambada_openai", "acc")
    wide = rows.pivot_table(index=["version", "size", "step"], columns="arm", values="value")
    largest = wide.sub(wide["baseline"], axis=0).abs().max().max()
    return Drawing(
        arms_figure(rows, ours, "LAMBADA, % correct", neutral=None),
        joined_rows(rows, ours),
        "LAMBADA and the pronoun interventions",
        "Zero-shot LAMBADA accuracy (acc, n = 5,153) in per cent near the end of training, deduplicated models, as "
        "published in evals/bias-evals (v0) and evals/pythia-v1 (v1). Bars: 95 % of one value."
        + (OWN_REMARK if len(ours) else ""),
        f"The interventions do not change LAMBADA: at common checkpoints, no arm differs from its baseline "
        f"by more than {largest:.1f} points.",
    )


def gender_rows(published: pd.DataFrame) -> pd.DataFrame:
    """CrowS-Pairs gender of all arms from step 113000 on, in per cent; one value per checkpoint and arm."""
    return arm_rows(published, GENDER_TASK, GENDER_METRIC)


def arms_figure(rows: pd.DataFrame, ours: pd.DataFrame, label: str, neutral: float | None) -> Figure:
    """Arms over the last steps: a row per version, a column per size, ``neutral`` as a dotted line, ours on top."""
    sizes = ordered_sizes(list(rows["size"]))
    figure: Figure
    figure, axes = plt.subplots(2, len(sizes), figsize=(7.0, 4.4), sharey="col" if neutral is None else True,
                                sharex=True, layout="none")  # fmt: skip
    space = 0.3 if neutral is None else 0.08
    figure.subplots_adjust(left=0.075, right=0.99, top=0.9, bottom=0.1, wspace=space, hspace=0.28)
    for row, version in enumerate(("v0", "v1")):
        for column, size in enumerate(sizes):
            draw_arms(axes[row][column], rows[(rows["version"] == version) & (rows["size"] == size)], neutral)
            draw_own_arms(axes[row][column], select(ours, version=version, size=size))
            axes[row][column].set_title(f"{size}, {version}", fontsize=7.5)
        axes[row][0].set_ylabel(label)
    handles = {label: h for ax in figure.axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="upper right", ncols=len(handles), borderaxespad=0.1,
                  handlelength=1.2, columnspacing=1.0)  # fmt: skip
    legend_of_own(figure, ours, place="upper left", titles=OWN_TITLES)
    for ax in axes[1]:
        ax.set_xlabel("step, thousands")
    return figure


def draw_own_arms(ax: Axes, rows: pd.DataFrame) -> None:
    """Diamonds in the colours of the arms."""
    for row in rows.itertuples():
        draw_diamond(ax, float(str(row.step)) / 1000, row, ARM_COLOURS[str(row.arm)])


def arm_rows(published: pd.DataFrame, task: str, metric: str) -> pd.DataFrame:
    """One task of all arms from step 113000 on, in per cent; one value per checkpoint and arm."""
    rows = without_dropped(select(published, task=task, metric=metric, data="deduped", shots=0))
    rows = rows.assign(order=~has_note(rows, CONTROL)).sort_values("order", kind="stable")  # controls of the arms first
    rows = rows[(rows["step"] >= FIRST_INTERVENTION_STEP) & rows["size"].isin(ARM_SIZES)]
    plain = rows[["version", "arm", "model", "size", "data", "shots", "step", "value", "stderr", "n"]]
    plain = plain.astype(dict.fromkeys(("version", "arm", "model", "size", "data"), str))
    plain = plain.drop_duplicates(["version", "arm", "size", "step"])
    return with_band(plain.assign(value=100 * plain["value"], stderr=100 * plain["stderr"]))


def draw_arms(ax: Axes, rows: pd.DataFrame, neutral: float | None) -> None:
    """Arms of one model over the last steps; arms of another program than the baseline are open circles."""
    if neutral is not None:
        ax.axhline(neutral, **REFERENCE_LINE)
    if rows.empty:
        ax.text(0.5, 0.5, "no files", transform=ax.transAxes, ha="center", color=FAINT, fontsize=7)
    for arm, title in ARM_TITLES.items():
        line = rows[rows["arm"] == arm].sort_values("step")
        if len(line):
            ax.errorbar(
                line["step"].to_numpy(dtype=float) / 1000,
                line["value"],
                yerr=line["value"] - line["lower"],
                color=ARM_COLOURS[arm],
                marker="o",
                markerfacecolor="white" if "doubtful" in line and line["doubtful"].any() else ARM_COLOURS[arm],
                markersize=2,
                linewidth=1.1,
                elinewidth=0.35,
                label=title,
            )
