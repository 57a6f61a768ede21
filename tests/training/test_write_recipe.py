"""A recipe written field by field is the recipe itself, and each argument is short."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts import cli
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training import write_recipe
from workflow_scripts.training.recipe import Recipe, read_recipe, recipe_of
from workflow_scripts.training.write_recipe import fields_of, recipe_from, steps_from, steps_text


@pytest.mark.parametrize("suite", ["pocket", "books", "pythia"])
def test_every_recipe_of_a_suite_survives_its_fields(suite: str) -> None:
    for model in load_suite(suite).models.values():
        recipe = recipe_of(model)
        fields = fields_of(recipe)
        assert recipe_from(fields.values()) == recipe
        assert max(map(len, fields.values())) < 100


@given(st.sets(st.integers(0, 300), min_size=1).map(sorted))
def test_steps_survive_their_text(steps: list[int]) -> None:
    assert steps_from(steps_text(steps)) == steps


def test_the_file_is_read_as_the_recipe(recipe: Recipe, tmp_path: Path) -> None:
    write_recipe.main(["--output", str(tmp_path / "recipe.json"), *fields_of(recipe).values()])
    assert read_recipe(str(tmp_path / "recipe.json")) == recipe
    record = json.loads((tmp_path / "recipe.json.record.json").read_text())
    assert record["parameters"] == {"recipe_identity": recipe.identity}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": "layers=two"}, "layers=two: expected a value of type int"),
        ({"layers": "layer=2"}, "layer"),
        ({"layers": "layers"}, "'layers': expected name=value"),
        ({"checkpoint_steps": "checkpoint_steps=0,1..x"}, "expected a value of type tuple"),
        ({"layers": "heads=4"}, "'layers' is missing"),
    ],
)
def test_bad_fields_are_one_line(
    recipe: Recipe, change: dict[str, str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--output", str(tmp_path / "recipe.json"), *{**fields_of(recipe), **change}.values()]
    assert cli.run(write_recipe.main, arguments) == cli.USER_ERROR
    assert message in capsys.readouterr().err
    assert not (tmp_path / "recipe.json").exists()
