"""Figures that set published results against each other: families of models, data sets, arms, batch sizes."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from workflow_scripts.published.findings import CONTROL, DOUBTFUL, has_note, without_dropped
from workflow_scripts.published.scoreboard import EARLIER_STEP
from workflow_scripts.published.summary import CORE_TASKS, LAST_STEP, suite_rows
from workflow_scripts.report.axes import TokenScale, set_token_axis
from workflow_scripts.report.curves import Panel, common_limits, draw_line, select, with_band
from workflow_scripts.report.figure import Drawing
from workflow_scripts.report.grid import panel_grid
from workflow_scripts.report.own_points import REMARK, draw_diamond, joined_rows, legend_of_own, own_points
from workflow_scripts.report.style import (
    ARM_COLOURS,
    DATA_STYLES,
    FAINT,
    FAMILY_COLOURS,
    FAMILY_MARKERS,
    INK,
    ordered_sizes,
    parameters_of_size,
    size_colours,
)
from workflow_scripts.report.tables import Tables
from workflow_scripts.suite.registry import load_suite

FAMILY_TITLES = {"pythia": "Pythia", "pythia-deduped": "Pythia deduped", "opt": "OPT", "bloom": "BLOOM"}
GENDER_TASK, GENDER_METRIC = "crows_pairs_english_gender", "pct_stereotype"
ARM_TITLES = {"baseline": "baseline", "intervention": "last 7 % swapped", "intervention-long": "last 21 % swapped"}
FIRST_INTERVENTION_STEP = 113_000


def published_against_parameters(tables: Tables) -> Drawing:
    """Final zero-shot scores against parameters, with OPT and BLOOM: the paper's figure 8."""
    return against_parameters(tables, LAST_STEP)


def published_against_parameters_93000(tables: Tables) -> Drawing:
    """The same with Pythia at step 93000: the paper's figure 9."""
    return against_parameters(tables, EARLIER_STEP)


def against_parameters(tables: Tables, step: int) -> Drawing:
    """Scores of Pythia at one step and of finished OPT and BLOOM models against parameters."""
    rows, own = final_by_family(tables.published, step), own_by_task(tables, step)
    at_end = step == LAST_STEP
    models = "finished models" if at_end else f"Pythia models at step {step} and of finished OPT and BLOOM models"
    figure, axes = panel_grid(len(CORE_TASKS), columns=3, height=1.5, gap=0.62)
    tasks = load_suite("pythia").tasks
    for ax, name in zip(axes, CORE_TASKS, strict=True):
        of_task = rows[rows["task"] == name]
        draw_families(ax, of_task)
        for point in own[name].itertuples():
            family = "pythia-deduped" if point.data == "deduped" else "pythia"
            draw_diamond(ax, float(np.log10(parameters_of_size(str(point.size)))), point, FAMILY_COLOURS[family])
        ax.set_ylim(*common_limits([Panel("", of_task, tasks[name].chance)]))
        ax.set_title(tasks[name].title, fontsize=7.5)
        if tasks[name].chance:
            ax.axhline(tasks[name].chance or 0, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
    for ax in axes[::3]:
        ax.set_ylabel("accuracy")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="upper left", ncols=4, borderaxespad=0.1)
    legend_of_own(figure, *own.values())
    ours = pd.concat(own.values(), ignore_index=True)
    best = rows[rows["task"] == "lambada_openai"].sort_values("value").iloc[-1]
    return Drawing(
        figure,
        joined_rows(rows, ours)[[*rows.columns, "whose"]],
        f"Published {'final scores' if at_end else f'scores at step {step}'} against parameters",
        f"Zero-shot accuracy (acc) of the {models} against the parameters in their names, as published in "
        "EleutherAI/pythia (evals/pythia-v1, opt, bloom). Bars: 95 %. Dotted: chance. The y axis "
        "differs between tasks." + (REMARK if len(ours) else ""),
        f"Scores rise with parameters in all four families except on WSC and LogiQA, which stay near chance; the best "
        f"LAMBADA is {best['value']:.3f} ({best['model']}).",
    )


