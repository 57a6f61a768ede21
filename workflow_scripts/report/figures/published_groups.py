"""Figures of published results in groups of tasks: MMLU, BLiMP by phenomenon, and the loss on WikiText."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from workflow_scripts.published.summary import LAST_STEP, MMLU_PREFIX, suite_rows
from workflow_scripts.report.drawing.curve_panels import (
    Panel,
    common_limits,
    label_sizes,
    select,
    with_band,
)
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import legend_of_sizes, name_y, panel_grid
from workflow_scripts.report.drawing.style import size_colours
from workflow_scripts.report.figures.own_groups import WIKITEXT
from workflow_scripts.report.figures.own_points import (
    REMARK,
    joined_rows,
    legend_of_own,
    own_points,
    own_rows,
    scale_of,
)
from workflow_scripts.report.figures.published_figures import DATA_TITLES, draw_with_own, pair_of_panels
from workflow_scripts.report.report_tables import Tables

BLIMP_PREFIX = "blimp_"
MMLU_CHANCE = 0.25
SHOT_TITLES = {0: "zero-shot", 5: "five-shot"}
# Phenomena of Warstadt et al. 2020, table 4, and the beginnings of the names of their paradigms.
PHENOMENA: dict[str, Sequence[str]] = {
    "anaphor agreement": ("anaphor_",),
    "argument structure": (
        "animate_", "causative", "drop_argument", "inchoative", "intransitive", "passive_", "transitive",
    ),
    "binding": ("principle_A_",),
    "control and raising": (
        "existential_there_object", "existential_there_subject", "expletive_it", "tough_vs_raising",
    ),
    "determiner-noun agreement": ("determiner_noun_agreement",),
    "ellipsis": ("ellipsis_",),
    "filler-gap": ("wh_questions", "wh_vs_that"),
    "irregular forms": ("irregular_past",),
    "island effects": (
        "adjunct_island", "complex_NP_island", "coordinate_structure", "left_branch", "sentential_subject", "wh_island",
    ),
    "NPI licensing": ("matrix_question", "npi_present", "only_npi", "sentential_negation"),
    "quantifiers": ("existential_there_quantifiers", "superlative_"),
    "subject-verb agreement": ("distractor_agreement", "irregular_plural", "regular_plural"),
}  # fmt: skip
GROUPED_BY = ["group", "model", "size", "data", "shots", "step", "tokens"]
WIKITEXT_COLUMNS = ["model", "size", "data", "shots", "step", "tokens", "value", "note", "source_file", "whose"]


def phenomenon(task: str) -> str:
    """Phenomenon of a BLiMP task; empty for another task.

    >>> phenomenon("blimp_wh_island"), phenomenon("blimp_wh_vs_that_no_gap"), phenomenon("piqa")
    ('island effects', 'filler-gap', '')
    """
    name = task.removeprefix(BLIMP_PREFIX)
    found = (group for group, beginnings in PHENOMENA.items() if name.startswith(tuple(beginnings)))
    return next(found, "") if task.startswith(BLIMP_PREFIX) else ""


def group_means(rows: pd.DataFrame, groups: Mapping[str, str]) -> pd.DataFrame:
    """Unweighted mean over the tasks of each group for each model and step, with the error of the mean.

    ``groups`` maps a task to its group; ``tasks`` counts the tasks in a mean and ``n`` their items.
    """
    chosen = rows[rows["task"].isin(list(groups))]
    plain = chosen.astype({"model": str, "size": str, "data": str, "task": str})
    plain = plain.assign(group=plain["task"].map(groups), variance=plain["stderr"] ** 2)
    means = plain.groupby(GROUPED_BY, as_index=False, sort=False).agg(
        value=("value", "mean"), variance=("variance", "sum"), tasks=("task", "nunique"), n=("n", "sum")
    )
    errors = np.sqrt(means["variance"]) / means["tasks"]
    return with_band(means.assign(stderr=errors, doubtful=False).drop(columns="variance"))


def own_means(tables: Tables, shots: int, groups: Mapping[str, str], version: str = "v1") -> pd.DataFrame:
    """Our means of the same groups, with ``comparable``; none for a checkpoint where a task of the group is missing."""
    rows = own_rows(tables, shots, version)
    if rows.empty:
        return rows
    rows = select(rows, metric="acc", task=list(groups)).assign(group=lambda found: found["task"].map(groups))
    if rows.empty:
        return rows
    means = group_means(rows, groups)
    whole = means[means["tasks"] == means["group"].map(Counter(groups.values()))]
    comparable = rows.groupby(GROUPED_BY, as_index=False)["comparable"].all()
    return whole.merge(comparable, on=GROUPED_BY)


def published_mmlu(tables: Tables) -> Drawing:
    """Mean MMLU accuracy over training, zero-shot above five-shot, a column for each data set."""
    rows = pd.concat([accuracies(tables.published, shots) for shots in SHOT_TITLES])
    names = {name: "MMLU" for name in rows["task"].astype(str).unique() if name.startswith(MMLU_PREFIX)}
    means = group_means(rows, names)
    ours = pd.concat([own_means(tables, shots, names) for shots in SHOT_TITLES], ignore_index=True)
    figure = mmlu_panels(means, ours)
    last = means[means["step"] == LAST_STEP]
    return Drawing(
        figure,
        joined_rows(means, ours),
        "MMLU over training",
        f"Unweighted mean accuracy (acc) over the {int(means['tasks'].max())} subjects of MMLU, "
        f"{int(means['n'].max()):,} items, as published in evals/pythia-v1. The standard error of a mean is "
        f"{means['stderr'].mean():.4f}, that of each point is in the table. Dotted: chance."
        + (REMARK if len(ours) else ""),
        f"At the last checkpoint the means lie between {last['value'].min():.3f} and {last['value'].max():.3f}; "
        "chance is .25.",
    )


def mmlu_panels(means: pd.DataFrame, ours: pd.DataFrame) -> Figure:
    """A row of panels for each number of shots, a column for each data set, on one y axis; no bands, they overlap."""
    bare = means.assign(lower=means["value"], upper=means["value"])
    colours, (figure, axes) = size_colours(list(means["size"])), panel_grid(4)
    held = [Panel("", bare), Panel("", ours)]
    places = [(shots, data) for shots in SHOT_TITLES for data in DATA_TITLES]
    for ax, (shots, data) in zip(axes, places, strict=True):
        shown, own = bare[bare["shots"] == shots], select(ours, shots=shots)
        of_data = shown[shown["data"] == data]
        ax.set_ylim(*common_limits(held))
        panel = Panel(f"{SHOT_TITLES[shots]}, {DATA_TITLES[data]}", of_data, MMLU_CHANCE)
        draw_with_own(ax, panel, select(own, data=data), colours, scale_of(shown, own))
        label_sizes(ax, of_data, colours, scale_of(shown, own))
    for ax in axes[::2]:
        ax.set_ylabel("MMLU accuracy")
    legend_of_own(figure, ours)
    return figure


def accuracies(published: pd.DataFrame, shots: int, version: str = "v1") -> pd.DataFrame:
    """Accuracies of the suite's models."""
    return select(suite_rows(published, shots, version), metric="acc")


