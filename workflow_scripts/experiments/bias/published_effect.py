"""The published effect of the pronoun interventions on CrowS-Pairs (gender), paired by checkpoint, as it is found.

Arm minus baseline at the same step, in percentage points of pairs whose stereotyped sentence is likelier. The interval
is a bootstrap over checkpoints and p is Wilcoxon's; checkpoints of one run are not independent, so both are too narrow.
Baselines are those that were evaluated for the interventions. It must not average over checkpoints that only one side
has.
"""

from pathlib import Path

import pandas as pd
from scipy import stats

from workflow_scripts.errors import DataError
from workflow_scripts.experiments.outputs import read_frame
from workflow_scripts.experiments.statistics.resampling import paired_difference

TABLE = Path("config/suites/published/pythia-evals.parquet")
TASK, METRIC = "crows_pairs_english_gender", "pct_stereotype"
CONTROL = "control-of-intervention"
TEXTS = ("task", "metric", "version", "size", "data", "arm", "note")
FEWEST_FOR_WILCOXON = 5


def published_effects(path: Path) -> pd.DataFrame:
    """Version, size, arm, checkpoints, effect in points with interval and p; one row per published arm."""
    frame = read_frame(path, [*TEXTS, "step", "value"])
    rows = frame[(frame["task"] == TASK) & (frame["metric"] == METRIC)]
    rows = rows.astype(dict.fromkeys(TEXTS, str))
    arms, controls = rows[rows["arm"] != "baseline"], rows[rows["note"].str.contains(CONTROL, regex=False)]
    if arms.empty or controls.empty:
        raise DataError(f"{path}: holds no {TASK} of the interventions")
    key = ["version", "size", "data", "step"]
    both = arms.merge(controls[[*key, "value"]], on=key, suffixes=("", "_baseline"), validate="many_to_one")
    groups = both.groupby(["version", "size", "arm"], sort=True)
    return pd.DataFrame(
        [effect(dict(zip(("version", "size", "arm"), map(str, name), strict=True)), part) for name, part in groups]
    )


def effect(names: dict[str, str], part: pd.DataFrame) -> dict[str, object]:
    """Effect of one arm over its checkpoints."""
    points, baseline = 100 * part["value"], 100 * part["value_baseline"]
    difference = paired_difference(points, baseline, seed=0)
    is_enough = len(part) >= FEWEST_FOR_WILCOXON and bool((points != baseline).any())
    p = float(stats.wilcoxon(points, baseline).pvalue) if is_enough else float("nan")
    return {
        **names,
        "checkpoints": len(part),
        "first_step": int(part["step"].min()),
        "last_step": int(part["step"].max()),
        "effect": float((points - baseline).mean()),
        "lower": difference.lower,
        "upper": difference.upper,
        "p": p,
    }
