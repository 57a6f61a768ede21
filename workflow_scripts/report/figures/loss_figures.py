"""Figures of the training itself: loss over training, bits per byte of held-out text."""

import numpy as np
import pandas as pd

from workflow_scripts.report.drawing.axes import TokenScale, label_line_ends, set_token_axis
from workflow_scripts.report.drawing.figure import Drawing
from workflow_scripts.report.drawing.panel_grid import data_sets_of, legend_of_data, name_y, single_panel
from workflow_scripts.report.drawing.style import DATA_STYLES, size_colours
from workflow_scripts.report.report_tables import Tables

SHARE_AVERAGED = 0.1  # the line is the mean over the last tenth of the steps so far
MOST_POINTS = 400  # per model; more cannot be told apart on a log axis


def loss_over_training(tables: Tables) -> Drawing:
    """Training loss of each model over tokens, raw and averaged."""
    rows = pd.concat(
        [thinned(smoothed(line)) for _, line in tables.metrics.groupby("model", sort=False)], ignore_index=True
    )
    colours, scale = size_colours(list(rows["size"])), TokenScale.of(rows["tokens"], rows["step"])
    figure, (ax,) = single_panel()
    ax.set_ylim(float(rows["loss_mean"].min()) * 0.97, float(rows["loss"].max()) * 1.02)
    set_token_axis(ax, scale)
    ax.set_title("Training loss", pad=14, y=1.0)
    name_y(ax, "nats per token")
    for (size, data, _), line in rows.groupby(["size", "data", "model"], sort=False):
        place = scale.place(line["tokens"].to_numpy(dtype=float))
        ax.plot(place, line["loss"], color=colours[str(size)], linewidth=0.5, alpha=0.25, zorder=2)
        ax.plot(place, line["loss_mean"], color=colours[str(size)], linestyle=DATA_STYLES[str(data)], zorder=3)
    last = rows[rows["step"] == rows.groupby("model")["step"].transform("max")]
    ends = {str(size): float(of_size["loss_mean"].mean()) for size, of_size in last.groupby("size")}
    label_line_ends(ax, float(scale.place([scale.last])[0]), ends, colours)
    legend_of_data(figure, data_sets_of(rows))
    values = ", ".join(f"{row.model} {row.loss_mean:.2f}" for row in last.itertuples())
    return Drawing(
        figure,
        rows[["model", "size", "data", "step", "tokens", "loss", "loss_mean"]],
        "Training loss",
        f"Cross-entropy of each training batch in nats per token, {rows['model'].nunique()} models, from metrics.csv. "
        "Faint: single batches; line: mean over the last tenth of the steps so far.",
        f"The loss falls with training tokens, lower for larger models; at the end {values}.",
    )


def smoothed(line: pd.DataFrame) -> pd.DataFrame:
    """Line with ``loss_mean``, the mean over steps in (0.9 step, step]."""
    ordered = line.sort_values("step").reset_index(drop=True)
    steps, loss = ordered["step"].to_numpy(dtype=float), ordered["loss"].to_numpy(dtype=float)
    sums = np.concatenate([[0.0], np.cumsum(loss)])
    first = np.searchsorted(steps, (1 - SHARE_AVERAGED) * steps, side="right")
    last = np.arange(1, len(steps) + 1)
    first = np.minimum(first, last - 1)
    return ordered.assign(loss_mean=(sums[last] - sums[first]) / (last - first))


def thinned(line: pd.DataFrame) -> pd.DataFrame:
    """At most MOST_POINTS rows, evenly spaced on the log axis, first and last included."""
    if len(line) <= MOST_POINTS:
        return line
    places = np.geomspace(1, len(line), MOST_POINTS).round().astype(int) - 1
    return line.iloc[np.unique(places)]


def bits_per_byte(tables: Tables) -> Drawing:
    """Held-out text: bits per byte at each checkpoint."""
    rows = tables.validation.sort_values(["model", "step"]).reset_index(drop=True)
    colours, scale = size_colours(list(rows["size"])), TokenScale.of(rows["tokens"], rows["step"])
    figure, (ax,) = single_panel()
    low, high = float(rows["bits_per_byte"].min()), float(rows["bits_per_byte"].max())
    ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    set_token_axis(ax, scale)
    ax.set_title("Held-out text", pad=14, y=1.0)
    name_y(ax, "bits per byte")
    ends = {}
    for (size, data, _), line in rows.groupby(["size", "data", "model"], sort=False):
        place = scale.place(line["tokens"].to_numpy(dtype=float))
        ax.plot(
            place,
            line["bits_per_byte"],
            "o",
            color=colours[str(size)],
            linestyle=DATA_STYLES[str(data)],
            markersize=2.5,
        )
        ends[str(size)] = float(line["bits_per_byte"].iloc[-1])
    label_line_ends(ax, float(scale.place([scale.last])[0]), ends, colours)
    legend_of_data(figure, data_sets_of(rows))
    best = rows.iloc[int(rows["bits_per_byte"].argmin())]
    return Drawing(
        figure,
        rows,
        "Bits per byte of held-out text",
        "Loss on text that was kept out of training, in bits per UTF-8 byte: nats per token x tokens / bytes / ln 2. "
        "It does not depend on the tokenizer, so runs with different tokenizers are comparable.",
        f"Bits per byte fall from {high:.2f} to {best['bits_per_byte']:.2f} ({best['model']}, step {best['step']}).",
    )