def published_blimp(tables: Tables) -> Drawing:
    """BLiMP by phenomenon over training, version 0: the published suite of today was not evaluated on it."""
    rows = select(accuracies(tables.published, 0, "v0"), data="standard")
    groups = {name: phenomenon(name) for name in rows["task"].astype(str).unique() if phenomenon(name)}
    means, ours = group_means(rows, groups), select(own_means(tables, 0, groups, "v0"), data="standard")
    figure = blimp_panels(means, ours)
    last = means[means["step"] == LAST_STEP].groupby("group")["value"].mean().sort_values()
    return Drawing(
        figure,
        joined_rows(means, ours),
        "BLiMP by phenomenon (version 0)",
        "Zero-shot accuracy (acc) on the minimal pairs of BLiMP, unweighted mean over the paradigms of a phenomenon "
        "(their number in brackets, 1,000 items each), models of version 0 on standard data, as published in "
        "evals/pythia-v0. Bands: 95 % of the mean. Dotted: chance." + (REMARK if len(ours) else ""),
        f"At the last checkpoint the mean over sizes is lowest for {last.index[0]} ({last.iloc[0]:.3f}) and highest "
        f"for {last.index[-1]} ({last.iloc[-1]:.3f}).",
    )


def blimp_panels(means: pd.DataFrame, ours: pd.DataFrame) -> Figure:
    """A panel for each phenomenon, all on one y axis."""
    scale, colours = scale_of(means, ours), size_colours(list(means["size"]))
    figure, axes = panel_grid(len(PHENOMENA), columns=3, height=1.25, gap=0.75)
    held = [Panel("", means, 0.5), Panel("", ours)]
    for ax, group in zip(axes, PHENOMENA, strict=True):
        of_group = means[means["group"] == group]
        ax.set_ylim(*common_limits(held))
        draw_with_own(ax, Panel("", of_group, 0.5), select(ours, group=group), colours, scale)
        ax.set_xlabel("")
        ax.set_title(f"{group} ({int(of_group['tasks'].max())})", fontsize=6.5, pad=12, y=1.0)
    for ax in axes[-3:]:
        ax.set_xlabel("training tokens")
    for ax in axes[::3]:
        name_y(ax, "accuracy")
    legend_of_sizes(figure, colours)
    legend_of_own(figure, ours, place="upper left")
    return figure


def published_wikitext(tables: Tables) -> Drawing:
    """Bits per byte of WikiText over training, version 0."""
    rows = select(suite_rows(tables.published, 0, "v0"), task=WIKITEXT, metric="bits_per_byte")
    rows = with_band(rows.astype({"model": str, "size": str, "data": str})).assign(doubtful=False)
    panels = [Panel(title, rows[rows["data"] == data]) for data, title in DATA_TITLES.items()]
    ours = own_points(tables, WIKITEXT, shots=0, metric="bits_per_byte", version="v0")
    figure = pair_of_panels(panels, ours, "WikiText, bits per byte")
    last = rows[rows["step"] == LAST_STEP].sort_values("value")
    return Drawing(
        figure,
        joined_rows(rows, ours)[WIKITEXT_COLUMNS],
        "WikiText over training (version 0)",
        "Loss on WikiText in bits per byte (bits_per_byte, lower is better) of the models of version 0, as published "
        f"in evals/pythia-v0; {rows['model'].nunique()} models: there are no values for 70m, 1b and 2.8b, nor for the "
        "suite of today. No standard errors were published." + (REMARK if len(ours) else ""),
        f"The loss falls with size: at the last checkpoint from {last['value'].iloc[-1]:.3f} "
        f"({last['model'].iloc[-1]}) to {last['value'].iloc[0]:.3f} ({last['model'].iloc[0]}).",
    )
