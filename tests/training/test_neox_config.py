"""GPT-NeoX files: both spellings, the broken ones with their reason, and the way back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

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
    ('"num-layers": 24', '"num-layers": 16, "num-layers": 24', "duplicate key"),
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
    with pytest.raises(ConfigError, match="are not divisible by model-parallel-size 3"):
        parse(tmp_path, SAMPLE.replace('"model-parallel-size": 1', '"model-parallel-size": 3'))


PLAIN = """{
  "pipe-parallel-size": 1, "model-parallel-size": 1,
  "num-layers": 2, "hidden-size": 32, "num-attention-heads": 4, "seq-length": 64, "max-position-embeddings": 64,
  "pos-emb": "rotary", "rotary-pct": 0.25, "no-weight-tying": true, "gpt-j-residual": true, "bias-gelu-fusion": true,
  "init_method": "small_init", "output_layer_init_method": "wang_init",
  "optimizer": {"type": "Adam", "params": {"lr": 0.001, "betas": [0.9, 0.95], "eps": 1.0e-8}},
  "train_micro_batch_size_per_gpu": 4, "gradient_clipping": 1.0, "weight-decay": 0.1,
  "hidden-dropout": 0, "attention-dropout": 0, "train-iters": 100, "lr-decay-style": "cosine",
  "checkpoint-factor": 10
}"""


def plain(folder: Path, more: dict[str, Any], era: str = "neox_v1", dtype: str | None = None) -> Recipe:
    """Recipe of PLAIN with ``more``, on 16 GPUs."""
    path = folder / "p.yml"
    path.write_text(json.dumps({**yaml.safe_load(PLAIN), **more}))
    return recipe_from_config(path, gpus=16, vocab_entries=50277, compute_dtype=dtype, lr_schedule=era)


@pytest.mark.parametrize(
    ("more", "rows"),
    [
        ({}, 64),
        ({"pipe-parallel-size": 0}, 64),
        ({"gas": 4}, 64),
        ({"attention-config": [[["flash"], 2]]}, 64),
        ({"attention-config": [[["global", "flash"], "all"]]}, 64),
        ({"pipe-parallel-size": 4, "model-parallel-size": 2}, 8),
        ({"gradient_accumulation_steps": 3}, 192),
        ({"global-num-gpus": 16}, 64),
    ],
)
def test_the_batch_is_that_of_gpt_neox(tmp_path: Path, more: dict[str, Any], rows: int) -> None:
    made = plain(tmp_path, more)
    assert (made.batch_rows, made.compute_dtype) == (rows, "float32")


SCALE = {"loss_scale": 0, "loss_scale_window": 1000, "initial_scale_power": 12, "hysteresis": 2, "min_loss_scale": 1}
FP16 = {"enabled": True, **SCALE}


@pytest.mark.parametrize(
    ("more", "era", "dtype"),
    [
        ({"fp16": FP16}, "neox_v1", "float16"),
        ({"fp16": {**FP16, "enabled": False}}, "neox_v1", "float32"),
        ({"precision": "bfloat16"}, "neox_v1", "bfloat16"),
        ({"precision": "bfloat16"}, "neox_2023_08", "bfloat16"),
        ({"bf16": {"enabled": True}}, "neox_2023_08", "bfloat16"),
        ({"precision": "fp16"}, "neox_2023_08", None),  # by default DeepSpeed's loss scale starts elsewhere
        ({"precision": "fp16", "fp16": {**FP16}}, "neox_2023_08", "float16"),
    ],
)
def test_the_file_says_the_precision(tmp_path: Path, more: dict[str, Any], era: str, dtype: str | None) -> None:
    if dtype is None:
        with pytest.raises(ModelError, match=r"fp16.initial_scale_power is missing"):
            plain(tmp_path, more, era)
    else:
        assert plain(tmp_path, more, era).compute_dtype == dtype
        assert plain(tmp_path, more, era, dtype).rotary_precision == dtype
        other = "float16" if dtype == "float32" else "float32"
        with pytest.raises(ConfigError, match=f"the precision is {dtype}; --compute-dtype says {other}"):
            plain(tmp_path, more, era, other)


def test_a_precision_that_hangs_on_the_version_must_be_said(tmp_path: Path) -> None:
    """Code before and after May 2023 reads these files differently, and both are called neox_v1."""
    more: dict[str, Any] = {"fp16": {**FP16, "type": "bfloat16"}}
    with pytest.raises(
        ConfigError, match="bfloat16 or float16 by the version of the code; --compute-dtype says nothing"
    ):
        plain(tmp_path, more)
    assert plain(tmp_path, more, dtype="bfloat16").compute_dtype == "bfloat16"
    with pytest.raises(ConfigError, match="--compute-dtype says float32"):
        plain(tmp_path, more, dtype="float32")
    with pytest.raises(ConfigError, match="said to be bfloat16 and fp16; leave one"):
        plain(tmp_path, {"fp16": FP16, "bf16": {"enabled": True}}, "neox_2026_05")


@pytest.mark.parametrize(
    ("more", "era", "steps"),
    [
        ({"checkpoint-factor": 30}, "neox_v1", [30, 60, 90, 100]),
        ({"checkpoint-factor": 30, "extra-save-iters": [0, 7, 200]}, "neox_v1", [0, 7, 30, 60, 90, 100]),
        ({"checkpoint-scale": "log"}, "neox_v1", [10, 100]),
        ({"checkpoint-scale": "log"}, "neox_2026_05", [1, 10, 100]),
        ({"checkpoint-scale": "log", "extra-save-iters": [1]}, "neox_2023_08", [1, 10, 100]),
        ({"checkpoint-scale": "log", "checkpoint-factor": 2.5}, "neox_2026_05", [1, 2, 6, 15, 39, 97, 100]),
        ({"checkpoint-factor": None, "save-interval": 40}, "neox_v1", [40, 80, 100]),
        ({"checkpoint-factor": None}, "neox_v1", [100]),
    ],
)
def test_the_grid_is_that_of_gpt_neox(tmp_path: Path, more: dict[str, Any], era: str, steps: list[int]) -> None:
    assert list(plain(tmp_path, more, era).checkpoint_steps) == steps


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"checkpoint-scale": "log", "checkpoint-factor": 1}, "must exceed 1"),
        ({"checkpoint-scale": "cubic"}, "checkpoint-scale is 'cubic'"),
        ({"extra-save-iters": ["0"]}, "extra-save-iters is"),
        ({"save-interval": 3}, "both checkpoint-factor and its old name save-interval"),
        ({"global-num-gpus": 32}, "global-num-gpus is 32, --gpus is 16"),
        ({"train_batch_size": 63}, "train_batch_size 63 is not 4 rows x 1 steps of accumulation x 16 data-parallel"),
        ({"optimizer": {"type": "SGD", "params": {"lr": 1}}}, "optimizer.type is 'SGD'"),
        ({"optimizer": {"type": "Lion", "params": {"lr": 1}}}, "optimizer.type is 'Lion'"),
        ({"optimizer": {"type": "Adam", "params": {"lr": 1, "weight_decay": 0}}}, "optimizer.params.weight_decay"),
        ({"optimizer": {"type": "Adam", "params": {}}}, "'optimizer.params.lr' is missing"),
        ({"attention-config": [[["local", "global"], 1]]}, "attention_config has 'local'"),
        ({"attention-config": [[["gmlp"], "all"]]}, "attention_config has 'gmlp'"),
        ({"attention-config": [[["flash"], 3]]}, "attention_config has 3 layers"),
        ({"mlp-type": "llama"}, "mlp_type is 'llama'"),
        ({"intermediate_size": 96}, "intermediate_size is 96; only 128"),
        ({"num_kv_heads": 2}, "num_kv_heads is 2; only 4"),
        ({"use_bias_in_attn_linear": False}, "use_bias_in_attn_linear is False"),
        ({"fim_rate": 0.5}, "unknown key 'fim-rate'"),
        ({"curriculum_learning": {"enabled": True}}, "curriculum_learning is"),
        ({"no-weight-tying": "true"}, "no_weight_tying is 'true'; only True"),
        ({"hidden-dropout": None}, r"hidden_dropout is 0.1; only 0 .* .not in the file"),
        ({"fp16": {"enabled": "false"}}, "whose 'enabled' is true or false"),
        ({"fp16": {**FP16, "initial_scale_power": 16}}, "fp16.initial_scale_power is 16; only 12"),
        ({"fp16": {**FP16, "min_loss": 1}}, "fp16.min_loss is not known"),
        ({"num-layers": 2.0}, "num-layers 2.0 must be a whole number"),
        ({"rotary-pct": "0.25"}, "'rotary-pct' is '0.25'; it must be a number"),
        ({"max-position-embeddings": 32}, "max-position-embeddings is below seq-length"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
    ],
)
def test_fault_51_keys_of_gpt_neox_that_decide_a_result(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    """A GPT-NeoX file asks for another network, optimizer or batch, or has an unknown key: refused by its name."""
    plain(tmp_path, {})
    with pytest.raises((ConfigError, ModelError), match=message) as caught:
        plain(tmp_path, more)
    assert "of another kind" not in str(caught.value)


def test_settings_may_be_spread_over_files(tmp_path: Path) -> None:
    whole = yaml.safe_load(PLAIN)
    parts = {"a.yml": {key: whole[key] for key in whole if "-" in key},
             "b.yml": {key: whole[key] for key in whole if "-" not in key} | {"num-layers": 2}}  # fmt: skip
    for name, values in parts.items():
        (tmp_path / name).write_text(json.dumps(values))
    files = [tmp_path / name for name in parts]
    made = recipe_from_config(files, gpus=16, vocab_entries=50277, compute_dtype=None, lr_schedule="neox_v1")
    assert made.identity == plain(tmp_path, {}).identity
    assert made.name == "a"
    output = tmp_path / "r.json"
    words = ["read", *map(str, files), "--gpus", "16", "--vocab-entries", "50277", "--output", str(output)]
    neox_config.main(words)
    assert read_recipe(str(output)) == made
    with pytest.raises(ConfigError, match=r"'optimizer' is missing"):
        recipe_from_config(files[:1], gpus=16, vocab_entries=50277, compute_dtype=None, lr_schedule="neox_v1")
    (tmp_path / "b.yml").write_text(json.dumps({"num_layers": 3}))
    with pytest.raises(ConfigError, match=r"b.yml: num-layers is 3, but 2 in another file of the run"):
        recipe_from_config(files, gpus=16, vocab_entries=50277, compute_dtype=None, lr_schedule="neox_v1")


# What the cases of ../shared are: rows, precision and grid, or the key that is refused.
CASES = {
    "plain": (64, "float32", 10), "flash": (64, "float32", 10), "pipe0": (64, "float32", 10),
    "gas4": (64, "float32", 10), "pipe4": (8, "float32", 10), "bf16": (64, "bfloat16", 10),
    "log-scale": (64, "float32", 2), "file-says-gpus": "global-num-gpus", "nodropout": "hidden_dropout",
    "sgd": "optimizer.type", "lion": "optimizer.type", "local-attention": "attention_config",
    "gmlp": "attention_config", "llama-mlp": "mlp_type", "inter": "intermediate_size",
    "nobias": "use_bias_in_attn_linear", "fim": "fim-rate", "curric": "curriculum_learning",
}  # fmt: skip


@pytest.mark.shared
@pytest.mark.parametrize("name", CASES)
def test_the_cases(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    output, expected = tmp_path / "o.json", CASES[name]
    words = ["read", str(shared / "cases" / "neox" / f"{name}.yml"), "--gpus", "16", "--vocab-entries", "50277"]
    code = cli.run(neox_config.main, [*words, "--output", str(output)])
    if isinstance(expected, str):
        assert code == cli.USER_ERROR
        assert expected in capsys.readouterr().err
        assert not output.exists()
    else:
        made = read_recipe(str(output))
        assert (made.batch_rows, made.compute_dtype, len(made.checkpoint_steps)) == expected


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