def own_by_task(tables: Tables, step: int) -> dict[str, pd.DataFrame]:
    """Our zero-shot points of each task at one step, empty frames where the run has none."""
    points = {name: own_points(tables, name, shots=0) for name in CORE_TASKS}
    return {name: rows[rows["step"] == step] if len(rows) else rows for name, rows in points.items()}


def final_by_family(published: pd.DataFrame, step: int = LAST_STEP) -> pd.DataFrame:
    """Zero-shot accuracies of Pythia at ``step``, OPT and BLOOM with the family and log10 of the parameters."""
    own = suite_rows(published, 0)
    own = own[own["step"] == step]
    others = select(published, suite=["opt", "bloom"])
    rows = select(pd.concat([own, others]), task=list(CORE_TASKS), metric="acc")
    plain = rows[["suite", "model", "size", "data", "task", "value", "stderr", "n"]].astype({"size": str, "task": str})
    deduped = plain["data"].astype("string").fillna("") == "deduped"
    plain = plain.assign(
        family=plain["suite"].astype(str) + np.where(deduped, "-deduped", ""),
        place=[float(np.log10(parameters_of_size(size))) for size in plain["size"]],
        shots=0,
        step=0,
    )
    return with_band(plain).sort_values(["task", "family", "place"]).drop(columns=["shots", "step"])


def draw_families(ax: Axes, rows: pd.DataFrame) -> None:
    """One line per family with 95 % bars."""
    for family, title in FAMILY_TITLES.items():
        line = rows[rows["family"] == family]
        ax.errorbar(
            line["place"],
            line["value"],
            yerr=line["value"] - line["lower"],
            color=FAMILY_COLOURS[family],
            marker=FAMILY_MARKERS[family],
            markersize=2.8,
            linewidth=1.0,
            elinewidth=0.6,
            label=title,
        )
    ax.set_xticks([8, 9, 10], ["100m", "1b", "10b"])
    ax.set_xlabel("parameters")


def published_crows_pairs(tables: Tables) -> Drawing:
    """CrowS-Pairs gender near the end of training, baseline and interventions: the paper's figure 1, v0 and v1."""
    rows = gender_rows(tables.published)
    figure = arms_figure(rows, "% stereotype preferred", neutral=50.0)
    return Drawing(
        figure,
        rows,
        "CrowS-Pairs gender and the pronoun interventions",
        "Share of 320 English CrowS-Pairs about gender in which the stereotyped sentence is likelier (pct_stereotype; "
        "50 % is no preference, dotted), deduplicated models, as published in evals/bias-evals (v0) and "
        "evals/pythia-v1 (v1). Bars: 95 % of one value. The arms fall below the baseline in v0 and not in "
        "v1: see the defects.",
        "In v0 the interventions lie about 3 points below the baseline for 410m and 1.4b; in v1 they follow it.",
    )


def published_intervention_lambada(tables: Tables) -> Drawing:
    """LAMBADA near the end of training, baseline and interventions: the paper's figure 6, v0 and v1."""
    rows = arm_rows(tables.published, "lambada_openai", "acc")
    wide = rows.pivot_table(index=["version", "size", "step"], columns="arm", values="value")
    largest = wide.sub(wide["baseline"], axis=0).abs().max().max()
    return Drawing(
        arms_figure(rows, "LAMBADA, % right", neutral=None),
        rows,
        "LAMBADA and the pronoun interventions",
        "Zero-shot LAMBADA accuracy (acc, n = 5,153) in per cent near the end of training, deduplicated models, as "
        "published in evals/bias-evals (v0) and evals/pythia-v1 (v1). Bars: 95 % of one value.",
        f"The interventions leave LAMBADA as it is: where both have a checkpoint, no arm differs from its baseline "
        f"by more than {largest:.1f} points.",
    )


def gender_rows(published: pd.DataFrame) -> pd.DataFrame:
    """CrowS-Pairs gender of all arms from step 113000 on, in per cent; one value per checkpoint and arm."""
    return arm_rows(published, GENDER_TASK, GENDER_METRIC)


