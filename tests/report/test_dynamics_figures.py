"""Figures of the dynamics from made-up tables: what they show is what the table says, and what is absent is said."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tests.report.figure_faults import faults
from workflow_scripts.report.drawing.figure import save_drawing
from workflow_scripts.report.drawing.style import house_style
from workflow_scripts.report.figures.all_figures import FIGURES
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.recipe import recipe_of
from workflow_scripts.training.run.schedule import learning_rate

NAMES = [name for name in FIGURES if name.startswith("dynamics_")]
MODELS = ("pocket-1m", "pocket-90k", "pocket-90k-deduped")
STEPS = (0, 64, 600)


def row(model, step, metric, value, *, part="", layer=None, head=None, half=0.0):
    place = {"suite": "pocket", "model": model, "step": step, "layer": layer, "head": head, "part": part}
    return {**place, "metric": metric, "value": value, "lower": value - half, "upper": value + half}


def dynamics_table():
    """Head 1 of layer 1 of the larger model copies from step 64 on; ranks are 24 of the width at the end."""
    rows = []
    for model in MODELS:
        facts = load_suite("pocket").model(model)
        for step in STEPS:
            for head in range(facts.heads):
                copies = model == "pocket-1m" and head == 1 and step >= 64
                rows.append(
                    row(
                        model,
                        step,
                        "induction",
                        0.6 if copies else 0.03,
                        part="repeated",
                        layer=1,
                        head=head,
                        half=0.01,
                    )
                )
                rows.append(row(model, step, "induction", 0.02, part="unrepeated", layer=1, head=head, half=0.01))
            for layer in range(2):
                part = "attention.dense.weight"
                rows.append(row(model, step, "norm", 2.0 + step / 600, part=part, layer=layer))
                rows.append(row(model, step, "effective_rank", 24.0 + layer, part=part, layer=layer))
                rows.append(row(model, step, "stable_rank", 8.0, part=part, layer=layer))
            rows.append(row(model, step, "distance_first", step / 300, part="all"))
            rows += [
                row(model, step, "logit_lens", 7.0 - layer, part="held_out", layer=layer, half=0.2)
                for layer in range(3)
            ]
            rows.append(row(model, step, "noise_scale", 4.0 + step, part="batch", half=1.0))
    return pd.DataFrame(rows)


@pytest.fixture
def tables():
    pairs = [
        {"model": model, "step": one, "layer": layer, "other_model": model, "other_step": other, "other_layer": layer}
        | {"value": 1.0 if one == other else 0.3}
        for model in MODELS
        for layer in range(5)
        for one in STEPS
        for other in STEPS
        if one <= other
    ]
    made = {"dynamics": dynamics_table(), "dynamics_cka": pd.DataFrame(pairs)}
    return Tables({"run": "test", "suite": "pocket", "models": []}, experiments=made)


def draw(name, tables):
    with house_style(name):
        drawing = FIGURES[name].draw(tables)
        plt.close(drawing.figure)
    return drawing


@pytest.mark.parametrize("name", NAMES)
def test_each_is_drawn_twice_to_the_same_bytes(tables, tmp_path, name):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        with house_style(name):
            drawing = FIGURES[name].draw(tables)
            save_drawing(drawing, tmp_path / folder / name, {}, {})
            assert faults(drawing.figure) == []
            plt.close(drawing.figure)
    for kind in ("svg", "pdf", "png", "csv"):
        assert (tmp_path / "one" / f"{name}.{kind}").read_bytes() == (tmp_path / "two" / f"{name}.{kind}").read_bytes()
    assert set(drawing.data["model"]) == {"pocket-90k", "pocket-1m"}  # one data set
    assert drawing.caption.endswith(".")
    assert drawing.alternative.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_what_a_declaration_leaves_out_is_said(tables, name):
    only = tables.experiments["dynamics"].head(0)
    other = row("pocket-1m", 0, "residual_norm", 1.0, part="held_out", layer=0)
    made = {"dynamics": pd.concat([only, pd.DataFrame([other])]), "dynamics_cka": pd.DataFrame()}
    drawing = draw(name, Tables(tables.run, experiments=made))
    assert drawing.alternative.startswith("The declaration of this run does not measure")
    assert drawing.data.to_dict() == {"measured": {0: 0}}


def test_the_head_that_copies_is_found_with_its_share(tables):
    data = draw("dynamics_heads", tables).data.set_index(["model", "step"])
    assert data.loc[("pocket-1m", 64), ["layer", "head"]].tolist() == [1, 1]
    assert data.loc[("pocket-1m", 600), "difference"] == pytest.approx(0.58)
    assert data.loc[("pocket-1m", 64), "share_above"] == 0.25
    assert data.loc[("pocket-1m", 0), "share_above"] == data.loc[("pocket-90k", 600), "share_above"] == 0
    # Wider than a single head's interval, sqrt(2) of 0.01: it holds for four heads at once.
    assert data["upper"].sub(data["difference"]).min() > 0.0141 * 1.2


def test_weights_are_shown_relative_to_their_start(tables):
    data = draw("dynamics_weights", tables).data
    by = data.set_index(["panel", "model", "step"])["value"]
    assert by["Norm", "pocket-1m", 600] == pytest.approx(1.5)
    assert by["Distance from the start", "pocket-1m", 600] == pytest.approx(2 / np.sqrt(8))
    assert by["Effective rank", "pocket-1m", 0] == pytest.approx(100 * 24.5 / 128)
    assert by["Stable rank", "pocket-90k", 0] == pytest.approx(25)


def test_the_learning_rate_beside_the_noise_is_that_of_the_schedule(tables):
    recipe = recipe_of(load_suite("pocket").model("pocket-1m"))
    data = draw("dynamics_noise_scale", tables).data
    found = data[data["model"] == "pocket-1m"].set_index("step")["learning_rate"]
    assert found.to_dict() == {step: learning_rate(recipe, step) for step in STEPS}
    settings = {"overrides": {"pocket-1m": {"learning_rate": 1.0}}}
    said = Tables({**tables.run, "settings": settings}, experiments=tables.experiments)
    data = draw("dynamics_noise_scale", said).data
    assert data[(data["model"] == "pocket-1m") & (data["step"] == 64)]["learning_rate"].iloc[0] > 0.9


def test_the_map_is_of_the_middle_of_each_model(tables):
    data = draw("dynamics_cka", tables).data
    assert data.groupby("model")["layer"].first().to_dict() == {"pocket-1m": 2, "pocket-90k": 1}
    assert len(data) == 12
