"""Arms of interventions: keys that contradict each other, rewriting functions, where an arm starts and is saved."""

import pytest

from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.suite import arms
from workflow_scripts.suite.arms import (
    Arm,
    build_declaration,
    function_path,
    saved_iterations,
    start_iteration,
)
from workflow_scripts.suite.registry import load_suite

PAIRS = [["he", "she"]]


@pytest.fixture
def functions(tmp_path, monkeypatch):
    (tmp_path / "to_upper.py").touch()
    monkeypatch.setattr(arms, "FOLDER", tmp_path)
    return tmp_path


def declared(pairs, **keys):
    return build_declaration({"declaration": "mine", "pairs": pairs, "arms": {"a": keys}})


@pytest.mark.parametrize(
    ("pairs", "keys", "words"),
    [
        (PAIRS, {"direction": "swap"}, "set exactly one of start_percent and start_step"),
        (
            PAIRS,
            {"direction": "swap", "start_percent": 90, "start_step": 5},
            "set exactly one of start_percent and start_step",
        ),
        (
            PAIRS,
            {"direction": "swap", "start_percent": 90, "function": "to_upper"},
            "key 'function' and direction: function must be used together",
        ),
        (
            PAIRS,
            {"direction": "function", "start_percent": 90},
            "key 'function' and direction: function must be used together",
        ),
        ([], {"direction": "swap", "start_percent": 90}, "swap needs pairs of words"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(functions, pairs, keys, words):
    with pytest.raises(ConfigError, match=f"arm a: {words}"):
        declared(pairs, **keys)


def test_a_rewriting_function_is_a_file_beside_the_declarations(functions):
    arm = declared([], direction="function", start_step=0, function="to_upper").arms["a"]
    assert arm.start == "start_step 0"
    assert function_path("to_upper") == functions / "to_upper.py"
    with pytest.raises(UnknownNameError, match="did you mean 'to_upper'"):
        declared([], direction="function", start_step=0, function="to_uper")


def test_an_arm_that_changes_nothing_needs_no_pairs():
    assert declared([], direction="identity", start_percent=90).arms["a"].start == "start_percent 90"


def test_arms_are_chosen_by_name_or_all():
    declaration = build_declaration(
        {"declaration": "mine", "arms": {name: {"direction": "identity", "start_step": 0} for name in "ab"}}
    )
    for wanted, expected in (("all", ["a", "b"]), ("b", ["b"]), (["b", "a"], ["b", "a"])):
        assert [arm.name for arm in arms.chosen_arms(declaration, wanted)] == expected


def test_an_arm_may_start_at_a_hub_step():
    model = load_suite("pythia").model("pythia-70m-deduped")
    assert start_iteration(model, Arm("a", "swap", start_step=1000)) == model.step(1000).iteration
    assert start_iteration(model, Arm("a", "swap", start_step=0)) == 0


def test_an_arm_from_the_beginning_is_saved_at_its_start_once():
    model = load_suite("pythia").model("pythia-70m-deduped")
    saved = saved_iterations(model, Arm("a", "swap", start_step=0))
    # 143,000 less every 3.5 % down to 2 %: 28 of them, each at the nearest checkpoint, and the start.
    assert saved[0] == 0
    assert saved[-1] == 143_000
    assert len(saved) == len(set(saved)) == 30
    assert list(saved) == sorted(saved)
