"""Agreement against its definition, groups of seeds, and the published training map."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError, DataError
from workflow_scripts.evaluation.scoring.metrics import Answers, TaskRequests
from workflow_scripts.experiments.seeds import over_seeds, per_model, seed_groups, verdict
from workflow_scripts.experiments.statistics.agreement import kappa, predictions
from workflow_scripts.experiments.statistics.training_map import TRAINING_MAP, map_sentence, read_training_map
from workflow_scripts.suite.experiment_files import one_per_size
from workflow_scripts.suite.registry import load_suite

POCKET = load_suite("pocket")
GROUP = [POCKET.model(name) for name in ("pocket-90k", "pocket-90k-weight-seed1", "pocket-90k-weight-seed2")]


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
def test_kappa_by_definition(pairs):
    a, b = (list(column) for column in zip(*pairs, strict=True))
    observed = sum(x == y for x, y in pairs) / len(pairs)
    expected = sum(a.count(label) * b.count(label) for label in range(4)) / len(pairs) ** 2
    found = kappa(a, b)
    if expected == 1:
        assert math.isnan(found)
    else:
        assert found == pytest.approx((observed - expected) / (1 - expected))


def test_kappa_of_the_textbook():
    """Fifty items, both yes on 20 and both no on 15: kappa .4."""
    first = [1] * 20 + [1] * 5 + [0] * 10 + [0] * 15
    second = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    assert kappa(first, second) == pytest.approx(0.4)


def test_other_documents_are_refused():
    with pytest.raises(DataError, match="same documents"):
        kappa([1, 2], [1])


def test_predictions_are_choices_or_greedy_answers():
    numbers = np.array([0, 0, 1, 1, 1])
    zeros = np.zeros(5, dtype=np.int64)
    requests = TaskRequests("multiple_choice", numbers, zeros.astype(bool), zeros, zeros, zeros[:2], zeros[:2])
    answers = Answers(np.array([-2.0, -1.0, -3.0, -2.0, -2.5]), np.zeros(5, dtype=bool))
    assert predictions(requests, answers).tolist() == [1, 1]
    greedy = TaskRequests("loglikelihood", numbers[:2], zeros[:2].astype(bool), zeros, zeros, zeros[:2], zeros[:2])
    assert predictions(greedy, Answers(zeros[:2].astype(float), np.array([True, False]))).tolist() == [1, 0]


def test_groups_are_models_that_differ_in_seeds_alone():
    groups = seed_groups([*GROUP, POCKET.model("pocket-1m"), POCKET.model("pocket-90k-deduped")])
    assert list(groups) == [("90k", "standard")]
    assert [model.weight_seed for model in groups["90k", "standard"]] == [1234, 1, 2]
    with pytest.raises(ConfigError, match="no two models"):
        seed_groups([POCKET.model("pocket-1m"), POCKET.model("pocket-90k")])


def test_other_experiments_look_at_one_model_per_size():
    models = one_per_size([*GROUP, POCKET.model("pocket-1m")])
    assert [model.name for model in models] == ["pocket-90k", "pocket-1m"]


def tables():
    """Three seeds on one task of forty documents: at the first step by chance, at the last one nearly the same."""
    random = np.random.default_rng(0)
    truth = random.integers(0, 4, 40)
    found = {}
    for number, model in enumerate(GROUP):
        early, late = random.integers(0, 4, 40), truth.copy()
        late[number : number + 3] = (late[number : number + 3] + 1) % 4
        found[model.name, 64, "facts", 0] = (early, float((early == truth).mean()))
        found[model.name, 600, "facts", 0] = (late, float((late == truth).mean()))
    rows = pd.DataFrame(list(per_model(GROUP, found)))
    return rows, pd.DataFrame(list(over_seeds(GROUP, rows, found)))


def test_agreement_grows_towards_the_end():
    rows, table = tables()
    last, first = table[table["step"] == 600].iloc[0], table[table["step"] == 64].iloc[0]
    assert last["self_agreement"] == 1.0
    assert first["self_agreement"] < 0.4
    assert last["between_seeds"] > 0.8 > first["between_seeds"]
    assert last["median"] == pytest.approx(37 / 40)
    assert last["lowest"] == last["highest"] == pytest.approx(37 / 40)
    assert len(rows) == 6
    assert set(rows[rows["step"] == 600]["z"]) == {0.0}


def test_verdict_names_spread_and_agreement():
    _, table = tables()
    assert "over 3 seeds" in verdict(table)[0]
    assert "kappa" in verdict(table)[0]


def test_published_map_of_this_project(root):
    frame = read_training_map(root / TRAINING_MAP)
    last = frame[frame["step"] == frame["step"].max()].set_index("seed")
    stable = last[last["group"] == "stable"]
    assert len(frame) == 270
    assert sorted(stable.index) == [0, 1, 2, 5, 6, 7, 8, 9]
    assert set(stable["path"]) == {"0-1-2-3-4"}
    assert last.loc[[3, 4], "path"].tolist() == ["0-1-2-4-1", "0-1-2-4-0"]
    assert "0-1-2-3-4 (8 of 8)" in map_sentence(frame)


@pytest.mark.shared
def test_published_map_is_the_original(root, shared):
    original = read_training_map(shared / "upstream/polypythias/data/training_maps.tsv")
    pd.testing.assert_frame_equal(original, read_training_map(root / TRAINING_MAP))


def test_a_map_with_gaps_is_refused(root, tmp_path):
    pd.read_csv(root / TRAINING_MAP).iloc[1:].to_csv(tmp_path / "map.csv", index=False)
    with pytest.raises(DataError, match="same steps"):
        read_training_map(tmp_path / "map.csv")
