"""Tables of this run's experiments on published models, in the shape of the published numbers that they lie over.

Nothing is scored here: shares and counts are those of the experiments. A run of another suite, or one without the
experiment, has none (``suite/figure_names.py`` decides), and every function then returns an empty frame.
"""

import numpy as np
import pandas as pd

from workflow_scripts.report.drawing.curve_panels import Z95, select, with_band
from workflow_scripts.report.figures.own_points import COMPARABLE
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.suite.registry import load_suite

# Arms of config/interventions/pronouns.yaml that exchange what the published arms exchange, from the same steps on.
PUBLISHED_ARMS = {"feminine-7": "intervention", "feminine-21": "intervention-long"}
# The pushed arms have today's sizes and recipe; the suite's list gives them a version of their own.
VERSIONS = {"v0": "v0", "v1": "v1", "intervention": "v1"}
ARM_SIZES = ("70m", "410m", "1.4b", "6.9b")
FIRST_INTERVENTION_STEP = 113_000  # figures of arms begin here
ARM_COLUMNS = ["version", "arm", "model", "size", "data", "shots", "step", "value", "stderr", "n", "comparable"]
COMPARED_ROWS = 23_552_000  # rows of the published confusions: those that step 23000 had seen
TOKENS_PER_STEP = 1024 * 2048
LENGTH = 32  # tokens of the published prompts, and of their continuations
OWN_SIZE = ["model", "size", "data", "step"]


def own_arm_points(tables: Tables, task: str, metric: str) -> pd.DataFrame:
    """Our values of one task in per cent, with the columns of the published arms and ``comparable``.

    Published checkpoints that this run scored, then the baseline and the arms that it trained itself, which are never
    comparable: other weights.
    """
    parts = [part for part in (scored_arms(tables, task, metric), trained_arms(tables, task)) if len(part)]
    return near_the_end(pd.concat(parts, ignore_index=True)) if parts else pd.DataFrame()


def near_the_end(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the sizes that have arms, from the first step of a figure on, with bands."""
    return with_band(rows[rows["size"].isin(ARM_SIZES) & (rows["step"] >= FIRST_INTERVENTION_STEP)])


def scored_arms(tables: Tables, task: str, metric: str) -> pd.DataFrame:
    """Zero-shot values of published checkpoints on deduplicated data, baseline and interventions."""
    if tables.own.empty:
        return pd.DataFrame()
    known = {name: model for name, model in load_suite("pythia").models.items() if model.version in VERSIONS}
    rows = select(tables.own, task=task, metric=metric, data="deduped", shots=0, model=list(known))
    facts = [known[str(name)] for name in rows["model"]]
    rows = rows.assign(version=[VERSIONS[model.version] for model in facts], arm=[model.arm for model in facts])
    percent = {name: 100 * rows[name].astype(float) for name in ("value", "stderr")}
    return rows.assign(**percent, comparable=rows["comparability"].isin(COMPARABLE))[ARM_COLUMNS]


def trained_arms(tables: Tables, benchmark: str) -> pd.DataFrame:
    """Share of items of the arms that this run trained and of the identity arm, which is its baseline."""
    frame = tables.experiments.get("interventions", pd.DataFrame())
    if frame.empty:
        return frame
    rows = select(frame, benchmark=benchmark, measure="outcome", arm=list(PUBLISHED_ARMS))
    rows = rows[rows["step"] != "pooled"]
    data = [load_suite("pythia").model(str(name)).dataset for name in rows["model"]]
    rows = rows.assign(step=rows["step"].astype(int), data=data, version="v1", shots=0, comparable=False)
    arms = rows.assign(arm=rows["arm"].map(PUBLISHED_ARMS))
    baseline = rows.assign(arm="baseline", value=rows["reference"]).drop_duplicates(["model", "step"])
    both = select(pd.concat([arms, baseline], ignore_index=True), data="deduped").rename(columns={"items": "n"})
    return both.assign(value=100 * both["value"], stderr=100 * share_error(both["value"], both["n"]))[ARM_COLUMNS]


def share_error(share: pd.Series, items: pd.Series) -> pd.Series:
    """Standard error of a share as lm-eval has it, sqrt(p (1 - p) / (n - 1))."""
    return pd.Series(np.sqrt(share * (1 - share) / (items - 1)), index=share.index)


def own_net_bias(tables: Tables) -> pd.DataFrame:
    """WinoBias of our arms: pairs that prefer the stereotyped pronoun minus those that prefer the other, in points."""
    rows = trained_arms(tables, "winobias")
    return near_the_end(rows.assign(value=2 * rows["value"] - 100, stderr=2 * rows["stderr"])) if len(rows) else rows


def own_multiplication(tables: Tables, task: str, shots: int) -> pd.DataFrame:
    """Accuracy of each first operand at each step: size, data, model, step, operand, value."""
    frame = tables.experiments.get("term_frequency_terms", pd.DataFrame())
    if frame.empty:
        return frame
    rows = select(frame, task=task, shots=shots, mode="word").astype({"model": str, "size": str, "data": str})
    rows = rows.assign(operand=rows["control"].astype(int), value=rows["accuracy"])
    return rows[[*OWN_SIZE, "operand", "value"]].sort_values([*OWN_SIZE, "operand"], kind="stable")


def own_confusions(tables: Tables) -> pd.DataFrame:
    """Our predictions of memorization on the standard data, with tokens and ``comparable``: made on the same rows."""
    frame = tables.experiments.get("predictability", pd.DataFrame())
    if frame.empty:
        return frame
    rows = select(frame, data="standard").astype({"kind": str, "model": str, "size": str})
    asked = tables.run["settings"]["memorization"]
    is_same = (rows["rows"] == COMPARED_ROWS) & (asked["prompt"] == LENGTH) & (asked["continuation"] == LENGTH)
    return rows.assign(tokens=rows["step"] * TOKENS_PER_STEP, comparable=is_same)


def own_memorized(rows: pd.DataFrame) -> pd.DataFrame:
    """Per cent of the compared rows that each model and step has memorized, with its 95 % interval."""
    if rows.empty:
        return rows
    hits = rows["true_positive"]
    predicting = rows.assign(count=hits + rows["false_positive"])
    predicted = rows.assign(count=hits + rows["false_negative"], model=rows["truth_model"], step=rows["truth_step"])
    both = pd.concat([predicting, predicted], ignore_index=True).drop_duplicates(["model", "step"])
    share = both["count"] / both["rows"]
    half = Z95 * share_error(share, both["rows"])
    return both[[*OWN_SIZE, "rows", "comparable"]].assign(
        size=[load_suite("pythia").model(str(name)).size for name in both["model"]],
        tokens=both["step"] * TOKENS_PER_STEP,
        memorized=100 * share,
        memorized_lower=100 * (share - half),
        memorized_upper=100 * (share + half),
    )
