"""A pocket model trained beside one that starts from another seed, and compared by ``experiments: [seeds]``."""

import json
from itertools import product

import numpy as np
import pandas as pd
import pytest

from tests.workflow.bare_clone import NOWHERE, Clone

pytestmark = pytest.mark.slow

MODELS = ("pocket-90k", "pocket-90k-weight-seed1")
STEPS = (0, 64, 600)
RUN = f"""
run: two-seeds
models: [{", ".join(MODELS)}]
steps: {list(STEPS)}
shots: [0]
tasks: [pocket_facts]
experiments: [seeds]
figures: []
"""


@pytest.fixture(scope="module")
def clone(root, tmp_path_factory):
    made = Clone(root, tmp_path_factory.mktemp("seeds"))
    (made.folder / "config" / "runs" / "two-seeds.yaml").write_text(RUN)
    done = made.python(NOWHERE, "snakemake", "-c2", "--configfile", "config/runs/two-seeds.yaml", "--", "experiments")
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_only_the_start_differs(clone):
    training = clone.folder / "results" / "training"
    rows = [pd.read_csv(training / model / "metrics.csv") for model in MODELS]
    assert len(rows[0]) == len(rows[1]) == STEPS[-1]
    assert rows[0]["learning_rate"].equals(rows[1]["learning_rate"])
    assert not rows[0]["loss"].equals(rows[1]["loss"])
    weights = [
        (clone.folder / "results" / "checkpoints" / model / "step0" / "model.safetensors").read_bytes()
        for model in MODELS
    ]
    assert weights[0] != weights[1]


def accuracy(clone, model, step):
    scores = json.loads((clone.folder / "results" / "scores" / model / f"step{step}" / "0-shot.json").read_text())
    return scores["results"]["pocket_facts"]["acc,none"]


def test_the_table_is_of_the_two_models_scores(clone):
    table = pd.read_parquet(clone.folder / "results" / "runs" / "two-seeds" / "tables" / "seeds.parquet")
    assert table["step"].tolist() == list(STEPS)
    assert table["seeds"].tolist() == [2] * len(STEPS)
    for row in table.to_dict("records"):
        both = [accuracy(clone, model, row["step"]) for model in MODELS]
        assert (row["lowest"], row["highest"]) == (min(both), max(both))
        assert row["median"] == pytest.approx(np.mean(both))
    last = table.iloc[-1]
    assert last["self_agreement"] == 1
    # Both have learned the facts by then: they agree far more than two that guess.
    assert table["between_seeds"].between(-1, 1).all()
    assert last["between_seeds"] > table.iloc[0]["between_seeds"] + 0.2


def test_each_model_has_its_row(clone):
    rows = pd.read_parquet(clone.folder / "results" / "runs" / "two-seeds" / "tables" / "seeds_models.parquet")
    assert set(zip(rows["model"], rows["step"], strict=True)) == set(product(MODELS, STEPS))
    assert rows.groupby("model")["weight_seed"].nunique().tolist() == [1, 1]
    assert rows["weight_seed"].nunique() == 2
