"""What the table of dynamics says, in sentences with their numbers: computed, never typed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.special import ndtri  # scipy.stats would take half a second of each figure

from workflow_scripts.experiments.dynamics.probe_texts import HELD_OUT, REPEATED, TRAINING, UNREPEATED
from workflow_scripts.experiments.dynamics.weight_metrics import EMBEDDINGS, MATRICES
from workflow_scripts.json_values import JsonObject
from workflow_scripts.suite.models import Model

ALIKE = 0.9  # CKA with the last step from which states count as settled
ERROR_RATE = 0.05


def induction_heads(table: pd.DataFrame) -> pd.DataFrame:
    """Induction of every head of one model: step, layer, head, repeated, unrepeated, difference, lower, upper.

    The bounds hold for all heads of a step together at 95 % (Bonferroni), so that the largest may be picked.
    """
    rows = table[table["metric"] == "induction"]
    key = ["step", "layer", "head"]
    one, other = (
        rows[rows["part"] == part].set_index(key)[["value", "upper"]].astype(float) for part in (REPEATED, UNREPEATED)
    )
    joined = one.add_suffix("_repeated").join(other.add_suffix("_unrepeated")).reset_index()
    if joined.empty:
        return joined
    heads = int(joined.groupby("step").size().max())
    wider = ndtri(1 - ERROR_RATE / 2 / heads) / ndtri(1 - ERROR_RATE / 2)
    half = wider * np.hypot(
        joined["upper_repeated"] - joined["value_repeated"], joined["upper_unrepeated"] - joined["value_unrepeated"]
    )
    difference = joined["value_repeated"] - joined["value_unrepeated"]
    return joined[key].assign(
        repeated=joined["value_repeated"],
        unrepeated=joined["value_unrepeated"],
        difference=difference,
        lower=difference - half,
        upper=difference + half,
    )


def strongest_heads(heads: pd.DataFrame) -> pd.DataFrame:
    """The head with the largest difference at each step."""
    best = heads.loc[heads.groupby("step")["difference"].idxmax()]
    return best.sort_values("step").reset_index(drop=True)


def settled_from(steps: Sequence[int], holds: Sequence[bool]) -> tuple[int | None, int | None]:
    """First step from which on ``holds`` is true at every step, and the step before it; None where there is none.

    >>> settled_from([0, 16, 64, 600], [False, True, False, True]), settled_from([0, 1], [True, True])
    ((600, 64), (0, None))
    >>> settled_from([0, 1], [True, False])
    (None, 1)
    """
    place = len(steps)
    while place and holds[place - 1]:
        place -= 1
    return (steps[place] if place < len(steps) else None), (steps[place - 1] if place else None)


def when(first: int | None, before: int | None) -> str:
    """Since when some head is told from chance, in words.

    >>> when(64, 16)
    'some head is above zero from step 64 on, not yet at step 16'
    >>> when(0, None), when(None, 600)
    ('some head is above zero at every measured step', 'at this step no head is told from chance')
    """
    if first is None:
        return "at this step no head is told from chance"
    since = "at every measured step" if before is None else f"from step {first} on, not yet at step {before}"
    return f"some head is above zero {since}"


def induction_sentence(model: Model, table: pd.DataFrame) -> tuple[str, JsonObject] | None:
    """How strong the strongest head of a model is at the end, and since when some head is told from chance."""
    heads = induction_heads(table)
    if heads.empty:
        return None
    best = strongest_heads(heads)
    first, before = settled_from(list(best["step"]), list(best["lower"] > 0))
    last = {str(name): float(value) for name, value in best.iloc[-1].items()}
    number = int((heads["step"] == last["step"]).sum())
    text = (
        f"{model.name}: at step {last['step']:.0f} its strongest induction head (layer {last['layer']:.0f}, head "
        f"{last['head']:.0f}) gives {last['repeated']:.3f} of its attention to the token behind the first occurrence "
        f"and {last['unrepeated']:.3f} where nothing repeats. The difference is {last['difference']:.3f} "
        f"({last['lower']:.3f} to {last['upper']:.3f}, 95 % for all {number} heads together); "
        f"{when(first, before)}."
    )
    return text, {"model": model.name, "from_step": first, "not_at_step": before, **last}


def rank_sentence(model: Model, table: pd.DataFrame) -> str | None:
    """Median effective rank of the matrices of the layers, as a share of their smaller side, first and last step."""
    inner = table[(table["metric"] == "effective_rank") & table["part"].isin(set(MATRICES) - set(EMBEDDINGS))]
    if inner.empty:
        return None
    shares = (100 * inner["value"] / model.hidden_size).groupby(inner["step"]).median()
    return (
        f"{model.name}: from step {shares.index[0]} to {shares.index[-1]} the median effective rank of the layers' "
        f"matrices goes from {shares.iloc[0]:.0f} to {shares.iloc[-1]:.0f} per cent of the width."
    )


def state_sentence(model: Model, table: pd.DataFrame) -> str | None:
    """From when on the states of each place are those of the last step."""
    rows = table[table["metric"] == "cka_last"].dropna(subset=["value"])
    if rows.empty:
        return None
    words = []
    for layer, part in rows.astype({"layer": int}).groupby("layer"):
        ordered = part.sort_values("step")
        first, _ = settled_from(list(ordered["step"]), list(ordered["value"] >= ALIKE))
        words.append(f"{layer}: {first}")
    return (
        f"{model.name}: step from which on the states have a CKA of at least {ALIKE} with those of the last step, by "
        f"number of layers passed: {', '.join(words)}."
    )


def lens_sentence(model: Model, table: pd.DataFrame) -> str | None:
    """Loss behind each number of layers at the last step."""
    rows = table[table["metric"] == "logit_lens"]
    kind = next((name for name in (HELD_OUT, TRAINING) if name in set(rows["part"])), None)
    last = rows[(rows["part"] == kind) & (rows["step"] == rows["step"].max())].sort_values("layer")
    if last.empty:
        return None
    words = [
        f"{row.layer}: {row.value:.2f} ({row.lower:.2f} to {row.upper:.2f})"
        for row in last.astype({"layer": int}).itertuples()
    ]
    return (
        f"{model.name}: loss at the last step on {str(kind).replace('_', '-')} rows, in nats per token, when the head "
        f"reads the stream behind so many layers: {', '.join(words)}."
    )


def noise_sentence(model: Model, table: pd.DataFrame) -> str | None:
    """Noise scale at its first defined and at the last step, beside the batch."""
    rows = table[table["metric"] == "noise_scale"].sort_values("step").dropna(subset=["value"])
    if rows.empty:
        return None
    words = [
        f"{row.value:.3g} rows at step {row.step} ({row.lower:.3g} to {row.upper:.3g})"
        for row in rows.iloc[[0, -1]].itertuples()
    ]
    said = (
        f"goes from {' to '.join(words)}" if len(rows) > 1 else f"is {words[0]}, the only step at which it is defined"
    )
    return f"{model.name}: the gradient noise scale {said}; its batch has {model.batch_rows} rows."


def findings(models: Sequence[Model], tables: Mapping[str, pd.DataFrame]) -> tuple[list[str], JsonObject]:
    """Sentences, and the numbers on induction: of every model for that, else of the smallest and the largest."""
    ordered = sorted(models, key=lambda model: model.parameters)
    heads = [found for model in ordered if (found := induction_sentence(model, tables[model.name]))]
    ends = {model.name: model for model in (ordered[0], ordered[-1])}.values()
    questions = (rank_sentence, state_sentence, lens_sentence, noise_sentence)
    others = [text for ask in questions for model in ends if (text := ask(model, tables[model.name]))]
    return [*(text for text, _ in heads), *others], {"induction": [numbers for _, numbers in heads]}
