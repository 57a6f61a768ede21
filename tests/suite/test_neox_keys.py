"""Every key of GPT-NeoX's own argument tables is read, without effect, or fixed; every silent default is theirs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workflow_scripts.errors import ConfigError, PipelineError
from workflow_scripts.suite.neox_keys import ERAS, FIXED, NEUTRAL, UNDERSTOOD, is_neutral
from workflow_scripts.training.neox.neox_recipe import SILENT, SILENT_BY_ERA, recipe_from_config

TABLE = {
    row[0]: {version: json.loads(text) for version, text in zip(("v1.0", "main"), row[1:], strict=True) if text != "-"}
    for line in (Path(__file__).parent / "neox_arguments.tsv").read_text(encoding="utf-8").splitlines()[3:]
    for row in [line.split("\t")]
}
# Keys of versions between the two tables, or before the first.
OTHER_VERSIONS = {"mlp_type", "save_interval"}
# Read for the order of the rows; a recipe does not say where the data are.
OF_THE_DATA = {"data_path", "split", "train_data_paths", "eval_interval", "eval_iters"}
PLAIN: dict[str, Any] = {
    "num_layers": 2,
    "hidden_size": 32,
    "num_attention_heads": 4,
    "seq_length": 64,
    "max_position_embeddings": 64,
    "pos_emb": "rotary",
    "rotary_pct": 0.25,
    "no_weight_tying": True,
    "gpt_j_residual": True,
    "bias_gelu_fusion": True,
    "optimizer": {"type": "Adam", "params": {"lr": 0.001, "betas": [0.9, 0.95], "eps": 1e-8}},
    "train_micro_batch_size_per_gpu": 4,
    "gradient_clipping": 1.0,
    "weight_decay": 0.1,
    "hidden_dropout": 0,
    "attention_dropout": 0,
    "train_iters": 100,
    "lr_decay_style": "cosine",
    "checkpoint_factor": 10,
}
VALUES = (
    True,
    False,
    "false",
    2,
    3,
    0.5,
    "x",
    [1, 7],
    {"enabled": True},
    {"type": "Lion"},
    "log",
    "bfloat16",
    "wang_init",
)


def read(folder: Path, values: dict[str, Any], era: str = ERAS[0]) -> dict[str, Any]:
    path = folder / "c.yml"
    path.write_text(json.dumps(values))
    recipe = recipe_from_config(path, gpus=16, vocab_entries=500, compute_dtype=None, lr_schedule=era)
    return recipe.to_json()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("neox")


@pytest.mark.parametrize("key", sorted({*TABLE, *FIXED, *UNDERSTOOD, *NEUTRAL}))
def test_every_key_is_in_one_list_and_every_list_has_only_keys(key: str) -> None:
    assert (key in FIXED) + (key in UNDERSTOOD) + is_neutral(key) == 1
    assert key in TABLE or key in OTHER_VERSIONS
    assert not (key in NEUTRAL and (key in FIXED or key in UNDERSTOOD))


@pytest.mark.parametrize("key", sorted(key for key in TABLE if is_neutral(key)))
def test_a_neutral_key_changes_no_recipe(folder: Path, key: str) -> None:
    assert all(read(folder, {**PLAIN, key: value}) == read(folder, PLAIN) for value in VALUES[::4])


@pytest.mark.parametrize("key", sorted(FIXED))
def test_a_fixed_key_is_refused_by_name(folder: Path, key: str) -> None:
    for value in VALUES:
        if not FIXED[key].permits(value):
            with pytest.raises(PipelineError, match=rf"{key} is "):
                read(folder, {**PLAIN, key: value})
    for value in FIXED[key].allowed:
        assert read(folder, {**PLAIN, key: value}) == read(folder, PLAIN)


@pytest.mark.parametrize("key", sorted(UNDERSTOOD - OF_THE_DATA))
def test_a_key_that_is_read_decides_something(folder: Path, key: str) -> None:
    """Each value that is not GPT-NeoX's own is refused, or some value of it gives another recipe."""
    plain, seen = read(folder, PLAIN), []
    for value in VALUES:
        try:
            seen.append(read(folder, {**PLAIN, key: value}) != plain)
        except PipelineError:
            seen.append(True)
    assert any(seen)


@pytest.mark.parametrize(("version", "place"), [("v1.0", 0), ("main", -1)])
def test_silence_means_what_it_means_to_gpt_neox(version: str, place: int) -> None:
    for key, entry in FIXED.items():
        if version not in TABLE.get(key, {}):
            continue
        default = TABLE[key][version]
        if entry.silent:
            assert entry.silent[place] == default, key
        else:
            assert default is None or entry.permits(default), key
    assert all(TABLE[key][version] == value for key, value in SILENT.items())
    for key, by_era in SILENT_BY_ERA.items():
        assert by_era[place] in {None, TABLE[key][version]}, key


@given(st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=30))
@settings(deadline=None, max_examples=100)
def test_an_unknown_key_is_refused_by_name(tmp_path_factory: pytest.TempPathFactory, key: str) -> None:
    if key in FIXED or key in UNDERSTOOD or is_neutral(key):
        return
    with pytest.raises(ConfigError, match=f"unknown key '{key.replace('_', '-')}'"):
        read(tmp_path_factory.mktemp("k"), {**PLAIN, key: 1})


def test_defaults_that_changed_must_be_said(folder: Path) -> None:
    for key, era in itertools.product(("hidden_dropout", "weight_decay", "gradient_clipping"), ERAS):
        values = {name: value for name, value in PLAIN.items() if name != key}
        said = {("hidden_dropout", ERAS[2]): 0, ("weight_decay", ERAS[0]): 0.01, ("weight_decay", ERAS[2]): 0.1,
                ("gradient_clipping", ERAS[1]): 1.0, ("gradient_clipping", ERAS[2]): 1.0}.get((key, era))  # fmt: skip
        if said is None:
            with pytest.raises(PipelineError, match=key.replace("_", "[-_]")):
                read(folder, values, era)
        else:
            assert read(folder, values, era) == read(folder, {**values, key: said}, era)
