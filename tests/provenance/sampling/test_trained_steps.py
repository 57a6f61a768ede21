"""Iterations computed again give the same bits; forged losses, weights and moments are found."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.provenance.sampling.sampled_release import KEPT, LAST, TRAINING, release_of
from workflow_scripts.provenance.release.sampling.sample_result import Outcome, Verdict
from workflow_scripts.provenance.release.sampling.trained_steps import Losses, Updates, line_difference, trainings_of

STEPS = (0, 1, 2, 4, KEPT)


def losses(root: Path) -> list[Outcome]:
    """Every iteration behind a checkpoint."""
    sampler = Losses(*trainings_of(release_of(root)))
    (group,) = sampler.groups
    assert group.items == len(STEPS)
    return list(sampler.check(TRAINING, range(group.items)))


def updates(root: Path) -> dict[str, Outcome]:
    """Every stretch by its name."""
    sampler = Updates(*trainings_of(release_of(root)))
    return {group.name: next(iter(sampler.check(group.name, [0]))) for group in sampler.groups}


def change_line(root: Path, step: int, column: int, text: str) -> None:
    """Another number in metrics.csv."""
    path = root / TRAINING / "metrics.csv"
    lines = path.read_text().splitlines()
    parts = lines[step].split(",")
    parts[column] = text
    lines[step] = ",".join(parts)
    path.write_text("\n".join(lines) + "\n")


def change_tensors(path: Path, factor: float) -> None:
    """Other values in one tensor."""
    tensors = load_file(path)
    name = sorted(tensors)[1]
    tensors[name] = tensors[name] * factor
    save_file(tensors, path, metadata={"format": "pt"})


def test_an_honest_training_gives_the_same_bits(release_folder: Path) -> None:
    assert [each.verdict for each in losses(release_folder)] == [Verdict.EQUAL] * len(STEPS)
    found = updates(release_folder)
    assert {name: each.verdict for name, each in found.items()} == {
        f"{TRAINING} steps 0 to {LAST}": Verdict.EQUAL,
        f"{TRAINING} steps {KEPT} to {LAST}": Verdict.EQUAL,
    }


@pytest.mark.parametrize(("column", "name"), [(2, "loss"), (3, "gradient_norm"), (4, "learning_rate"), (1, "tokens")])
def test_a_forged_line_is_found(forged: Path, column: int, name: str) -> None:
    change_line(forged, 5, column, "3.14159")
    wrong = [each for each in losses(forged) if each.verdict is Verdict.WRONG]
    assert [each.item.number for each in wrong] == [STEPS.index(4)]
    assert name in wrong[0].detail
    change_line(forged, 11, column, "3.14159")
    assert all(each.verdict is Verdict.WRONG for each in updates(forged).values())


def test_forged_weights_give_another_loss_and_another_movement(forged: Path) -> None:
    change_tensors(forged / f"{TRAINING}/step4/model.safetensors", 1.01)
    assert [each.item.number for each in losses(forged) if each.verdict is Verdict.WRONG] == [STEPS.index(4)]
    first, second = updates(forged).values()
    assert "weights of step 4 differs, and later weights are the same bits" in first.detail
    assert second.verdict is Verdict.EQUAL


def test_the_last_weights_of_a_stretch_have_a_tolerance_and_no_more(forged: Path) -> None:
    """Nothing after them shows whether a difference is rounding."""
    path = forged / f"{TRAINING}/step{LAST}/model.safetensors"
    change_tensors(path, 1 + 1e-7)
    assert {each.verdict for each in updates(forged).values()} == {Verdict.WITHIN}
    change_tensors(path, 1.2)
    assert all("is unexplained" in each.detail for each in updates(forged).values())


def test_forged_moments_are_found(forged: Path) -> None:
    change_tensors(forged / f"{TRAINING}/step{KEPT}/optimizer.safetensors", 2.0)
    found = updates(forged)
    assert found[f"{TRAINING} steps 0 to {LAST}"].verdict is Verdict.EQUAL
    assert found[f"{TRAINING} steps {KEPT} to {LAST}"].verdict is Verdict.WRONG


def test_initial_weights_follow_from_the_seed(forged: Path) -> None:
    change_tensors(forged / f"{TRAINING}/step0/model.safetensors", 1.001)
    assert "weights of step 0" in updates(forged)[f"{TRAINING} steps 0 to {LAST}"].detail


def test_nothing_is_written_into_the_release(forged: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in forged.rglob("*")}
    losses(forged)
    updates(forged)
    assert {path: path.stat().st_mtime_ns for path in forged.rglob("*")} == before


def test_rounding_is_allowed_and_says_how_much(forged: Path) -> None:
    line = (forged / TRAINING / "metrics.csv").read_text().splitlines()[5].split(",")
    change_line(forged, 5, 2, f"{float(line[2]) * (1 + 1e-7):.9g}")
    found = losses(forged)[STEPS.index(4)]
    assert found.verdict is Verdict.WITHIN
    assert 0 < found.difference < 1e-6


def test_a_training_without_its_data_is_listed(forged: Path) -> None:
    (forged / "results/data/made/standard/view.json").unlink()
    trainings, without = trainings_of(release_of(forged))
    assert trainings == []
    assert [each.name for each in without] == [TRAINING]
    assert "data set is not here" in without[0].reason


def test_a_line_that_is_no_number_is_a_difference() -> None:
    line = dict.fromkeys(("step", "tokens", "loss", "gradient_norm", "learning_rate", "loss_scale", "skipped"), "1")
    assert line_difference(line, line | {"loss": "x"}, 1.0) == ("step 1: no loss", 1.0)
    assert line_difference(line, line | {"skipped": "0"}, 1.0)[0] == "step 1: skipped is 0, recomputed 1"
    assert line_difference(line, line | {"loss": "nan"}, 1.0)[0] == "step 1: loss is nan, recomputed 1"


def test_threads_of_torch_are_those_of_the_training(release_folder: Path) -> None:
    torch.set_num_threads(2)
    losses(release_folder)
    assert torch.get_num_threads() == 1
