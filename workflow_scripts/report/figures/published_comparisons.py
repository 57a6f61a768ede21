"""Figures that set published results against each other: families of models, data sets, batch sizes."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workflow_scripts.published.rules.findings import DOUBTFUL, has_note, without_dropped
from workflow_scripts.published.summary import CORE_TASKS, LAST_STEP, suite_rows
from workflow_scripts.report.drawing.axes import set_token_axis
from workflow_scripts.report.drawing.curve_panels import (
    Panel,
    chance_words,
    common_limits,
    draw_line,
    select,
    text_of_line,
    with_band,
)
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import legend_of_sizes, panel_grid
from workflow_scripts.report.drawing.style import (
    DATA_STYLES,
    FAINT,
    FAMILY_COLOURS,
    FAMILY_MARKERS,
    INK,
    REFERENCE_LINE,
    ordered_sizes,
    parameters_of_size,
    size_colours,
)
from workflow_scripts.report.figures.own_points import (
    REMARK,
    draw_diamond,
    draw_own,
    joined_rows,
    legend_of_own,
    own_points,
    scale_of,
)
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.suite.registry import load_suite

FAMILY_TITLES = {"pythia": "Pythia", "pythia-deduped": "Pythia deduped", "opt": "OPT", "bloom": "BLOOM"}
LATE_STEP = 113_000  # from here on differences are averaged in words
DIFFERENCE_KEY = ["task", "size", "step", "tokens"]
DIFFERENCE_REMARK = " Bars of ours: 95 %, as if the two models had answered different items."
NO_VARIANTS = " Ours are shown for the suite's models only: the weights of the variants were never published."


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
            ax.axhline(tasks[name].chance or 0, **REFERENCE_LINE)
            text_of_line(ax, tasks[name].chance or 0, chance_words(tasks[name].chance or 0))
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
    return {name: select(own_points(tables, name, shots=0), step=step) for name in CORE_TASKS}


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


def published_deduped_minus_standard(tables: Tables) -> Drawing:
    """What deduplication changes, as paired differences over training."""
    tasks = ("lambada_openai", "piqa", "arc_easy", "sciq")
    rows = pd.concat([data_difference(tables.published, task) for task in tasks], ignore_index=True)
    own = {task: own_difference(tables, task) for task in tasks}
    ours = pd.concat(own.values(), ignore_index=True)
    colours = size_colours(list(rows["size"]))
    figure, axes = panel_grid(len(tasks))
    for ax, task in zip(axes, tasks, strict=True):
        of_task = rows[rows["task"] == task]
        scale = scale_of(of_task, own[task])
        ends = own[task][["lower", "upper"]].abs().to_numpy().ravel() if len(own[task]) else ()
        largest = 1.1 * max([float(of_task["value"].abs().max()), *ends])
        ax.set_ylim(-largest, largest)
        set_token_axis(ax, scale)
        ax.set_title(load_suite("pythia").tasks[task].title, pad=14, y=1.0)
        ax.axhline(0, color=FAINT, linewidth=0.8, zorder=1)
        for size, line in of_task.groupby("size", sort=False):
            place = scale.place(line["tokens"].to_numpy(dtype=float))
            ax.plot(place, line["value"], color=colours[str(size)], linewidth=0.7, alpha=0.7, zorder=2)
        mean = of_task.groupby("tokens", as_index=False)["value"].mean()
        ax.plot(scale.place(mean["tokens"].to_numpy(dtype=float)), mean["value"], color=INK, linewidth=1.8, zorder=3)
        draw_own(ax, own[task], colours, scale)
    legend_of_sizes(figure, colours)
    legend_of_own(figure, ours, place="upper left")
    for ax in axes[::2]:
        ax.set_ylabel("difference in accuracy", labelpad=0)
    late = rows[rows["step"] >= LATE_STEP]
    return Drawing(
        figure,
        joined_rows(rows, ours),
        "Deduplicated minus standard data",
        "Zero-shot accuracy of the deduplicated model minus that of the standard model of the same size at the same "
        "step, as published; thick: mean of the eight sizes. Weights of steps 0 and 1 are equal by construction (1b "
        "differs in two answers of PIQA and one of ARC-easy), and so are the doubtful early files of 2.8b. A single "
        "difference has a standard error of about .01 (LAMBADA) to .02 (SciQ)."
        + (REMARK + DIFFERENCE_REMARK if len(ours) else ""),
        f"The differences scatter around 0; over the last steps they average {late['value'].mean():+.3f}, positive in "
        f"{(late['value'] > 0).sum()} of {len(late)}.",
    )


def data_difference(published: pd.DataFrame, task: str) -> pd.DataFrame:
    """Deduplicated minus standard for each size and step of one task."""
    rows = select(suite_rows(published, 0), task=task, metric="acc")
    rows = rows.assign(doubtful=has_note(rows, *DOUBTFUL)).astype({"size": str, "data": str, "task": str})
    wide = rows.pivot_table(index=["task", "size", "step", "tokens"], columns="data", values=["value", "doubtful"])
    difference: pd.Series = wide["value"]["deduped"] - wide["value"]["standard"]
    flat: pd.DataFrame = difference.rename("value").reset_index()
    flat["doubtful"] = (wide["doubtful"]["deduped"] > 0).to_numpy()
    return flat.assign(data="deduped minus standard")


def own_difference(tables: Tables, task: str) -> pd.DataFrame:
    """The same of ours with a 95 % interval and ``comparable``, where both models of a size were scored."""
    rows = own_points(tables, task, shots=0)
    if rows.empty:
        return rows
    standard, deduped = (select(rows, data=data) for data in DATA_STYLES)
    both = deduped.merge(standard, on=DIFFERENCE_KEY, suffixes=("", "_standard"))
    found = both[DIFFERENCE_KEY].assign(
        value=both["value"] - both["value_standard"],
        stderr=np.hypot(both["stderr"], both["stderr_standard"]),
        comparable=both["comparable"] & both["comparable_standard"],
        data="deduped minus standard",
        shots=0,
        doubtful=False,
    )
    return with_band(found)


def published_batch_sizes(tables: Tables) -> Drawing:
    """Smaller batches, same tokens: five-shot LAMBADA of the batch-size variants beside the suite."""
    rows = batch_rows(tables.published)
    variants = list(dict.fromkeys(rows[rows["batch"] != "2M"]["size"]))
    ours = select(own_points(tables, "lambada_openai", shots=5), data="standard", size=variants)
    figure, axes = panel_grid(len(variants))
    for ax, size in zip(axes, ordered_sizes(variants), strict=False):
        of_size = rows[rows["size"] == size]
        own = select(ours, size=size)
        scale = scale_of(of_size, own)
        ax.set_ylim(*common_limits([Panel("", of_size), Panel("", own)]))
        set_token_axis(ax, scale)
        small = next(batch for batch in of_size["batch"] if batch != "2M")
        ax.set_title(f"{size}: batch of {small} (dashed), 2M", pad=14, y=1.0)
        for batch, line in of_size.groupby("batch"):
            style = "-" if batch == "2M" else DATA_STYLES["deduped"]
            colour = FAMILY_COLOURS["pythia"] if batch == "2M" else FAMILY_COLOURS["opt"]
            draw_line(ax, line.assign(doubtful=False), colour, style, scale)
        draw_own(ax, own, {size: FAMILY_COLOURS["pythia"]}, scale)
    legend_of_own(figure, ours)
    for ax in axes[::2]:
        ax.set_ylabel("LAMBADA accuracy")
    last = rows[rows["step"] == LAST_STEP].pivot_table(index="size", columns=rows["batch"] == "2M", values="value")
    gains = ", ".join(f"{size} {row[False] - row[True]:+.3f}" for size, row in last.dropna().iterrows())
    return Drawing(
        figure,
        joined_rows(rows, ours),
        "Batch-size variants",
        "Five-shot LAMBADA accuracy (acc, n = 5,153) of the batch-size variants (dashed) and of the suite's model "
        "of the same size on the same data (solid), at equal tokens, as published in evals/pythia-v1. "
        "The y axis differs." + (REMARK + NO_VARIANTS if len(ours) else ""),
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
