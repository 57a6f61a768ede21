"""Runs that start in the middle: with moments, with weights alone, from published folders old and new."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from training_runs import ArrayRows, digest, make_rows, timeless, train

from workflow_scripts.errors import ConfigError, DataError, MissingInputError, ModelError
from workflow_scripts.storage.model_files import weight_files
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.schedule import learning_rate
from workflow_scripts.training.run.training_log import read_metrics
from workflow_scripts.training.run.warm_start import Origin, read_origin, read_published


@pytest.fixture
def base(recipe: Recipe, rows: ArrayRows, tmp_path: Path) -> Path:
    """A finished run that kept the moments of step 8."""
    train(recipe, rows, tmp_path / "base", keep=(8,))
    return tmp_path / "base"


def arm(recipe: Recipe, rows: ArrayRows, run: Path, origin: Origin, stop_at: int = 20) -> None:
    train(recipe, rows, run, stop_at=stop_at, origin=origin)


def test_with_moments_on_the_same_rows_the_bits_are_those_of_the_original(
    recipe: Recipe, rows: ArrayRows, base: Path, tmp_path: Path
) -> None:
    arm(recipe, rows, tmp_path / "arm", read_origin(base / "step8", None, None, recipe))
    assert checkpoint.saved_steps(tmp_path / "arm") == [8, 16, 20]
    assert [digest(tmp_path / "arm", s) for s in (8, 16, 20)] == [digest(base, s) for s in (8, 16, 20)]
    assert timeless(tmp_path / "arm") == timeless(base)[8:]


def test_an_arm_stops_and_resumes_like_any_run(recipe: Recipe, base: Path, tmp_path: Path) -> None:
    other = make_rows(recipe, seed=5)
    origin = read_origin(base / "step8", None, None, recipe)
    arm(recipe, other, tmp_path / "whole", origin)
    for stop in (8, 11, 16, 20):
        arm(recipe, other, tmp_path / "parts", origin, stop_at=stop)
    assert digest(tmp_path / "parts", 20) == digest(tmp_path / "whole", 20) != digest(base, 20)


def test_another_origin_is_another_run(recipe: Recipe, rows: ArrayRows, base: Path, tmp_path: Path) -> None:
    arm(recipe, rows, tmp_path / "arm", read_origin(base / "step8", None, None, recipe), stop_at=10)
    with pytest.raises(ModelError, match="origin: step 8 of"):
        arm(recipe, rows, tmp_path / "arm", read_origin(base / "step4", None, 0, recipe))
    with pytest.raises(ModelError, match="origin"):
        train(recipe, rows, tmp_path / "arm")


def test_weights_alone_are_said_loudly_and_warm_up_again(
    recipe: Recipe, rows: ArrayRows, base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    origin = read_origin(base / "step4", None, 3, recipe)
    assert "WEIGHTS ALONE" in caplog.text
    for stop in (6, 20):  # the climb survives a resume
        arm(recipe, rows, tmp_path / "arm", origin, stop_at=stop)
    rates = [line["learning_rate"] for line in read_metrics(tmp_path / "arm" / "metrics.csv")]
    plain = [learning_rate(recipe, n) for n in range(4, 20)]
    shares = [rate / usual for rate, usual in zip(rates, plain, strict=True)]
    assert shares == pytest.approx([1 / 3, 2 / 3, *[1.0] * 14])
    assert digest(tmp_path / "arm", 20) != digest(base, 20)


def test_pruned_moments_are_not_replaced_silently(recipe: Recipe, base: Path) -> None:
    with pytest.raises(MissingInputError, match="--keep-optimizer 4"):
        read_origin(base / "step4", None, None, recipe)
    with pytest.raises(ConfigError, match="holds step 4"):
        read_origin(base / "step4", 5, 0, recipe)
    with pytest.raises(ConfigError, match="cannot start at step 20"):
        read_origin(base / "step20", None, None, recipe)
    with pytest.raises(ConfigError, match="negative"):
        read_origin(base / "step4", None, -1, recipe)


def test_a_published_folder_needs_its_step(recipe: Recipe, base: Path, tmp_path: Path) -> None:
    shutil.copytree(base / "step4", tmp_path / "hub")
    (tmp_path / "hub" / "state.json").unlink()
    with pytest.raises(ConfigError, match="give --start-step"):
        read_origin(tmp_path / "hub", None, 0, recipe)
    origin = read_origin(tmp_path / "hub", 4, 0, recipe)
    assert (origin.step, origin.moments) == (4, {})


@pytest.mark.parametrize("form", ["lm_head", "shards", "old"])
def test_every_age_of_hugging_face_file_is_read(form: str, base: Path, tmp_path: Path) -> None:
    weights = {name: tensor.half() for name, tensor in load_file(base / "step20" / "model.safetensors").items()}
    buffers = {"gpt_neox.layers.0.attention.rotary_emb.inv_freq": torch.ones(1)}
    if form == "lm_head":
        renamed = {name.replace("embed_out", "lm_head"): tensor for name, tensor in weights.items()}
        save_file({**renamed, **buffers}, tmp_path / "model.safetensors")
    elif form == "old":
        torch.save({**weights, **buffers}, tmp_path / "pytorch_model.bin")
    else:
        names = sorted(weights)
        parts = {"a.safetensors": names[:5], "b.safetensors": names[5:]}
        for name, part in parts.items():
            save_file({key: weights[key] for key in part}, tmp_path / name)
        places = {key: name for name, part in parts.items() for key in part}
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    found = read_published(weight_files(tmp_path))
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name].float()) for name in weights)


def test_code_in_a_weight_file_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"weight": Trap()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(DataError, match="not a file of plain tensors"):
        read_published(weight_files(tmp_path))
    assert not (tmp_path / "sprung").exists()


def test_shards_outside_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"x": "../secret.safetensors"}}')
    with pytest.raises(DataError, match="is no file name"):
        weight_files(tmp_path)
    with pytest.raises(MissingInputError, match=r"neither model\.safetensors nor"):
        weight_files(tmp_path / "none")


def test_weights_of_another_shape_are_named(
    variant: Callable[..., Recipe], rows: ArrayRows, base: Path, tmp_path: Path
) -> None:
    wide = variant(hidden_size=64)
    origin = read_origin(base / "step8", None, None, wide)
    with pytest.raises(ModelError, match=r"tensor embed_out.weight has shape \(96, 32\)"):
        arm(wide, rows, tmp_path / "arm", origin)


def test_a_step_that_joined_the_grid_later_is_trained_again(
    recipe: Recipe, variant: Callable[..., Recipe], rows: ArrayRows, base: Path
) -> None:
    denser = variant(checkpoint_steps=(0, 1, 2, 4, 8, 12, 16, 20))
    before = digest(base, 20)
    with pytest.raises(ModelError, match="step 12 is wanted and was not saved"):
        train(denser, rows, base)
    train(denser, rows, base, when_different="restart")
    assert checkpoint.saved_steps(base) == [0, 1, 2, 4, 8, 12, 16, 20]
    assert digest(base, 20) == before
