"""Declarations of dynamics: names as the code has them, defaults, what contradicts itself."""

from __future__ import annotations

import pytest

from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.experiments.dynamics.measure_probe import KNOWN
from workflow_scripts.experiments.dynamics.measure_weights import COMPARISONS
from workflow_scripts.experiments.dynamics.weight_metrics import WEIGHT_METRICS
from workflow_scripts.suite.dynamics_settings import (
    FOLDER,
    PROBE,
    WEIGHTS,
    build_dynamics,
    chosen_layers,
    load_dynamics,
)
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.suite.schema import check_schema, load_schema

ASKED = {"metrics": ["logit_lens"], "length": 32, "text": "pocket.jsonl"}


@pytest.mark.parametrize("name", [path.stem for path in sorted(FOLDER.glob("*.yaml"))])
def test_shipped_declarations_load_under_their_own_name(name):
    assert load_dynamics(name).name == name


def test_the_schema_knows_the_metrics_of_the_code():
    sections = load_schema("dynamics")["properties"]
    names = {name: sections[name]["properties"]["metrics"]["items"]["enum"] for name in ("weights", "probe")}
    assert names["weights"] == [*WEIGHT_METRICS, *COMPARISONS]
    assert sorted(names["probe"]) == sorted(KNOWN)
    for name, defaults in (("weights", WEIGHTS), ("probe", PROBE)):
        assert set(defaults) <= set(sections[name]["properties"])


def test_the_pocket_declaration_asks_everything():
    declaration = load_dynamics("pocket")
    assert sorted(declaration.probe["metrics"]) == sorted(KNOWN)
    assert declaration.weights["metrics"] == [*WEIGHT_METRICS, *COMPARISONS]
    assert declaration.reads_training_rows
    assert not load_dynamics("pythia").reads_training_rows


def test_unknown_names_are_refused_with_the_nearest():
    content = load_yaml(FOLDER / "pocket.yaml")
    content["weights"]["metrics"][0] = "stable_rnk"
    with pytest.raises(
        UnknownNameError, match=r"weights\.metrics\.0: unknown value 'stable_rnk'; did you mean 'stable_rank'"
    ):
        check_schema(content, "dynamics", "pocket.yaml")
    with pytest.raises(UnknownNameError, match="did you mean 'pocket'"):
        load_dynamics("pockt")
    with pytest.raises(UnknownNameError, match=r"did you mean 'pocket.jsonl'"):
        build_dynamics({"dynamics": "a", "probe": {**ASKED, "text": "pocket.json"}}, "a.yaml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metrics": ["induction"]}, "metric induction needs the key 'repeated'"),
        ({"metrics": ["noise_scale"]}, "metric noise_scale needs the key 'gradient'"),
        ({"text": None}, "give iterations of the training order, a text, or both"),
    ],
)
def test_a_metric_without_its_rows_is_refused(change, words):
    with pytest.raises(ConfigError, match=words):
        build_dynamics({"dynamics": "a", "probe": {**ASKED, **change}}, "a.yaml")


def test_what_is_left_out_has_its_default():
    declaration = build_dynamics({"dynamics": "a", "probe": ASKED}, "a.yaml")
    assert declaration.weights == {}
    assert declaration.layers == "all"
    assert declaration.probe == {**PROBE, **ASKED}
    assert not declaration.reads_training_rows
    weights = build_dynamics({"dynamics": "a", "weights": {"metrics": ["norm"]}}, "a.yaml")
    assert (weights.probe, weights.text, weights.weights["rank"]) == ({}, None, WEIGHTS["rank"])


def test_layers_that_a_model_lacks_are_left_out():
    assert chosen_layers([0, 5, -2, -9], 6) == [0, 4, 5]
    assert chosen_layers([7], 6) == []
