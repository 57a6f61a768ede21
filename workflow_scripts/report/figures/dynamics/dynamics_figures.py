"""Five figures: when heads form, how weights move, CKA, logit lens, noise scale beside the learning rate."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from workflow_scripts.experiments.dynamics.dynamics_findings import induction_heads, strongest_heads
from workflow_scripts.report.drawing.axes import amount_label
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import legend_of_sizes, name_y, panel_grid
from workflow_scripts.report.drawing.style import FAINT, LIGHT_END, size_colours
from workflow_scripts.report.figures.dynamics.dynamics_rows import (
    draw_lines,
    metric_rows,
    models_shown,
    not_measured,
    scale_of,
    token_panel,
)
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.training.recipe import recipe_of
from workflow_scripts.training.run.schedule import learning_rate

DOTTED = ":"
MOST_TICKS = 6
HEIGHT, GAP = 1.9, 0.95


def dynamics_heads(tables: Tables) -> Drawing:
    """The strongest induction head of each size, beside what position alone explains; share of heads above that."""
    title = "When induction heads form"
    caption = (
        "Left: attention of the strongest head from a repeated random token to the one behind its first occurrence "
        "(line), and of the same head where nothing repeats (dotted). Band: 95 % for all heads of a model together. "
        "Right: share of heads that are above their control at that level."
    )
    rows = metric_rows(tables, "induction")
    if rows.empty:
        return not_measured(title, caption, "induction")
    parts, shares = [], []
    for (model, size), part in rows.groupby(["model", "size"], sort=False):
        facts = {"model": str(model), "size": str(size)}
        heads = induction_heads(part).merge(part[["step", "tokens"]].drop_duplicates(), on="step")
        parts.append(strongest_heads(heads).assign(**facts))
        share = (heads["lower"] > 0).groupby([heads["step"], heads["tokens"]]).mean()
        shares.append(share.rename("share_above").reset_index().assign(**facts))
    strongest = pd.concat(parts, ignore_index=True).merge(pd.concat(shares), on=["model", "size", "step", "tokens"])
    colours, scale = size_colours(list(strongest["size"])), scale_of(strongest)
    figure, (left, right) = panel_grid(2, height=HEIGHT)
    half = (strongest["upper"] - strongest["lower"]) / 2
    drawn = strongest.assign(value=strongest["repeated"], lower=strongest["repeated"] - half)
    draw_lines(left, drawn.assign(upper=strongest["repeated"] + half), colours, scale)
    control = strongest.assign(
        value=strongest["unrepeated"], lower=strongest["unrepeated"], upper=strongest["unrepeated"]
    )
    draw_lines(left, control, colours, scale, style=DOTTED)
    level = strongest.assign(
        value=strongest["share_above"], lower=strongest["share_above"], upper=strongest["share_above"]
    )
    draw_lines(right, level, colours, scale)
    left.set_ylim(bottom=0)
    right.set_ylim(0, 1.02)
    token_panel(left, scale, "Attention of the strongest head", "share of attention")
    token_panel(right, scale, "Heads above their control", "share of heads")
    legend_of_sizes(figure, colours)
    last = strongest[strongest["step"] == strongest.groupby("model")["step"].transform("max")]
    words = "; ".join(f"{row.model} {row.repeated:.2f} against {row.unrepeated:.2f}" for row in last.itertuples())
    return Drawing(figure, strongest, title, caption, f"Strongest head at the last step: {words}.")


def dynamics_weights(tables: Tables) -> Drawing:
    """How far weights move and how ranks change, medians over the matrices of the layers."""
    title = "How rank and norms move"
    caption = (
        "Top left: distance of all weights from the first measured step, as a share of their norm there. Others: "
        "median over the matrices of the layers, band from lower to upper quartile; ranks in per cent of the width, "
        "norms relative to the first measured step."
    )
    rows = metric_rows(tables, "distance_first", "cosine_first", "norm", "stable_rank", "effective_rank")
    if rows.empty:
        return not_measured(title, caption, "weights")
    shown = {name: model.hidden_size for name, model in models_shown(tables).items()}
    inner = rows[rows["layer"].notna() & rows["part"].str.endswith(".weight") & ~rows["part"].str.contains("norm")]
    width = 100 / inner["model"].map(shown)
    percent = "% of the width"
    panels = {
        ("Distance from the start", "share of the norm"): moved(rows),
        ("Norm", "relative to the start"): over_matrices(relative_norms(inner)),
        ("Stable rank", percent): over_matrices(inner[inner["metric"] == "stable_rank"], width),
        ("Effective rank", percent): over_matrices(inner[inner["metric"] == "effective_rank"], width),
    }
    panels = {name: part for name, part in panels.items() if len(part)}
    colours, scale = size_colours(list(rows["size"])), scale_of(rows)
    figure, axes = panel_grid(len(panels), height=HEIGHT, gap=GAP)
    for ax, (words, part) in zip(axes, panels.items(), strict=True):
        draw_lines(ax, part, colours, scale)
        token_panel(ax, scale, *words)
    legend_of_sizes(figure, colours)
    data = pd.concat([part.assign(panel=name) for (name, _), part in panels.items()], ignore_index=True)
    shown_last = data["panel"].iloc[-1]
    last = data[(data["panel"] == shown_last) & (data["step"] == data["step"].max())]
    values = "; ".join(f"{row.model} {row.value:.3g}" for row in last.itertuples())
    return Drawing(figure, data, title, caption, f"{shown_last} at the last step: {values}.")


def moved(rows: pd.DataFrame) -> pd.DataFrame:
    """Distance of all weights from the first step by the norm there, which is the root of the sum over tensors."""
    norms = rows[rows["metric"] == "norm"]
    start = norms[norms["step"] == norms.groupby("model")["step"].transform("min")]
    lengths = np.sqrt((start["value"] ** 2).groupby(start["model"]).sum())
    part = rows[(rows["metric"] == "distance_first") & (rows["part"] == "all")]
    if part.empty or lengths.empty:
        return part.head(0)
    by = part["model"].map(lengths)
    values = {name: part[name] / by for name in ("value", "lower", "upper")}
    return part[["model", "size", "step", "tokens"]].assign(**values)


def relative_norms(inner: pd.DataFrame) -> pd.DataFrame:
    """Norms of matrices by those of the same matrix at the first step."""
    norms = inner[inner["metric"] == "norm"]
    first = norms[norms["step"] == norms.groupby("model")["step"].transform("min")]
    start = first.set_index(["model", "layer", "part"])["value"].rename("start")
    joined = norms.join(start, on=["model", "layer", "part"])
    return joined.assign(value=joined["value"] / joined["start"])


def over_matrices(rows: pd.DataFrame, factor: pd.Series | None = None) -> pd.DataFrame:
    """Median and quartiles over the matrices of each model and step."""
    if rows.empty:
        return rows.head(0)
    values = rows["value"] if factor is None else rows["value"] * factor.loc[rows.index]
    keys = [rows[name] for name in ("model", "size", "step", "tokens")]
    found = values.groupby(keys, sort=False).quantile(np.array([0.25, 0.5, 0.75])).unstack()
    found.columns = pd.Index(["lower", "value", "upper"])
    return found.reset_index()


def dynamics_cka(tables: Tables) -> Drawing:
    """A map of steps for each size: CKA of the states in the middle of the model."""
    title = "States at one step beside those at another"
    caption = (
        "Linear CKA (without bias) of the residual stream behind half of the layers, for the same tokens, of every two "
        "measured steps: 1 is the same up to rotation and scale, 0 what independent noise would give."
    )
    pairs, shown = tables.experiments["dynamics_cka"], models_shown(tables)
    parts = {}
    for name, model in shown.items():
        own = pairs[(pairs["model"] == name) & (pairs["other_model"] == name)] if len(pairs) else pairs
        middle = model.layers // 2 if len(own) and (own["layer"] == model.layers // 2).any() else model.layers
        if len(own):
            parts[f"{model.size}, {middle} of {model.layers} layers"] = own[own["layer"] == middle]
    if not parts:
        return not_measured(title, caption, "CKA")
    figure, axes = panel_grid(len(parts), columns=3, height=HEIGHT)
    for ax, (name, part) in zip(axes, parts.items(), strict=True):
        draw_map(ax, part)
        ax.set_title(name, fontsize=7.5)
    colours = mpl.cm.ScalarMappable(mpl.colors.Normalize(0, 1), "viridis")
    figure.colorbar(colours, ax=axes, shrink=0.8, label="CKA")
    data = pd.concat(parts.values(), ignore_index=True)
    ends = data[(data["step"] == data["step"].min()) & (data["other_step"] == data["other_step"].max())]
    words = "; ".join(f"{row.model} {row.value:.2f}" for row in ends.itertuples())
    return Drawing(figure, data, title, caption, f"CKA of the first with the last step: {words}.")


def draw_map(ax: Axes, part: pd.DataFrame) -> None:
    """One map, both triangles."""
    steps = sorted(set(part["step"]) | set(part["other_step"]))
    place = {step: number for number, step in enumerate(steps)}
    grid = np.full((len(steps), len(steps)), np.nan)
    for row in part.itertuples():
        one, other = place[row.step], place[row.other_step]
        grid[one, other] = grid[other, one] = row.value
    ax.pcolormesh(grid, cmap="viridis", vmin=0, vmax=1, rasterized=True)
    ax.grid(visible=False)
    ticks = np.arange(0, len(steps), -(-len(steps) // MOST_TICKS))
    labels = [amount_label(float(steps[tick])) for tick in ticks]
    ax.set_xticks(ticks + 0.5, labels)
    ax.set_yticks(ticks + 0.5, labels)
    ax.set_xlabel("step")
    name_y(ax, "step")


def dynamics_logit_lens(tables: Tables) -> Drawing:
    """Loss when the output head reads each place of the residual stream, over training, a panel per size."""
    title = "What the output head reads behind each layer"
    caption = (
        "Loss when final norm and output head read the residual stream behind so many layers, held-out text where "
        "there is some; band: 95 % over rows. The head is trained for the last place only: a high loss below it does "
        "not say that nothing is known there."
    )
    rows = metric_rows(tables, "logit_lens")
    if rows.empty:
        return not_measured(title, caption, "the logit lens")
    kind = "held_out" if (rows["part"] == "held_out").any() else str(rows["part"].iloc[0])
    rows = rows[rows["part"] == kind].assign(passed=lambda frame: frame["layer"].astype(int).astype(str))
    scale, shown = scale_of(rows), models_shown(tables)
    figure, axes = panel_grid(len(shown), columns=3, height=HEIGHT)
    top = float(rows["value"].quantile(0.98))
    for ax, model in zip(axes, shown.values(), strict=True):
        part = rows[rows["model"] == model.name]
        places = sorted(set(part["passed"]), key=int)
        ramp = mpl.colormaps["plasma"](np.linspace(LIGHT_END, 0.0, len(places)))
        colours = {place: mpl.colors.to_hex(colour) for place, colour in zip(places, ramp, strict=True)}
        draw_lines(ax, part, colours, scale, by="passed")
        ax.set_ylim(0, 1.1 * top)
        token_panel(ax, scale, model.size, "nats per token")
        for place in dict.fromkeys([places[0], places[-1]]):
            ax.plot([], [], color=colours[place], label=f"behind {place} layers")
        ax.legend(loc="lower left", fontsize=6)
    last = rows[rows["step"] == rows["step"].max()]
    words = "; ".join(
        f"{name} {part['value'].iloc[0]:.2f} to {part['value'].iloc[-1]:.2f}"
        for name, part in last.sort_values("layer").groupby("model", sort=False)
    )
    data = rows[["model", "size", "step", "tokens", "layer", "part", "value", "lower", "upper"]]
    return Drawing(
        figure, data, title, caption, f"Loss at the last step from the embedding to the last layer: {words}."
    )


def dynamics_noise_scale(tables: Tables) -> Drawing:
    """Gradient noise scale beside the learning rate of the same step."""
    title = "Gradient noise scale and learning rate"
    caption = (
        "Left: rows at which noise and gradient are equally large, on one recorded batch; band: 95 % of a jackknife "
        "over its rows; dotted: rows of a training batch. Right: learning rate of the step that follows."
    )
    rows = metric_rows(tables, "noise_scale").dropna(subset=["value"])
    if rows.empty:
        return not_measured(title, caption, "the gradient noise scale")
    shown = models_shown(tables)
    rates = [
        learning_rate(recipe_of(shown[name]), shown[name].step(int(step)).iteration)
        for name, step in zip(rows["model"], rows["step"], strict=True)
    ]
    rows = rows.assign(learning_rate=rates).replace(np.inf, np.nan)
    colours, scale = size_colours(list(rows["size"])), scale_of(rows)
    figure, (left, right) = panel_grid(2, height=HEIGHT)
    draw_lines(left, rows, colours, scale)
    left.axhline(next(iter(shown.values())).batch_rows, color=FAINT, linewidth=0.8, linestyle=DOTTED)
    left.set_yscale("log")
    token_panel(left, scale, "Gradient noise scale", "rows")
    draw_lines(right, rows.assign(value=rows["learning_rate"], lower=np.nan, upper=np.nan), colours, scale)
    token_panel(right, scale, "Learning rate of the next step", "learning rate")
    legend_of_sizes(figure, colours)
    last = rows[rows["step"] == rows["step"].max()]
    words = "; ".join(f"{row.model} {row.value:.3g}" for row in last.itertuples())
    data = rows[["model", "size", "step", "tokens", "value", "lower", "upper", "learning_rate"]]
    return Drawing(figure, data, title, caption, f"Noise scale at the last step in rows: {words}.")
