"""Numbers for the box on the page that shows any traced text: its loss in each model, and when it was seen.

Rounded for looking, the tables beside the page are for numbers. Of very many texts those with most exposures are shown,
and as many again that have none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from workflow_scripts.experiments.outputs import read_frame
from workflow_scripts.json_values import JsonObject
from workflow_scripts.published.frame_rows import rows_of
from workflow_scripts.report.drawing.style import size_colours

MOST_TEXTS = 400
MOST_STEPS = 40
MOST_MARKS = 500
SHOWN = 300  # characters of a text
DIGITS = 3
TABLES = {
    "traces_texts": ("text", "domain", "content", "whole", "exposures", "data"),
    "traces_losses": ("model", "size", "data", "step", "text", "loss"),
    "traces_exposures": ("text", "step", "whole", "data"),
}


def read_trace_tables(paths: Mapping[str, Path]) -> dict[str, pd.DataFrame]:
    """The tables behind the box by name; none unless all are there."""
    if not TABLES.keys() <= paths.keys():
        return {}
    return {name: read_frame(paths[name], columns) for name, columns in TABLES.items()}


def box_data(tables: Mapping[str, pd.DataFrame]) -> JsonObject | None:
    """What the box shows, None where nothing was traced."""
    if not tables:
        return None
    losses = tables["traces_losses"]
    names = shown_texts(tables["traces_texts"])
    models = losses.drop_duplicates("model")[["model", "size", "data"]].astype(str)
    colours, dark = (size_colours(list(models["size"]), is_dark=is_dark) for is_dark in (False, True))
    steps = thinned(sorted({int(step) for step in losses["step"]}))
    table = losses[losses["step"].isin(steps)].pivot_table(index=["text", "model"], columns="step", values="loss")
    rounded = {key: [None if pd.isna(loss) else round(float(loss), DIGITS) for loss in row]
               for key, row in zip(table.index, table[steps].to_numpy(), strict=True)}  # fmt: skip
    exposures = tables["traces_exposures"]
    whole = exposures[exposures["whole"] & exposures["text"].isin(names)]
    seen = {key: part["step"].astype(int).tolist()[:MOST_MARKS] for key, part in whole.groupby(["text", "data"])}
    contents = tables["traces_texts"].drop_duplicates("text").set_index("text")
    return {
        "steps": steps,
        "models": [
            {"name": row.model, "colour": colours[row.size], "dark": dark[row.size], "data": row.data}
            for row in rows_of(models)
        ],
        "texts": [
            {
                "name": name,
                "content": str(contents.loc[name, "content"])[:SHOWN],
                "domain": str(contents.loc[name, "domain"]),
                "losses": [rounded.get((name, model), []) for model in models["model"]],
                "seen": {data: seen[name, data] for data in dict.fromkeys(models["data"]) if (name, data) in seen},
            }
            for name in names
        ],
    }


def shown_texts(texts: pd.DataFrame) -> list[str]:
    """Names of the texts on the page in their order: of many, half with most exposures and half with fewest."""
    counts = texts.groupby("text", sort=False)["whole"].sum()
    if len(counts) <= MOST_TEXTS:
        return [str(name) for name in counts.index]
    ordered = counts.sort_values(ascending=False, kind="stable").index
    kept = {*ordered[: MOST_TEXTS // 2], *ordered[-MOST_TEXTS // 2 :]}
    return [str(name) for name in counts.index if name in kept]


def thinned(steps: list[int]) -> list[int]:
    """At most MOST_STEPS of ``steps``, the first and the last among them."""
    if len(steps) <= MOST_STEPS:
        return steps
    places = [round(place * (len(steps) - 1) / (MOST_STEPS - 1)) for place in range(MOST_STEPS)]
    return [steps[place] for place in places]
