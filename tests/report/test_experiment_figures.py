"""Figures of the experiments from small made-up tables: every one is drawn, shows its data and says it in words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from figure_faults import faults

from tests.report.test_dynamics_figures import dynamics_table
from tests.report.traces.trace_tables import trace_tables
from workflow_scripts.experiments.memory.confusion import read_published
from workflow_scripts.experiments.statistics.training_map import read_training_map
from workflow_scripts.report.drawing.figure import save_drawing
from workflow_scripts.report.drawing.style import house_style
from workflow_scripts.report.figures.all_figures import FIGURES
from workflow_scripts.report.report_tables import Tables
from workflow_scripts.suite.experiment_files import TABLES
from workflow_scripts.suite.registry import load_suite

MODELS = (("pocket-90k", "90k"), ("pocket-1m", "1m"))
NAMES = [name for name, entry in FIGURES.items() if set(entry.needs) <= TABLES.keys()]


def facts(step=600):
    return [{"model": model, "size": size, "data": "standard", "step": step} for model, size in MODELS]


@pytest.fixture
def tables(root):
    random = np.random.default_rng(0)
    quantiles, deciles, terms, arms, losses, pairs = [], [], [], [], [], []
    for fact in facts():
        named = {**fact, "exposure": "all"}
        quantiles += [
            {**named, "observed": k, "theoretical": k + 0.5, "lower": k - 1, "upper": k + 1, "multiplicity": 2}
            | {"bin_rows": 128}
            for k in range(4)
        ]
        deciles += [
            {**named, "decile": k, "memorized": 9, "rate": 0.02, "rate_lower": 0.01, "rate_upper": 0.03}
            for k in range(1, 11)
        ]
        terms += [
            {**fact, "task": "arithmetic", "shots": 0, "mode": "word", "count": 10**k, "accuracy": random.random()}
            | {"control": float(k)}
            for k in range(4)
        ]
        pairs.append({**fact, "kind": "both", "recall": 0.4, "precision": 0.8, "rows": 99})
        pairs[-1] |= {"true_positive": 8, "false_negative": 12}
        losses += [
            {**fact, "step": step, "measure": "training loss", "compute": 1e9 * step, "value": 3 - step / 600}
            for step in (64, 600)
        ]
        for measure in ("log_odds", "outcome"):
            arms += [
                {"model": fact["model"], "arm": "feminine-7", "benchmark": "pocket_pronouns", "measure": measure}
                | {"step": step, "difference": -2.0, "lower": -2.5, "upper": -1.5}
                for step in ("579", "600", "pooled")
            ]
    made = {
        "memorization_quantiles": quantiles,
        "memorization_deciles": deciles,
        "predictability": pairs,
        "term_frequency_terms": terms,
        "interventions": arms,
        "scaling": losses,
        "scaling_fits": [{"data": "standard", "sentence": "L = 1 + 2 N^-0.3"}],
    }
    frames = {name: pd.DataFrame(rows) for name, rows in made.items()} | trace_tables()
    published = root / "config/suites/published"
    frames["predictability_published"] = read_published(published / "memorization-confusions.csv", load_suite("pythia"))
    frames["seeds_training_map"] = read_training_map(published / "polypythias-training-map.csv")
    frames |= {"dynamics": dynamics_table(), "dynamics_cka": pd.DataFrame()}
    return Tables({"run": "test", "suite": "pocket", "models": []}, experiments=frames)


@pytest.mark.parametrize("name", NAMES)
def test_figure_is_drawn_with_its_data(tables, tmp_path, name):
    import matplotlib.pyplot as plt

    with house_style(name):
        drawing = FIGURES[name].draw(tables)
        save_drawing(drawing, tmp_path / name, {}, {})
        assert faults(drawing.figure) == []
        plt.close(drawing.figure)
    assert len(pd.read_csv(tmp_path / f"{name}.csv")) == len(drawing.data) > 0
    assert drawing.caption.endswith(".")
    assert drawing.alternative.endswith(".")


def test_every_experiment_but_none_other_has_figures():
    assert {need for name in NAMES for need in FIGURES[name].needs} == set(TABLES)


def test_published_predictions_reach_the_papers_recall(tables):
    data = FIGURES["predictability_published"].draw(tables).data
    last = data[(data["kind"] == "small") & (data["step"] == 143000) & (data["size"] == "6.9b")]
    assert round(float(last["recall"].iloc[0]), 3) == 0.795


def test_a_run_with_nothing_to_predict_says_so_in_its_figure(tables, tmp_path):
    import matplotlib.pyplot as plt

    few = tables.experiments["predictability"].assign(true_positive=1, false_negative=0)
    tables.experiments["predictability"] = few
    with house_style("predictability"):
        drawing = FIGURES["predictability"].draw(tables)
        save_drawing(drawing, tmp_path / "predictability", {}, {})
        plt.close(drawing.figure)
    assert drawing.alternative == "No comparison has 10 memorized rows to predict."
    assert (tmp_path / "predictability.csv").read_text() == f"comparisons,of\n0,{len(few)}\n"
