"""Recipes: complete, checked, from the registry and from JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, PipelineError
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training import recipe as program
from workflow_scripts.training.recipe import Recipe, read_recipe, recipe_of


def test_410m_is_the_released_recipe() -> None:
    made = recipe_of(load_suite("pythia").model("pythia-410m-deduped"))
    assert (made.layers, made.hidden_size, made.heads, made.vocab_size) == (24, 1024, 16, 50304)
    assert (made.learning_rate, made.min_learning_rate) == (3e-4, pytest.approx(3e-5))
    assert (made.beta1, made.beta2, made.epsilon, made.weight_decay) == (0.9, 0.95, 1e-8, 0.1)
    assert made.batch_tokens == 2_097_152
    assert made.parameters == 405_334_016
    assert made.rotary_dims == 16
    assert len(made.checkpoint_steps) == 154


def test_v0_models_of_4m_batches_count_their_own_iterations() -> None:
    made = recipe_of(load_suite("pythia").model("pythia-160m-v0"))
    assert (made.batch_rows, made.train_iterations) == (2048, 71500)
    assert made.checkpoint_steps[:2] == (500, 1000)
    assert made.checkpoint_steps[-1] == 71500


def test_every_model_of_every_suite_has_a_recipe() -> None:
    for suite in ("pythia", "pocket", "books", "books-long"):
        for model in load_suite(suite).models.values():
            made = recipe_of(model)
            assert made.parameters == model.parameters
            assert Recipe.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_identity_ignores_the_grid_and_nothing_else(recipe: Recipe, variant: Callable[..., Recipe]) -> None:
    assert variant(checkpoint_steps=(0, 3), name="other").identity == recipe.identity
    assert variant(learning_rate=0.005).identity != recipe.identity
    assert variant(data_seed=5).identity != recipe.identity
    assert recipe.differences(variant(weight_seed=7, beta1=0.8)) == ["beta1: 0.9 -> 0.8", "weight_seed: 1234 -> 7"]


BAD = [
    ({"layers": 0}, "layers is 0"),
    ({"heads": 5}, "not a multiple of heads 5"),
    ({"rotary_fraction": 0.1}, "rotated dims"),
    ({"learning_rate": float("nan")}, "finite"),
    ({"learning_rate": -1.0}, "learning_rate cannot be"),
    ({"min_learning_rate": 1.0}, "min_learning_rate cannot be"),
    ({"lr_schedule": "neox_v2"}, "did you mean 'neox_v1'"),
    ({"compute_dtype": "bf16"}, "did you mean 'bfloat16'"),
    ({"checkpoint_steps": [0, 30]}, "checkpoint_steps must increase"),
    ({"checkpoint_steps": [4, 2]}, "checkpoint_steps must increase"),
    ({"checkpoint_steps": 5}, "must be a list"),
    ({"checkpoint_steps": []}, "checkpoint_steps must increase"),
    ({"batch_rows": True}, "must be of type int"),
    ({"batch_rows": "8"}, "must be of type int"),
    ({"weight_seed": 2**32}, "weight_seed cannot be"),
    ({"layer": 3}, "did you mean 'layers'"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_impossible_numbers_are_refused_in_one_line(recipe: Recipe, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Recipe.from_json({**recipe.to_json(), **change}, "r.json")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_number_is_named(recipe: Recipe) -> None:
    values = recipe.to_json()
    del values["beta2"]
    with pytest.raises(ConfigError, match="'beta2' is missing"):
        Recipe.from_json(values)


def test_an_integer_is_a_fine_float(recipe: Recipe) -> None:
    made = Recipe.from_json({**recipe.to_json(), "gradient_clip": 1, "rotary_base": 10000})
    assert made.identity == recipe.identity


@given(
    st.dictionaries(
        st.sampled_from([f.name for f in dataclasses.fields(Recipe)]),
        st.one_of(
            st.none(),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.text(max_size=5),
            st.lists(st.integers(), max_size=4),
        ),
        max_size=3,
    )
)
@settings(deadline=None, max_examples=150)
def test_any_json_gives_a_recipe_or_one_line(changes: dict[str, Any]) -> None:
    base = recipe_of(load_suite("pocket").model("pocket-90k")).to_json()
    try:
        made = Recipe.from_json({**base, **changes})
    except PipelineError as error:
        assert "\n" not in str(error).strip()
    else:
        assert Recipe.from_json(made.to_json()) == made


def test_recipes_are_read_from_files_and_from_the_command_line(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(recipe.to_json()))
    assert read_recipe(str(path)) == read_recipe(json.dumps(recipe.to_json())) == recipe
    path.write_text('{"layers": 2,}')
    with pytest.raises(PipelineError, match="not JSON at line 1"):
        read_recipe(str(path))
    path.write_text("[1]")
    with pytest.raises(PipelineError, match="expected a JSON object"):
        read_recipe(str(path))
    with pytest.raises(PipelineError, match="no such recipe file"):
        read_recipe(str(tmp_path / "none.json"))


def test_program_prints_recipe_sources_and_disputes(capsys: pytest.CaptureFixture[str], caplog: Any) -> None:
    with caplog.at_level("INFO"):
        program.main(["--suite", "pythia", "--model", "pythia-1b"])
    assert Recipe.from_json(json.loads(capsys.readouterr().out)).learning_rate == 2.5e-4
    assert "README's table says 3e-4" in caplog.text
    assert "bfloat16 for 1b" in caplog.text
    assert "tanh approximation" in caplog.text


def test_program_writes_a_file(tmp_path: Path) -> None:
    program.main(["--suite", "pocket", "--model", "pocket-1m", "--output", str(tmp_path / "r.json")])
    assert read_recipe(str(tmp_path / "r.json")).name == "pocket-1m"


def test_unknown_model_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(program.main, ["--suite", "pythia", "--model", "pythia-410"]) == cli.USER_ERROR
    assert "did you mean 'pythia-410m'" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["14m", "1b", "6.9b", "12b"])
def test_known_disputes_are_told(size: str) -> None:
    from workflow_scripts.training.recipe_sources import disputes, sources

    model = load_suite("pythia").model(f"pythia-{size}")
    expected = {"14m": "deduplicated folder", "1b": "2.5e-4", "6.9b": "pythia#135", "12b": "pythia#162"}
    assert any(expected[size] in line for line in disputes(model))
    assert set(sources(model)) <= {field.name for field in dataclasses.fields(Recipe)}
    assert disputes(load_suite("pocket").model("pocket-1m")) == []
