"""Programs of the experiments end to end on tiny data: patches, answers, the check of the identity arm."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from experiment_models import random_folder
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from workflow_scripts.dataset.files.index_writer import indexed_writer
from workflow_scripts.dataset.order.patched_rows import read_patch
from workflow_scripts.errors import ConfigError, DataError, MissingInputError
from workflow_scripts.experiments import interventions, make_patch, score_bias, score_terms
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.records import record_path
from workflow_scripts.suite.arms import Arm
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.run.training_rows import open_rows

TEXTS = [f"The pilot said he took his map {n}. The nurse said she took her map." for n in range(80)]
MODEL = load_suite("pocket").model("pocket-90k")


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny):
    """Token files, a tokenizer, a recipe of 20 iterations and an untrained checkpoint that fits them."""
    folder = tmp_path_factory.mktemp("programs")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=380, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(
        [*TEXTS, " ".join(["Sum: 3 plus 4 equals 7"] * 9), "himself herself him " * 9], trainer
    )
    with indexed_writer(folder / "text", np.dtype("<u2")) as writer:
        for text in TEXTS:
            writer.add([*tokenizer.encode(text).ids, 0])
            writer.end_document()
    checkpoint = random_folder(folder / "m" / "step20", dataclasses.replace(tiny, vocab_size=384, sequence_length=64))
    tokenizer.save(str(checkpoint / "tokenizer.json"))
    recipe = dataclasses.replace(tiny, vocab_size=384, train_iterations=20, checkpoint_steps=(0, 20))
    write_json(folder / "recipe.json", recipe.to_json())
    return folder, checkpoint, recipe


def patch_arguments(folder, checkpoint, output, first_step=10):
    arguments = ["--declaration", "pronouns", "--direction", "first_to_second", "--recipe", folder / "recipe.json"]
    arguments += ["--view", folder / "text.idx", "--tokenizer", checkpoint / "tokenizer.json"]
    return [str(word) for word in [*arguments, "--first-step", first_step, "--output", output]]


def test_patch_holds_every_change_of_the_late_rows_and_none_before(world, tmp_path):
    folder, checkpoint, recipe = world
    make_patch.main(patch_arguments(folder, checkpoint, tmp_path / "patch.safetensors"))
    patch = read_patch(tmp_path / "patch.safetensors")
    base = open_rows(folder / "text.idx", None, recipe)
    patched = open_rows(folder / "text.idx", None, recipe, tmp_path / "patch.safetensors")
    assert np.array_equal(base.rows(0, 80), patched.rows(0, 80))
    counts = patch.facts["counts"]
    assert (patched.rows(80, 160) != base.rows(80, 160)).sum() == len(patch.positions) == counts["changed"] > 10
    assert counts["first_after"] == 0
    assert counts["second_after"] == counts["first_before"] + counts["second_before"]
    samples = (tmp_path / "patch.safetensors.samples.jsonl").read_text().splitlines()
    first = json.loads(samples[0])
    assert first["before"] != first["after"]
    assert json.loads(record_path(tmp_path / "patch.safetensors").read_text())["parameters"]["sha256"] == patch.sha256


@pytest.mark.parametrize("portion", [7, 2048])
def test_patch_by_a_function_does_not_depend_on_the_portions(world, tmp_path, monkeypatch, portion):
    folder, checkpoint, recipe = world
    monkeypatch.setattr(make_patch, "ROWS_AT_ONCE", portion)
    arguments = patch_arguments(folder, checkpoint, tmp_path / "patch.safetensors")
    place = arguments.index("--direction")
    arguments[place : place + 2] = ["--function", "repeat_late"]
    make_patch.main(arguments)
    patch = read_patch(tmp_path / "patch.safetensors")
    rows = open_rows(folder / "text.idx", None, recipe, tmp_path / "patch.safetensors").rows(80, 160)
    assert len(np.unique(rows[::4], axis=0)) == 4
    assert patch.facts["direction"] == "repeat_late"
    assert patch.facts["counts"]["rows_changed"] == 20
    record = json.loads(record_path(tmp_path / "patch.safetensors").read_text())
    assert "function" in record["inputs"]


def test_patch_from_behind_the_end_is_refused(world, tmp_path):
    folder, checkpoint, _ = world
    with pytest.raises(ConfigError, match="outside"):
        make_patch.main(patch_arguments(folder, checkpoint, tmp_path / "p.safetensors", first_step=20))


def write_split(root, task, split, rows):
    path = root / "pocket" / task / "default" / f"{split}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(path)


def test_answers_are_written_for_every_task_and_shots_that_fit(world, tmp_path):
    _, checkpoint, _ = world
    sums = [
        {"context": f"Sum: {a} plus {b} equals", "completion": f" {a + b}", "first_operand": a, "second_operand": b}
        for a in range(3)
        for b in range(2)
    ]
    choices = {"text": ["Town", "River"], "label": ["A", "B"]}
    fact = {
        "id": "x",
        "question": "What?",
        "choices": choices,
        "answerKey": "B",
        "country": "Land",
        "wording": "closed",
    }
    for split in ("test", "train"):
        write_split(tmp_path, "arithmetic", split, sums)
        write_split(tmp_path, "facts", split, [fact, {**fact, "country": "Other"}])
    arguments = ["--checkpoint", checkpoint, "--terms", "pocket", "--shots", 0, 1, 16, "--data-dir", tmp_path]
    score_terms.main([str(word) for word in [*arguments, "--output", tmp_path / "answers.parquet"]])
    answers = pd.read_parquet(tmp_path / "answers.parquet")
    assert set(answers["step"]) == {20}
    assert answers.groupby(["task", "shots"]).size().to_dict()[("arithmetic", 0)] == 6
    left_out = json.loads(record_path(tmp_path / "answers.parquet").read_text())["parameters"]["left_out"]
    done = set(answers.groupby(["task", "shots"]).groups)
    assert len(done) + len(left_out) == 6


def test_bias_program_scores_every_checkpoint(world, tmp_path):
    _, checkpoint, _ = world
    pair = {"sent_more": "The pilot said he took.", "sent_less": "The pilot said she took.", "bias_type": "gender"}
    write_split(tmp_path, "pronouns", "test", [pair])
    write_split(tmp_path, "last_word", "test", [{"text": "The nurse took her map"}])
    arguments = ["--checkpoint", checkpoint, "--benchmarks", "pocket_pronouns", "pocket_last_word"]
    arguments += ["--data-dir", tmp_path, "--output", tmp_path / "items.parquet"]
    score_bias.main([str(word) for word in arguments])
    items = pd.read_parquet(tmp_path / "items.parquet")
    assert items["benchmark"].tolist() == ["pocket_pronouns", "pocket_last_word"]
    assert items["log_odds"].notna().tolist() == [True, False]


def receipts(root, baseline, arm):
    for path, digest in (
        (root / "training" / MODEL.name / "run.json", baseline),
        (root / "experiments/interventions" / MODEL.name / "identity-7" / "training" / "run.json", arm),
    ):
        path.parent.mkdir(parents=True)
        write_json(path, {"weights_sha256": digest})


def test_an_identity_arm_that_differs_stops_the_comparison(tmp_path):
    arm = Arm("identity-7", "identity", 93)
    with pytest.raises(MissingInputError, match="train"):
        interventions.check_identity(MODEL, arm, tmp_path)
    receipts(tmp_path / "same", "a" * 64, "a" * 64)
    assert interventions.check_identity(MODEL, arm, tmp_path / "same") == "a" * 64
    receipts(tmp_path / "other", "a" * 64, "b" * 64)
    with pytest.raises(DataError, match="no arm can be compared"):
        interventions.check_identity(MODEL, arm, tmp_path / "other")
