"""A published checkpoint is the training's, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from tests.provenance.sampling.sampled_release import LAST, MODEL, TRAINING, release_of
from workflow_scripts.provenance.release.sampling.published_weights import PublishedWeights
from workflow_scripts.provenance.release.sampling.sample_result import Outcome, Verdict
from workflow_scripts.provenance.release.sampling.trained_steps import trainings_of

FOLDER = f"results/mirror/models/made/{MODEL}/step{LAST}"
STEPS = [0, 1, 2, 4, 8, LAST]


def checked(root: Path) -> list[Outcome]:
    """All published checkpoints of the only training."""
    sampler = PublishedWeights(*trainings_of(release_of(root)))
    assert [step for step, _ in sampler.files[TRAINING]] == STEPS
    return list(sampler.check(TRAINING, range(len(STEPS))))


def test_an_honest_release_is_equal(release_folder: Path) -> None:
    assert [each.verdict for each in checked(release_folder)] == [Verdict.EQUAL] * len(STEPS)


def test_one_changed_weight_is_named(forged: Path) -> None:
    tensors = load_file(forged / FOLDER / "model.safetensors")
    name = sorted(tensors)[3]
    tensors[name].flatten()[-1] += 1e-6
    save_file(tensors, forged / FOLDER / "model.safetensors", metadata={"format": "pt"})
    *others, last = checked(forged)
    assert {each.verdict for each in others} == {Verdict.EQUAL}
    assert last.verdict is Verdict.WRONG
    assert name in last.detail
    assert last.difference > 0


def test_weights_published_in_half_precision_are_the_rounded_ones(forged: Path) -> None:
    path = forged / FOLDER / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    config = json.loads((forged / FOLDER / "config.json").read_text())
    (forged / FOLDER / "config.json").write_text(json.dumps(config | {"torch_dtype": "float16"}))
    assert checked(forged)[-1].verdict is Verdict.EQUAL


@pytest.mark.parametrize(("key", "value"), [("layer_norm_eps", 1e-4), ("num_attention_heads", 2), ("auto_map", {})])
def test_a_changed_configuration_is_named(forged: Path, key: str, value: object) -> None:
    path = forged / FOLDER / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    last = checked(forged)[-1]
    assert last.verdict is Verdict.WRONG
    assert key in last.detail


def test_a_missing_tensor_is_named(forged: Path) -> None:
    path = forged / FOLDER / "model.safetensors"
    tensors = load_file(path)
    name = sorted(tensors)[0]
    del tensors[name]
    save_file(tensors, path, metadata={"format": "pt"})
    assert name in checked(forged)[-1].detail
