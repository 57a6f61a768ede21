"""Which engine scores a checkpoint, by its config.json alone: every key of transformers is classified."""

from __future__ import annotations

import inspect
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workflow_scripts.errors import MissingInputError, ModelError
from workflow_scripts.evaluation.scoring.engine_choice import LM_EVAL, PREFIX_TREE, choose_engine, read_own_config
from workflow_scripts.evaluation.scoring.llama_folder import ONLY, READ, WITHOUT_EFFECT, LlamaConfig, parse_llama
from workflow_scripts.evaluation.scoring.model_folder import Shapes

SHAPE = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "vocab_size": 500, "max_position_embeddings": 64,
}  # fmt: skip


def written(folder, **more):
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **SHAPE, **more}))
    return folder


@pytest.mark.parametrize("kind", ["llama", "olmo2"])
def test_every_parameter_of_transformers_is_classified(kind):
    from transformers import CONFIG_MAPPING

    parameters = inspect.signature(CONFIG_MAPPING[kind].__init__).parameters.values()
    own = {item.name for item in parameters if item.kind in {item.KEYWORD_ONLY, item.POSITIONAL_OR_KEYWORD}} - {"self"}
    assert own <= READ | WITHOUT_EFFECT | set(ONLY)
    saved = CONFIG_MAPPING[kind](**SHAPE).to_dict()
    assert parse_llama(saved).architecture == kind


@pytest.mark.parametrize("kind", ["llama", "olmo2"])
@pytest.mark.parametrize("tied", [False, True])
def test_names_and_shapes_are_those_of_transformers(tmp_path, kind, tied):
    import torch
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    changes = {"tie_word_embeddings": tied, "head_dim": 10}
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**SHAPE, **changes))
    expected = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    found = Shapes(read_own_config(written(tmp_path, model_type=kind, **changes)))
    assert dict(found) == expected
    assert len(found) == len(expected)
    assert found.elements == sum(weight.numel() for weight in model.parameters())
    assert "model.layers.2.mlp.up_proj.weight" not in found
    assert "gpt_neox.layers.0.mlp.up_proj.weight" not in found


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attention_bias": True}, "attention_bias is True, only False is understood"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu', only 'silu' is understood"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rotary positions of the type 'llama3'"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, "of the type 'linear'"),
        ({"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}}, "are not understood"),
        ({"rope_parameters": {"rope_theta": 1e4}, "rope_scaling": {"type": "default"}}, "expected one object"),
        ({"rope_interleaved": True}, "rope_interleaved is True"),
        ({"quantization_config": {"bits": 4}}, "quantization_config is"),
        ({"sliding_window": 32}, "sliding_window is not understood"),
        ({"hidden_size": 34}, "do not fit together"),
        ({"num_key_value_heads": 3}, "do not fit together"),
        ({"head_dim": 7}, "do not fit together"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0, expected a whole number"),
        ({"rms_norm_eps": 0}, "rms_norm_eps is 0, expected a finite number above 0"),
    ],
)
def test_what_ours_does_not_understand_goes_to_lm_eval_with_the_reason(tmp_path, changes, reason):
    folder = written(tmp_path, **changes)
    choice = choose_engine(folder, "llama")
    assert (choice.engine, choice.context, choice.vocabulary) == (LM_EVAL, 64, 500)
    assert reason in choice.reason
    assert str(tmp_path) not in choice.reason
    with pytest.raises(ModelError, match="leave out --engine"):
        choose_engine(folder, "llama", PREFIX_TREE)
    with pytest.raises(ModelError, match="the prefix-tree engine cannot compute this checkpoint"):
        read_own_config(folder)


def test_ours_is_chosen_where_everything_is_understood(tmp_path):
    said = {"architectures": ["LlamaForCausalLM"], "pretraining_tp": 1, "_name_or_path": "x", "rope_scaling": None}
    choice = choose_engine(written(tmp_path, **said), "llama")
    assert (choice.engine, choice.reason, choice.context, choice.vocabulary) == (PREFIX_TREE, "", 64, 500)
    assert choose_engine(tmp_path, "llama", LM_EVAL).reason == "it was asked for"
    config = read_own_config(tmp_path)
    assert isinstance(config, LlamaConfig)
    assert (config.key_heads, config.head_size, config.rotary_base, config.norm_eps) == (2, 8, 10000, 1e-6)
    (tmp_path / "config.json").unlink()
    with pytest.raises(MissingInputError, match=r"has no config\.json"):
        read_own_config(tmp_path)


def test_context_and_vocabulary_of_others_are_where_lm_eval_looks(tmp_path):
    nested = {"max_position_embeddings": 77, "vocab_size": 9}
    for changes, found in (
        ({"n_positions": 50}, (50, 500)),
        ({"text_config": nested}, (77, 9)),
        ({"max_position_embeddings": None, "n_ctx": 12}, (12, 500)),
        ({"max_position_embeddings": None, "vocab_size": None}, (None, None)),
    ):
        choice = choose_engine(written(tmp_path, model_type="mistral", **changes), "mistral")
        assert (choice.context, choice.vocabulary) == found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(st.dictionaries(st.sampled_from(sorted(READ - {"model_type"} | set(ONLY))), JSON, max_size=4))
def test_any_json_is_understood_or_refused(changes):
    try:
        config = parse_llama({"model_type": "olmo2", **SHAPE, **changes})
    except ValueError as error:
        assert str(error)
    else:
        assert config.heads % config.key_heads == 0
        assert config.rotary_base > 0