def arms_figure(rows: pd.DataFrame, label: str, neutral: float | None) -> Figure:
    """Arms over the last steps: a row per version, a column per size, ``neutral`` as a dotted line."""
    sizes = ordered_sizes(list(rows["size"]))
    figure: Figure
    figure, axes = plt.subplots(2, len(sizes), figsize=(7.0, 4.4), sharey="col" if neutral is None else True,
                                sharex=True, layout="none")  # fmt: skip
    space = 0.3 if neutral is None else 0.08
    figure.subplots_adjust(left=0.075, right=0.99, top=0.9, bottom=0.1, wspace=space, hspace=0.28)
    for row, version in enumerate(("v0", "v1")):
        for column, size in enumerate(sizes):
            draw_arms(axes[row][column], rows[(rows["version"] == version) & (rows["size"] == size)], neutral)
            axes[row][column].set_title(f"{size}, {version}", fontsize=7.5)
        axes[row][0].set_ylabel(label)
    handles = {label: h for ax in figure.axes for h, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(list(handles.values()), list(handles), loc="upper right", ncols=len(handles), borderaxespad=0.1)
    for ax in axes[1]:
        ax.set_xlabel("step, thousands")
    return figure


def arm_rows(published: pd.DataFrame, task: str, metric: str) -> pd.DataFrame:
    """One task of all arms from step 113000 on, in per cent; one value per checkpoint and arm."""
    rows = without_dropped(select(published, task=task, metric=metric, data="deduped", shots=0))
    rows = rows.assign(order=~has_note(rows, CONTROL)).sort_values("order", kind="stable")  # controls of the arms first
    rows = rows[(rows["step"] >= FIRST_INTERVENTION_STEP) & rows["size"].isin(["70m", "410m", "1.4b", "6.9b"])]
    plain = rows[["version", "arm", "model", "size", "data", "shots", "step", "value", "stderr", "n"]]
    plain = plain.astype(dict.fromkeys(("version", "arm", "model", "size", "data"), str))
    plain = plain.drop_duplicates(["version", "arm", "size", "step"])
    return with_band(plain.assign(value=100 * plain["value"], stderr=100 * plain["stderr"]))


def draw_arms(ax: Axes, rows: pd.DataFrame, neutral: float | None) -> None:
    """Arms of one model over the last steps; arms of another program than the baseline are open circles."""
    if neutral is not None:
        ax.axhline(neutral, color=FAINT, linewidth=0.8, linestyle=(0, (1, 2)), zorder=1)
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


def published_deduped_minus_standard(tables: Tables) -> Drawing:
    """What deduplication changes, as paired differences over training."""
    tasks = ("lambada_openai", "piqa", "arc_easy", "sciq")
    rows = pd.concat([data_difference(tables.published, task) for task in tasks], ignore_index=True)
    colours = size_colours(list(rows["size"]))
    figure, axes = panel_grid(len(tasks))
    for ax, task in zip(axes, tasks, strict=True):
        of_task = rows[rows["task"] == task]
        scale = TokenScale.of(of_task["tokens"], of_task["step"])
        largest = float(of_task["value"].abs().max()) * 1.1
        ax.set_ylim(-largest, largest)
        set_token_axis(ax, scale)
        ax.set_title(load_suite("pythia").tasks[task].title, pad=14)
        ax.axhline(0, color=FAINT, linewidth=0.8, zorder=1)
        for size, line in of_task.groupby("size", sort=False):
            place = scale.place(line["tokens"].to_numpy(dtype=float))
            ax.plot(place, line["value"], color=colours[str(size)], linewidth=0.7, alpha=0.7, zorder=2)
        mean = of_task.groupby("tokens", as_index=False)["value"].mean()
        ax.plot(scale.place(mean["tokens"].to_numpy(dtype=float)), mean["value"], color=INK, linewidth=1.8, zorder=3)
    handles = [plt.Line2D([], [], color=colours[size], label=size) for size in ordered_sizes(list(colours))]
    figure.legend(handles=handles, loc="upper right", ncols=8, handlelength=1.2, columnspacing=1.0, borderaxespad=0.1)
    for ax in axes[::2]:
        ax.set_ylabel("difference in accuracy", labelpad=0)
    late = rows[rows["step"] >= FIRST_INTERVENTION_STEP]
    return Drawing(
        figure,
        rows,
        "Deduplicated minus standard data",
        "Zero-shot accuracy of the deduplicated model minus that of the standard model of the same size at the same "
        "step, as published; dark: mean of the eight sizes. Weights of steps 0 and 1 are equal by construction (1b "
        "differs in two answers of PIQA and one of ARC-easy), and so are the doubtful early files of 2.8b. A single "
        "difference has a standard error of about .01 (LAMBADA) to .02 (SciQ).",
        f"The differences scatter around 0; over the last steps they average {late['value'].mean():+.3f}, positive in "
        f"{(late['value'] > 0).sum()} of {len(late)}.",
    )


def data_difference(published: pd.DataFrame, task: str) -> pd.DataFrame:
    """Deduplicated minus standard for each size and step of one task."""
    rows = select(suite_rows(published, 0), task=task, metric="acc")
    rows = rows.assign(doubtful=has_note(rows, *DOUBTFUL)).astype({"size": str, "data": str, "task": str})
    wide = rows.pivot_table(index=["task", "size", "step", "tokens"], columns="data", values=["value", "doubtful"])
    difference = wide["value"]["deduped"] - wide["value"]["standard"]
    flat = difference.rename("value").reset_index()
    flat["doubtful"] = (wide["doubtful"]["deduped"] > 0).to_numpy()
    return flat.assign(data="deduped minus standard")


def published_batch_sizes(tables: Tables) -> Drawing:
    """Smaller batches, same tokens: five-shot LAMBADA of the batch-size variants beside the suite."""
    rows = batch_rows(tables.published)
    variants = list(dict.fromkeys(rows[rows["batch"] != "2M"]["size"]))
    figure, axes = panel_grid(len(variants))
    for ax, size in zip(axes, ordered_sizes(variants), strict=False):
        of_size = rows[rows["size"] == size]
        scale = TokenScale.of(of_size["tokens"], of_size["step"])
        ax.set_ylim(*common_limits([Panel("", of_size)]))
        set_token_axis(ax, scale)
        small = next(batch for batch in of_size["batch"] if batch != "2M")
        ax.set_title(f"{size}: {small} tokens a batch (dashed) and 2M", pad=14)
        for batch, line in of_size.groupby("batch"):
            style = "-" if batch == "2M" else DATA_STYLES["deduped"]
            colour = FAMILY_COLOURS["pythia"] if batch == "2M" else FAMILY_COLOURS["opt"]
            draw_line(ax, line.assign(doubtful=False), colour, style, scale)
    for ax in axes[::2]:
        ax.set_ylabel("LAMBADA accuracy")
    last = rows[rows["step"] == LAST_STEP].pivot_table(index="size", columns=rows["batch"] == "2M", values="value")
    gains = ", ".join(f"{size} {row[False] - row[True]:+.3f}" for size, row in last.dropna().iterrows())
    return Drawing(
        figure,
        rows,
        "Batch-size variants",
        "Five-shot LAMBADA accuracy (acc, n = 5,153) of the batch-size variants (dashed) and of the suite's model "
        "of the same size on the same data (solid), at equal tokens, as published in evals/pythia-v1. "
        "The y axis differs.",
        f"Small minus 2M-token batches at the last common checkpoint: {gains}.",
    )


def batch_rows(published: pd.DataFrame) -> pd.DataFrame:
    """Five-shot LAMBADA of the variants and of their counterparts in the suite."""
    rows = select(
        published, version="v1", data="standard", arm="baseline", task="lambada_openai", metric="acc", shots=5
    )
    plain = without_dropped(rows)[["model", "size", "data", "shots", "step", "tokens", "value", "stderr", "n"]]
    plain = plain.astype({"model": str, "size": str, "data": str})
    batch = plain["model"].str.extract(r"-([0-9.]+M)tokBS$", expand=False).fillna("2M")
    return with_band(plain.assign(batch=batch))
