"""Training on rows that lie preshuffled in a repository: the bits of a training on the raw data and their order."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from training_runs import digest, timeless, write_data

from workflow_scripts import cli
from workflow_scripts.dataset import publish_shards
from workflow_scripts.dataset.files.index_writer import indexed_writer
from workflow_scripts.training import retrain
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run.training_rows import open_rows


@pytest.fixture
def short(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, train_iterations=6, lr_decay_iterations=6, checkpoint_steps=(0, 3, 6))


@pytest.fixture
def files(short: Recipe, tmp_path: Path) -> dict[str, bytes]:
    """The rows of the whole run in order, in 3 awkward shards."""
    content = open_rows(write_data(tmp_path), None, short).rows(0, 48)
    with indexed_writer(tmp_path / "document", np.dtype("<u2")) as writer:
        for row in content:
            writer.add(row)
            writer.end_document()
    shards = tmp_path / "shards"
    publish_shards.main(["--prefix", str(tmp_path / "document"), "--num-shards", "3", "--output-dir", str(shards)])
    return {path.name: path.read_bytes() for path in shards.glob("document*")}


def test_rows_read_by_ranges_from_the_hub_give_the_same_bits(
    files: dict[str, bytes], short: Recipe, tmp_path: Path, fault_hub
) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(short.to_json()))
    common = ["--recipe", str(tmp_path / "recipe.json")]
    retrain.main([*common, "--view", str(tmp_path / "view.json"), "--output-dir", str(tmp_path / "near")])
    commit = fault_hub.add("org/preshuffled", files, kind="datasets")
    far = ["--preshuffled", "document-00000-of-00002.bin", "--repository", "org/preshuffled", "--revision", commit]
    far += ["--location", fault_hub.endpoint]
    for stop in ("3", "6"):
        retrain.main([*common, *far, "--output-dir", str(tmp_path / "far"), "--stop-at", stop])
    assert [digest(tmp_path / "far", step) for step in (0, 3, 6)] == [
        digest(tmp_path / "near", step) for step in (0, 3, 6)
    ]
    assert timeless(tmp_path / "far") == timeless(tmp_path / "near")
    assert any(request.range for request in fault_hub.requests)
    assert not list((tmp_path / "far").glob("**/*.bin"))


def test_rows_are_named_once(files: dict[str, bytes], short: Recipe, tmp_path: Path, capsys) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(short.to_json()))
    common = ["--recipe", str(tmp_path / "recipe.json"), "--output-dir", str(tmp_path / "run")]
    both = [*common, "--view", str(tmp_path / "view.json"), "--preshuffled", str(tmp_path / "document.bin")]
    assert cli.run(retrain.main, both) == cli.USER_ERROR
    assert "--preshuffled cannot be combined with --view or --patch" in capsys.readouterr().err
    assert cli.run(retrain.main, common) == cli.USER_ERROR
    assert "--view: no such view" in capsys.readouterr().err
    retrain.main([*common, "--preshuffled", str(tmp_path / "document.bin")])
    assert (tmp_path / "run" / "run.json").is_file()
