"""The replay certificate: granted for the original run, refused for any other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from training_runs import write_data

from workflow_scripts import cli
from workflow_scripts.errors import ModelError
from workflow_scripts.training import replay, retrain
from workflow_scripts.training.publish import cast_weights
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.replay import compare
from workflow_scripts.training.run import checkpoint


class Original:
    """A run that plays the part of the released one; its checkpoints are also "published" in half precision."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder = folder
        self.view = write_data(folder)
        self.recipe = folder / "recipe.json"
        self.recipe.write_text(json.dumps(recipe.to_json()))
        run = ["--recipe", str(self.recipe), "--view", str(self.view), "--output-dir", str(folder / "run")]
        retrain.main([*run, "--keep-optimizer", "8"])
        for step in (0, 8, 16):
            weights = checkpoint.read_tensors(folder / "run" / f"step{step}" / "model.safetensors")
            (folder / f"hub{step}").mkdir()
            half = cast_weights(weights, "float16", folder)
            checkpoint.save_tensors(folder / f"hub{step}" / "model.safetensors", half)

    def arguments(self, start: str, released: str, last: int, *more: str) -> list[str]:
        paths = {
            "--start-from": self.folder / start,
            "--released": self.folder / released,
            "--recipe": self.recipe,
            "--view": self.view,
            "--work-dir": self.folder / "replay",
            "--output": self.folder / "certificate.json",
        }
        return [part for flag, path in paths.items() for part in (flag, str(path))] + ["--last-step", str(last), *more]

    def certificate(self) -> dict[str, object]:
        found: dict[str, object] = json.loads((self.folder / "certificate.json").read_text())
        return found


@pytest.fixture
def original(recipe: Recipe, tmp_path: Path) -> Original:
    return Original(tmp_path, recipe)


def test_with_moments_the_replay_is_exact(original: Original) -> None:
    replay.main(original.arguments("run/step8", "hub16", 16))
    told = original.certificate()
    assert (told["granted"], told["unexplained_share"], told["largest_difference"]) == (True, 0.0, 0.0)
    assert (told["first_step"], told["last_step"]) == (8, 16)


def test_from_published_step_0_the_replay_is_exact_to_half_precision(original: Original) -> None:
    replay.main(original.arguments("hub0", "hub8", 8, "--start-step", "0", "--rewarm-steps", "0"))
    told = original.certificate()
    assert told["granted"]
    assert 0 < told["unexplained_share"] < 0.01  # type: ignore[operator]


def test_another_recipe_gets_no_certificate(original: Original, capsys: pytest.CaptureFixture[str]) -> None:
    values = json.loads(original.recipe.read_text())
    original.recipe.write_text(json.dumps({**values, "learning_rate": 0.003}))
    assert cli.run(replay.main, original.arguments("run/step8", "hub16", 16)) == cli.USER_ERROR
    assert "not granted" in capsys.readouterr().err
    assert original.certificate()["granted"] is False


def test_steps_must_go_forward(original: Original, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(replay.main, original.arguments("run/step8", "hub16", 8)) == cli.USER_ERROR
    assert "does not come after step 8" in capsys.readouterr().err


def test_the_share_by_hand() -> None:
    start, released = {"w": torch.tensor([0.0, 0.0])}, {"w": torch.tensor([3.0, 4.0])}
    result = compare(start, {"w": torch.tensor([3.0, 3.0])}, released)
    assert (result.moved, result.unexplained, result.unexplained_share) == (5.0, 1.0, 0.2)
    assert compare(start, start, start).unexplained_share == 0.0
    assert compare(released, start, released).unexplained_share == float("inf")
    with pytest.raises(ModelError, match="tensor v is not the same"):
        compare(start, {"v": torch.zeros(2)}, {"v": torch.zeros(3)})
