"""Names of revisions against those that public pages and code name, back again, and grids from ledgers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError, DataError
from workflow_scripts.suite.registry import build_suite, load_suite
from workflow_scripts.suite.revision_names import ledger_grid, ledger_text, revision_name, step_named
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.suite.schema import check_schema

# As others' code and model cards have them; none comes from our arithmetic.
OLMO_7B = (
    "stage1-step150-tokens1B", "stage1-step1000-tokens5B", "stage1-step10000-tokens42B", "stage1-step11000-tokens47B",
    "stage1-step101000-tokens424B", "stage1-step207000-tokens869B", "stage1-step310000-tokens1301B",
    "stage1-step516000-tokens2165B", "stage1-step825000-tokens3461B", "stage1-step928000-tokens3893B",
    "stage1-step928646-tokens3896B",
)  # fmt: skip
OLMO_13B = (
    "stage1-step0-tokens0B", "stage1-step1000-tokens9B", "stage1-step10000-tokens84B", "stage1-step337000-tokens2827B",
    "stage1-step596057-tokens5001B",
)  # fmt: skip
PATTERNS = ("step{step}", "ckpt_{index:03}", "stage1-step{step}-tokens{tokens}B", "v{step:07}", "a.b-{step}_{step}")
HEADER = "model\tstep\tcommit\tfile\n"


@pytest.mark.parametrize(
    ("suite", "model", "names"),
    [("olmo2", "OLMo-2-1124-7B", OLMO_7B), ("olmo2", "OLMo-2-1124-13B", OLMO_13B)],
)
def test_published_names_follow_from_the_steps(suite, model, names):
    found = load_suite(suite).model(model)
    for name in names:
        step = int(name.split("-")[1].removeprefix("step"))
        assert found.step(step).revision == name
        assert found.step_of(name) == step


def test_amber_is_named_by_chunks_and_ends_with_main():
    amber = load_suite("amber").model("Amber")
    assert [amber.step(step).revision for step in (1, 2, 359, 360)] == ["ckpt_000", "ckpt_001", "ckpt_358", "main"]
    assert [amber.step_of(name) for name in ("ckpt_000", "ckpt_358", "main", "ckpt_359")] == [1, 359, 360, None]
    assert amber.step(360).tokens == pytest.approx(1259.13e9, rel=1e-3)  # the total on the model card
    assert [amber.step(step).index for step in (1, 360, 361)] == [0, 359, None]


def test_parameters_of_suites_that_are_no_gpt_neox_are_those_of_transformers():
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, Olmo2Config

    shapes = {
        "Amber": LlamaConfig(vocab_size=32000, intermediate_size=11008),
        "OLMo-2-1124-7B": Olmo2Config(vocab_size=100352, intermediate_size=11008),
        "OLMo-2-1124-13B": Olmo2Config(
            vocab_size=100352, hidden_size=5120, intermediate_size=13824, num_hidden_layers=40, num_attention_heads=40
        ),
    }
    for name, config in shapes.items():
        model = load_suite("amber" if name == "Amber" else "olmo2").model(name)
        assert (model.layers, model.hidden_size) == (config.num_hidden_layers, config.hidden_size)
        with torch.device("meta"):
            network = AutoModelForCausalLM.from_config(config)
        assert model.parameters == sum(weight.numel() for weight in network.parameters())
        inner = sum(weight.numel() for key, weight in network.named_parameters() if "embed" not in key)
        assert model.non_embedding_parameters == inner - network.lm_head.weight.numel()


@given(st.sampled_from(PATTERNS), st.integers(0, 10**8), st.integers(0, 999), st.integers(0, 10**14))
def test_a_name_says_its_step(pattern, step, index, tokens):
    name = revision_name(pattern, step, index, tokens)
    assert step_named(pattern, name) == (step if "{step" in pattern else -1)
    assert step_named(pattern, name + "x") is None
    if "tokens" in pattern:
        assert int(name.partition("tokens")[2][:-1]) == -(-tokens // 10**9)


@pytest.mark.parametrize("name", ["step01", "Step1", "step1 ", "stepx", "step", "xstep1", "step1234567890"])
def test_other_names_are_of_no_step(name):
    assert step_named("step{step}", name) is None


def test_two_numbers_that_must_be_equal_are_held_to_it():
    assert step_named("a{step}-{step}", "a7-7") == 7
    assert step_named("a{step}-{step}", "a7-8") is None


def test_a_dot_in_a_pattern_is_a_dot():
    assert step_named("v1.{step}", "v1.5") == 5
    assert step_named("v1.{step}", "v1x5") is None


def test_a_ledger_gives_the_grid_in_order_of_steps(tmp_path):
    ledger, pattern = tmp_path / "ledger.tsv", "s{step}-t{tokens}B"
    names = ("s10-t2B", "s9-t1B", "main", "s-t", "other1-t1B")
    rows = "".join(f"m\t{name}\tc\tf\nm\t{name}\tc\tg\n" for name in names)
    ledger.write_text(HEADER + rows + "n\ts11-t3B\tc\tf\n")
    assert list(ledger_grid(ledger, "m", pattern).items()) == [(9, "s9-t1B"), (10, "s10-t2B")]
    assert ledger_grid(tmp_path / "none.tsv", "m", pattern) == {}
    ledger.write_text(HEADER + "m\t7\tc\tf\nm\t512\tc\tf\n")
    assert ledger_grid(ledger, "m", "step{step}") == {7: "step7", 512: "step512"}
    ledger.write_text("anything else\n")
    with pytest.raises(DataError, match="does not start with the columns"):
        ledger_grid(ledger, "m", pattern)


def test_a_ledger_writes_numbers_of_plain_steps_only():
    assert [ledger_text(name) for name in ("step7", "step07", "7", "stage1-step7", "main")] == [
        "7", "step07", "7", "stage1-step7", "main"
    ]  # fmt: skip


def changed(root, **family):
    """The suite amber with other keys of its family; None takes one away."""
    facts = load_yaml(root / "config" / "suites" / "amber.yaml")
    merged = {**facts["families"][0], **family}
    facts["families"] = [{key: value for key, value in merged.items() if value is not None}]
    check_schema(facts, "suite", "x")
    return build_suite(facts)


def test_a_grid_that_is_to_come_from_a_ledger_that_is_not_there(root, tmp_path):
    found = changed(root, steps=None, named=None, ledger=str(tmp_path / "none.tsv"), revision="c{step}").model("Amber")
    assert found.steps == ()
    with pytest.raises(ConfigError, match=r"from the ledger .*none\.tsv, which has none of them yet"):
        found.select_steps("all")


@pytest.mark.parametrize(
    ("family", "line"),
    [
        ({"ledger": "l.tsv"}, "needs steps or a ledger, and not both"),
        ({"steps": None}, "needs steps or a ledger, and not both"),
        ({"steps": None, "ledger": "l.tsv"}, "names no {step}, so a ledger does not say its steps"),
        ({"revision": "{index}"}, "is not allowed here; write letters, digits"),
        ({"revision": "x{step}{rank}"}, "is not allowed here; write letters, digits"),
        ({"revision": "x{step:>9}"}, "is not allowed here; write letters, digits"),
        ({"revision": "../x{step}"}, "is not allowed here; write letters, digits"),
        ({"named": {"1": "../main"}}, "is not allowed here; write letters, digits"),
        ({"revision": "main", "named": {}}, "steps 1 and 2 of Amber are both the revision main"),
        ({"named": {"7": "ckpt_001"}}, "steps 2 and 7 of Amber are both the revision ckpt_001"),
    ],
)
def test_what_a_family_cannot_say_is_refused_in_one_line(root, family, line):
    with pytest.raises(ConfigError) as caught:
        changed(root, **family)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
