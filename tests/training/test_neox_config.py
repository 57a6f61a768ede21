"""GPT-NeoX files: both spellings, the broken ones with their reason, and the way back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, ModelError
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training import neox_config
from workflow_scripts.training.neox_config import config_text, recipe_from_config, split_grid
from workflow_scripts.training.recipe import Recipe, read_recipe, recipe_of

# A file in the style of the suite's: JSON with a comment, hyphens and underscores mixed, a trailing comma.
SAMPLE = """{
  # parallelism
  "pipe-parallel-size": 1, "model-parallel-size": 1,
  "num-layers": 24, "hidden-size": 1024, "num-attention-heads": 16,
  "seq-length": 2048, "max-position-embeddings": 2048,
  "pos-emb": "rotary", "rotary-pct": 0.25, "no-weight-tying": true,
  "gpt-j-residual": true, "output-layer-parallelism": "column",
  "attention-config": [[["flash"], 24]],
  "scaled-upper-triang-masked-softmax-fusion": true, "bias-gelu-fusion": true,
  "init_method": "small_init", "output_layer_init_method": "wang_init",
  "optimizer": {"type": "Adam", "params": {"lr": 0.0003, "betas": [0.9, 0.95], "eps": 1.0e-8}},
  "min_lr": 0.00003,
  "train_micro_batch_size_per_gpu": 32, "data-impl": "mmap",
  "gradient_clipping": 1.0, "weight-decay": 0.1, "hidden-dropout": 0, "attention-dropout": 0,
  "train-iters": 143000, "lr-decay-iters": 143000, "lr-decay-style": "cosine", "warmup": 0.01,
  "checkpoint-factor": 1000, "extra-save-iters": [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512],
}
"""


def parse(tmp_path: Path, text: str, gpus: int | None = 32) -> Recipe:
    path = tmp_path / "c.yml"
    path.write_text(text)
    return recipe_from_config(path, gpus=gpus, vocab_entries=50277, compute_dtype="float16", lr_schedule="neox_v1")


def test_the_410m_file_is_the_registry_recipe(tmp_path: Path) -> None:
    made = parse(tmp_path, SAMPLE)
    known = recipe_of(load_suite("pythia").model("pythia-410m"))
    assert made.differences(known) == []
    assert made.identity == known.identity
    assert made.checkpoint_steps == known.checkpoint_steps


def test_underscores_mean_the_same(tmp_path: Path) -> None:
    values = {key.replace("-", "_"): value for key, value in yaml.safe_load(SAMPLE).items()}
    assert parse(tmp_path, json.dumps(values)).identity == parse(tmp_path, SAMPLE).identity


def test_padding_follows_the_tensor_parallel_size(tmp_path: Path) -> None:
    wide = SAMPLE.replace('"model-parallel-size": 1', '"model-parallel-size": 4')
    assert parse(tmp_path, wide, gpus=128).vocab_size == 50688
    assert parse(tmp_path, wide, gpus=128).batch_rows == 1024


def test_silent_init_methods_are_the_defaults(tmp_path: Path) -> None:
    silent = SAMPLE.replace('"init_method": "small_init", "output_layer_init_method": "wang_init",', "")
    assert parse(tmp_path, silent).initialisation == "neox_default"


REFUSED = [
    ('"attention-config": [[["flash"], 24]],', '"attention-config": [[["flash"], 24]]', "comma seems to be missing"),
    ('"num-layers": 24', '"num-layers": 16, "num-layers": 24', "stands twice"),
    ('"num-layers": 24', '"num_layers": 16, "num-layers": 24', "once with hyphens"),
    ('"num-layers": 24, "hidden-size": 1024, "num-attention-heads": 16', '"num-layers": 40, "hidden-size": 5120, '
     '"num-attention-heads": 36', "seem to be swapped"),
    ('"seq-length": 2048, ', "", "'seq-length' is missing"),
    ('"gpt-j-residual": true, ', "", "gpt_j_residual is False; only True"),
    ('"pos-emb": "rotary"', '"pos-emb": "alibi"', "pos_emb is 'alibi'"),
    ('"hidden-dropout": 0', '"hidden-dropout": 0.1', "hidden_dropout is 0.1"),
    ('"small_init"', '"xavier"', "init methods"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "message"), REFUSED)
def test_what_would_be_misread_is_refused_with_its_reason(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    assert before in SAMPLE
    with pytest.raises((ConfigError, ModelError), match=message):
        parse(tmp_path, SAMPLE.replace(before, after))


def test_the_batch_must_be_decided(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--gpus"):
        parse(tmp_path, SAMPLE, gpus=None)
    stated = SAMPLE.replace('"min_lr"', '"train_batch_size": 1024, "min_lr"')
    assert parse(tmp_path, stated, gpus=None).batch_rows == 1024
    with pytest.raises(ConfigError, match="do not divide by model-parallel-size 3"):
        parse(tmp_path, SAMPLE.replace('"model-parallel-size": 1', '"model-parallel-size": 3'))


@pytest.mark.parametrize("name", ["pythia-70m", "pythia-6.9b", "pythia-1b", "pythia-160m-v0"])
def test_a_written_file_reads_back_as_the_same_recipe(name: str, tmp_path: Path) -> None:
    recipe = recipe_of(load_suite("pythia").model(name))
    text = config_text(recipe, gpus=32, micro_batch=16, data_path="/data/pile", save="/data/checkpoints")
    path = tmp_path / "c.yml"
    path.write_text(text)
    back = recipe_from_config(
        path,
        gpus=32,
        vocab_entries=50277,
        compute_dtype=recipe.compute_dtype,
        lr_schedule="neox_v1",
    )
    assert back.differences(recipe) == []
    assert back.checkpoint_steps == recipe.checkpoint_steps


def test_a_grid_is_split_into_interval_and_extras(recipe: Recipe) -> None:
    assert split_grid(recipe_of(load_suite("pythia").model("pythia-70m")))[1] == 1000
    assert split_grid(recipe) == ([0, 1, 2, 4, 20], 8)


def test_what_gpt_neox_cannot_say_is_refused(recipe: Recipe) -> None:
    with pytest.raises(ConfigError, match="one seed"):
        config_text(dataclasses.replace(recipe, data_seed=7), gpus=1, micro_batch=8, data_path="p", save="s")
    with pytest.raises(ConfigError, match="3 GPUs x 1 rows do not divide"):
        config_text(recipe, gpus=3, micro_batch=1, data_path="p", save="s")


def test_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, recipe, back = tmp_path / "c.yml", tmp_path / "r.json", tmp_path / "b.yml"
    config.write_text(SAMPLE)
    common = ["--vocab-entries", "50277", "--gpus", "32"]
    neox_config.main(["read", str(config), *common, "--output", str(recipe)])
    assert read_recipe(str(recipe)).layers == 24
    neox_config.main(
        [
            "write",
            str(recipe),
            "--gpus",
            "8",
            "--micro-batch",
            "16",
            "--data-path",
            "p",
            "--save",
            "s",
            "--output",
            str(back),
        ]
    )
    assert yaml.safe_load(back.read_text())["gradient_accumulation_steps"] == 8
    other = tmp_path / "o.json"
    other.write_text(json.dumps({**read_recipe(str(recipe)).to_json(), "learning_rate": 0.0002}))
    neox_config.main(["diff", str(recipe), str(other)])
    assert capsys.readouterr().out == "learning_rate: 0.0003 -> 0.0002\n"
    config.write_text("{broken")
    assert cli.run(neox_config.main, ["read", str(config), *common, "--output", str(recipe)]) == cli.USER_ERROR
