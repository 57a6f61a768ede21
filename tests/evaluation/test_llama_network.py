"""Llama and OLMo-2 in our engine equal transformers' models on every scored token, over random small configurations."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from evaluation_worlds import TASKS, save_other_model, stock_evaluation
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_engine import compare, sequences
from test_stock_parity import equal_metrics

from workflow_scripts.errors import EvaluationError, ModelError
from workflow_scripts.evaluation import crosscheck
from workflow_scripts.evaluation import score as scorer
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.planning.plan_file import read_plan
from workflow_scripts.evaluation.planning.prefix_trees import pack
from workflow_scripts.evaluation.scoring.results import read_answers, read_results

KINDS = ("llama", "olmo2")


@st.composite
def shapes(draw):
    """Keys of config.json that decide the numbers: heads that share keys, heads of their own width, tied or not."""
    heads = draw(st.sampled_from([1, 2, 4, 6]))
    own_width = draw(st.booleans())
    return {
        "num_attention_heads": heads,
        "num_key_value_heads": draw(st.sampled_from([count for count in (1, 2, 3, 4, 6) if heads % count == 0])),
        "hidden_size": heads * (6 if own_width else 2 * draw(st.integers(1, 8))),
        **({"head_dim": 2 * draw(st.integers(1, 9))} if own_width else {}),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "intermediate_size": draw(st.integers(1, 70)),
        "tie_word_embeddings": draw(st.booleans()),
        "rms_norm_eps": draw(st.sampled_from([1e-6, 1e-5, 1e-3])),
        "rope_parameters": {"rope_type": "default", "rope_theta": draw(st.sampled_from([100.0, 10000.0, 500000.0]))},
    }


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shape=shapes(), seed=st.integers(0, 99))
def test_any_shape_equals_transformers(tmp_path_factory, tokenizer_file, kind, shape, seed):
    """To 2e-5 nats, and 2e-6 of the log-probability, in float32."""
    folder = tmp_path_factory.mktemp("any")
    model = save_other_model(folder, tokenizer_file, seed, kind, **shape)
    compare(folder, model, sequences(seed=seed))


@pytest.mark.filterwarnings("ignore:flex_attention called without")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", ["blocks", "stretches", "flex"])
def test_each_way_of_attention_and_long_rows(tmp_path, tokenizer_file, kind, way):
    model = save_other_model(tmp_path, tokenizer_file, 3, kind)
    made = sequences(count=60, longest=100, seed=7)
    forest = pack(made)
    engine = Engine(tmp_path, attention="flex" if way == "flex" else "sdpa")
    if way == "stretches":
        engine.network.attention = "stretches"
    values, _ = engine.score(forest)
    compare(tmp_path, model, made)
    np.testing.assert_allclose(values, Engine(tmp_path).score(forest)[0], atol=3e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_near(tmp_path, tokenizer_file, kind):
    save_other_model(tmp_path, tokenizer_file, 3, kind)
    forest = pack(sequences(seed=5))
    exact = Engine(tmp_path).score(forest)[0]
    assert np.abs(Engine(tmp_path, dtype=torch.bfloat16).score(forest)[0] - exact).mean() < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_old_files_with_the_frequencies_beside_the_weights(tmp_path, tokenizer_file, kind):
    save_other_model(tmp_path, tokenizer_file, 4, kind)
    forest = pack(sequences(seed=5))
    expected = Engine(tmp_path).score(forest)[0]
    weights = load_file(tmp_path / "model.safetensors")
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(4)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((tmp_path / "config.json").read_text())
    theta = config.pop("rope_parameters")["rope_theta"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "rope_theta": theta, "rope_scaling": None}))
    assert np.array_equal(Engine(tmp_path).score(forest)[0], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_broken_weights_are_named(tmp_path, tokenizer_file, kind):
    save_other_model(tmp_path, tokenizer_file, 4, kind)
    weights = load_file(tmp_path / "model.safetensors")
    bad = {**weights, "model.layers.1.mlp.down_proj.weight": weights["model.layers.1.mlp.down_proj.weight"] * torch.nan}
    save_file(bad, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(EvaluationError, match="first in layer 1 of 2"):
        Engine(tmp_path).score(pack(sequences()))
    bad.pop("model.layers.1.mlp.down_proj.weight")
    save_file(bad, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"tensors missing from the weights: model\.layers\.1\.mlp\.down_proj\.weight"):
        Engine(tmp_path)
    save_file({**weights, "model.extra.weight": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match=r"does not call for: model\.extra\.weight"):
        Engine(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", [(kind, shots) for kind in KINDS for shots in (0, 5)], ids=str)
def test_scores_equal_stock_lm_evals(tmp_path, tokenizer_file, task_data, plan_file, case):
    """The program chooses our engine, and its results are those of lm-eval as a user calls it."""
    kind, shots = case
    folder, output = tmp_path / "tiny" / "step4", tmp_path / "scores" / f"{shots}-shot.json"
    save_other_model(folder, tokenizer_file, 5, kind)
    arguments = ["--checkpoint", str(folder), "--plan", str(plan_file(shots)), "--output", str(output)]
    scorer.main([*arguments, "--architecture", kind])
    config = read_results(output)["config"]
    assert (config["model"], type(config["engine"])) == (kind, int)
    plan = read_plan(plan_file(shots))
    stock = stock_evaluation(folder, plan, shots, task_data)
    assert equal_metrics(read_results(output), stock) >= 4
    ours = read_answers(output, plan)
    for task in plan.header["tasks"]:
        theirs = crosscheck.stock_answers(task, sorted(stock["samples"][task["name"]], key=lambda one: one["doc_id"]))
        np.testing.assert_allclose(ours.of_task(task).loglikelihood, theirs.loglikelihood, atol=1e-4, rtol=1e-6)


def test_the_cross_check_accepts_it(tmp_path, tokenizer_file, task_data):
    folder, output = tmp_path / "tiny" / "step4", tmp_path / "crosscheck.json"
    save_other_model(folder, tokenizer_file, 5, "llama")
    data = ["--data-dir", str(task_data), "--limit", "3", "--output", str(output)]
    crosscheck.main(["--checkpoint", str(folder), "--architecture", "llama", "--tasks", *TASKS, *data])
    assert 0 < json.loads(output.read_text())["largest_difference"] <= 1e-4
