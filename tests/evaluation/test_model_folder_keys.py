"""Every parameter of transformers' GPTNeoXConfig is read, held to one value, or without effect on scores."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from workflow_scripts.errors import ModelError
from workflow_scripts.evaluation.scoring.model_folder import ONLY, read_config

READ = {
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "hidden_act",
    "layer_norm_eps",
    "tie_word_embeddings",
    "use_parallel_residual",
    "rope_parameters",
}
WITHOUT_EFFECT = {
    "attention_dropout",
    "hidden_dropout",
    "classifier_dropout",
    "initializer_range",
    "use_cache",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
}


def written(folder: Path, **more: Any) -> Path:
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
    content = {**shape, "vocab_size": 500, "max_position_embeddings": 64, **more}
    (folder / "config.json").write_text(json.dumps(content))
    return folder


def test_every_parameter_of_transformers_is_classified() -> None:
    from transformers import GPTNeoXConfig

    parameters = inspect.signature(GPTNeoXConfig.__init__).parameters.values()
    own = {item.name for item in parameters if item.kind is item.KEYWORD_ONLY}
    assert own == READ | WITHOUT_EFFECT | {"attention_bias", "is_decoder"}
    assert {"attention_bias", "is_decoder"} <= set(ONLY)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attention_bias", False),
        ("attention_bias", "true"),
        ("is_decoder", True),
        ("quantization_config", {"load_in_4bit": True}),
        ("pruned_heads", {"0": [1]}),
    ],
)
def test_what_changes_the_model_is_refused_by_name(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(ModelError, match=rf"{key} is .*; only {ONLY[key]} is scored here"):
        read_config(written(tmp_path, **{key: value}))
    assert read_config(written(tmp_path, **{key: ONLY[key]})) == read_config(written(tmp_path))
    assert read_config(written(tmp_path, pruned_heads={})) == read_config(written(tmp_path))
