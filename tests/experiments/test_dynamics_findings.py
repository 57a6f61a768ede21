"""What the dynamics say of made-up tables: when a head is told from chance, and what is not said without its rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from workflow_scripts.experiments.dynamics.dynamics_findings import (
    findings,
    induction_heads,
    settled_from,
    strongest_heads,
)
from workflow_scripts.suite.registry import load_suite

SMALL, LARGE = (load_suite("pocket").model(name) for name in ("pocket-90k", "pocket-1m"))


def row(step, metric, value, part="", layer=0, *, head=None, half=0.0):
    place = {"step": step, "layer": layer, "head": head, "part": part, "metric": metric}
    return {**place, "value": value, "lower": value - half, "upper": value + half}


def induction(levels, heads=4, half=0.01):
    """Rows of a model whose head 2 has the given level at each step, the others chance."""
    rows = []
    for step, level in levels.items():
        for head in range(heads):
            rows.append(row(step, "induction", level if head == 2 else 0.02, "repeated", 1, head=head, half=half))
            rows.append(row(step, "induction", 0.02, "unrepeated", 1, head=head, half=half))
    return pd.DataFrame(rows)


def test_bounds_hold_for_all_heads_together():
    heads = induction_heads(induction({0: 0.02, 600: 0.5}))
    assert len(heads) == 8
    best = strongest_heads(heads)
    assert best["head"].iloc[-1] == 2
    assert best["difference"].iloc[-1] == pytest.approx(0.48)
    wider = stats.norm.ppf(1 - 0.05 / 8) / stats.norm.ppf(0.975)
    assert (best["upper"] - best["difference"]).to_numpy() == pytest.approx(np.full(2, 0.01 * np.sqrt(2) * wider))


def test_of_heads_that_know_nothing_hardly_one_run_in_twenty_finds_one():
    """200 models of 16 heads with 32 sequences each, all without induction."""
    rng, found = np.random.default_rng(0), 0
    for _ in range(200):
        rows = []
        for head in range(16):
            for part in ("repeated", "unrepeated"):
                values = rng.normal(0.03, 0.02, 32)
                half = stats.t.ppf(0.975, 31) * values.std(ddof=1) / np.sqrt(32)
                rows.append(row(0, "induction", values.mean(), part, 0, head=head, half=half))
        found += bool((induction_heads(pd.DataFrame(rows))["lower"] > 0).any())
    assert found <= 14  # one-sided 2.5 % together: 5 expected


def test_it_is_said_when_a_head_forms_and_when_none_does():
    tables = {
        SMALL.name: induction({0: 0.02, 64: 0.3, 600: 0.02}),
        LARGE.name: induction({0: 0.02, 64: 0.02, 600: 0.5}),
    }
    sentences, numbers = findings([LARGE, SMALL], tables)
    small, large = sentences
    assert small.startswith("pocket-90k: at step 600")
    assert small.endswith("heads together); at this step no head is told from chance.")
    assert "(layer 1, head 2) gives 0.500 of its attention" in large
    assert "0.480 (0." in large
    assert large.endswith("some head is above zero from step 600 on, not yet at step 64.")
    assert [found["from_step"] for found in numbers["induction"]] == [None, 600]


def test_what_was_not_measured_is_not_said():
    empty = induction({}).reindex(columns=["step", "layer", "head", "part", "metric", "value", "lower", "upper"])
    assert findings([LARGE], {LARGE.name: empty}) == ([], {"induction": []})


def test_other_questions_are_answered_for_the_smallest_and_the_largest():
    rows = []
    for step, share in ((0, 1.0), (600, 0.5)):
        rows.append(row(step, "effective_rank", share * 128, "attention.dense.weight"))
        rows.append(row(step, "effective_rank", 1.0, "embed_in.weight", layer=None))
        rows += [row(step, "cka_last", value, layer=layer) for layer, value in enumerate((0.95, 0.5 + step / 1200))]
        rows += [row(step, "logit_lens", 7 - layer, "held_out", layer, half=0.1) for layer in range(2)]
        rows.append(row(step, "noise_scale", np.nan if step == 0 else 30.0, "batch", None, half=5.0))
    sentences, _ = findings([LARGE], {LARGE.name: pd.DataFrame(rows)})
    assert [text.split(": ", 1)[1] for text in sentences] == [
        "from step 0 to 600 the median effective rank of the layers' matrices goes from 100 to 50 per cent of the "
        "width.",
        "step from which on the states have a CKA of at least 0.9 with those of the last step, by number of layers "
        "passed: 0: 0, 1: 600.",
        "loss at the last step on held-out rows, in nats per token, when the head reads the stream behind so many "
        "layers: 0: 7.00 (6.90 to 7.10), 1: 6.00 (5.90 to 6.10).",
        "the gradient noise scale is 30 rows at step 600 (25 to 35), the only step at which it is defined; its batch "
        "has 8 rows.",
    ]  # fmt: skip


def test_what_holds_only_once_in_between_does_not_last():
    assert settled_from([0, 1, 2], [True, False, False]) == (None, 2)
    assert settled_from([0, 1, 2], [False, True, True]) == (1, 0)
