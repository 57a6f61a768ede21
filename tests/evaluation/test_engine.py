"""The engine equals transformers' GPT-NeoX on every scored token, and refuses broken checkpoints by name."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from evaluation_worlds import save_model
from safetensors.torch import load_file, save_file

from workflow_scripts.errors import EvaluationError, MissingInputError, ModelError
from workflow_scripts.evaluation.engine import output_head
from workflow_scripts.evaluation.engine.engine import Engine
from workflow_scripts.evaluation.planning.prefix_trees import ScoredSequence, pack


def sequences(count=30, longest=40, vocabulary=512, seed=0):
    """Random sequences with shared beginnings and a few scored tokens each."""
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(0, vocabulary, rng.integers(1, longest)) for _ in range(count // 3)]
    made = []
    for number in range(count):
        tokens = np.concatenate([prompts[number % len(prompts)], rng.integers(0, vocabulary, 1 + number % 6)])
        made.append(ScoredSequence(tokens.astype(np.int32), len(prompts[number % len(prompts)]) - 1, number // 3))
    return made


def reference(model, sequence):
    """Log-probabilities and greedy flags of the scored tokens by transformers, one sequence at a time."""
    with torch.no_grad():
        logits = model(torch.from_numpy(sequence.tokens[None, :-1].astype(np.int64))).logits[0].float()
    logs = torch.log_softmax(logits, -1)[sequence.start :]
    targets = torch.from_numpy(sequence.tokens[sequence.start + 1 :].astype(np.int64))
    return logs.gather(1, targets[:, None])[:, 0].numpy(), (logs.argmax(-1) == targets).numpy()


def compare(folder, model, made, tolerance=2e-5, **options):
    """Largest difference between engine and transformers over all scored tokens."""
    forest = pack(made)
    values, best = Engine(folder).score(forest, **options)
    for number, sequence in enumerate(made):
        edges = forest.piece_edge[forest.piece_start[number] : forest.piece_start[number + 1]]
        logs, greedy = reference(model, sequence)
        np.testing.assert_allclose(values[edges], logs, atol=tolerance, rtol=2e-6)
        assert (best[edges] == greedy).all()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"use_parallel_residual": False},
        {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
        {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 1.0, "rope_theta": 500.0}},
        {"tie_word_embeddings": True, "num_hidden_layers": 1},
    ],
    ids=["pythia", "sequential", "gelu_new", "full rotary", "tied, one layer"],
)
def test_equals_transformers(tmp_path, tokenizer_file, settings):
    model = save_model(tmp_path, tokenizer_file, 1, **settings)
    compare(tmp_path, model, sequences())


@pytest.mark.parametrize("tokens", [1, 100, 5000])
def test_batch_size_does_not_matter(tmp_path, tokenizer_file, tokens):
    model = save_model(tmp_path, tokenizer_file, 2)
    compare(tmp_path, model, sequences(seed=3), tokens=tokens)


def test_more_slots_than_one_product_takes(tmp_path, tokenizer_file, monkeypatch):
    monkeypatch.setitem(output_head.ROWS, "cpu", 7)
    monkeypatch.setitem(output_head.COLUMNS, "cpu", 100)
    model = save_model(tmp_path, tokenizer_file, 2)
    compare(tmp_path, model, sequences(seed=4))


def test_a_tie_goes_to_the_lowest_token(copy_of):
    folder = copy_of("step1")
    weights = load_file(folder / "model.safetensors")
    weights["embed_out.weight"][:] = weights["embed_out.weight"][0]  # all logits equal
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    made = [
        ScoredSequence(np.array([5, 0], dtype=np.int32), 0, 0),
        ScoredSequence(np.array([5, 9], dtype=np.int32), 0, 1),
    ]
    forest = pack(made)
    values, best = Engine(folder).score(forest)
    assert best[forest.piece_edge].tolist() == [True, False]
    np.testing.assert_allclose(values, -np.log(512), rtol=1e-5)


def test_old_bin_files_with_buffers_give_the_same_numbers(copy_of, checkpoint):
    folder = copy_of("step2")
    weights = load_file(folder / "model.safetensors")
    for layer in range(2):
        prefix = f"gpt_neox.layers.{layer}.attention."
        weights[f"{prefix}bias"] = torch.ones(1, 1, 128, 128, dtype=torch.bool)
        weights[f"{prefix}masked_bias"] = torch.tensor(-1e9)
        weights[f"{prefix}rotary_emb.inv_freq"] = torch.zeros(1)
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    config = json.loads((folder / "config.json").read_text())
    del config["rope_parameters"]
    (folder / "config.json").write_text(json.dumps(config | {"rotary_pct": 0.25, "rotary_emb_base": 10000}))
    forest = pack(sequences(seed=5))
    assert np.array_equal(Engine(folder).score(forest)[0], Engine(checkpoint).score(forest)[0])


def test_shards_named_by_an_index(copy_of, checkpoint):
    folder = copy_of("step3")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file)
    index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    forest = pack(sequences(seed=6))
    assert np.array_equal(Engine(folder).score(forest)[0], Engine(checkpoint).score(forest)[0])
    (folder / "model-2.safetensors").unlink()
    with pytest.raises(MissingInputError, match=r"model-2\.safetensors"):
        Engine(folder)


def change(folder, edit):
    """Rewrite the weights of ``folder`` after ``edit`` changed them in place."""
    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_missing_unexpected_and_misshapen_tensors_are_named(copy_of):
    folder = copy_of("step5")
    change(folder, lambda weights: weights.pop("gpt_neox.layers.1.mlp.dense_h_to_4h.bias"))
    with pytest.raises(ModelError, match=r"step5: tensors missing .*layers\.1\.mlp\.dense_h_to_4h\.bias"):
        Engine(folder)
    folder = copy_of("step6")
    change(folder, lambda weights: weights.update(extra=torch.zeros(2)))
    with pytest.raises(ModelError, match=r"does not call for: extra"):
        Engine(folder)
    folder = copy_of("step7")
    change(folder, lambda weights: weights.update({"embed_out.weight": torch.zeros(500, 32)}))
    with pytest.raises(ModelError, match=r"embed_out\.weight is \(500, 32\)"):
        Engine(folder)


@pytest.mark.parametrize(
    ("tensor", "where"),
    [
        ("gpt_neox.embed_in.weight", "the embedding"),
        ("gpt_neox.layers.1.attention.dense.bias", "layer 1 of 2"),
        ("embed_out.weight", "the final norm or the output matrix"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_stop_with_the_layer(copy_of, tensor, where, value):
    folder = copy_of("step8")
    change(folder, lambda weights: weights[tensor].fill_(value))
    with pytest.raises(EvaluationError, match=f"step8: logits that are not finite, first in {where}"):
        Engine(folder).score(pack(sequences()))


def test_damaged_files_are_named(copy_of):
    folder = copy_of("step9")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"model\.safetensors: damaged"):
        Engine(folder)
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(ModelError, match=r"model\.safetensors: damaged"):
        Engine(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingInputError, match="neither"):
        Engine(folder)
    for content in (b"", b"PK\x03\x04 cut", b"\x80\x02}q\x00."):
        (folder / "pytorch_model.bin").write_bytes(content)
        with pytest.raises(ModelError, match=r"pytorch_model\.bin|tensors missing"):
            Engine(folder)


MALICIOUS = """
import sys, torch
class Bomb:
    def __reduce__(self):
        import os
        return os.mkdir, (sys.argv[2],)
torch.save({"gpt_neox.embed_in.weight": Bomb()}, sys.argv[1])
"""


def test_code_in_a_bin_file_is_not_run(copy_of, tmp_path):
    folder = copy_of("step10")
    (folder / "model.safetensors").unlink()
    trap = tmp_path / "trap"
    command = [sys.executable, "-c", MALICIOUS, str(folder / "pytorch_model.bin"), str(trap)]
    subprocess.run(command, check=True)
    with pytest.raises(ModelError, match=r"pytorch_model\.bin: not readable as plain weights"):
        Engine(folder)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("change_to", "message"),
    [
        ({"model_type": "llama"}, "is not understood; the prefix-tree engine cannot"),
        ({"model_type": "mistral"}, "the prefix-tree engine does not know 'mistral'"),
        ({"hidden_act": "swish"}, "hidden_act is 'swish'"),
        ({"hidden_size": None}, "not a GPT-NeoX configuration"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "is not supported"),
    ],
)
def test_other_models_are_refused(copy_of, change_to, message):
    folder = copy_of("step11")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | change_to))
    with pytest.raises(ModelError, match=message):
        Engine(folder)


def test_no_config_and_no_cuda(tmp_path, checkpoint, monkeypatch):
    with pytest.raises(MissingInputError, match=r"no config\.json"):
        Engine(tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="no CUDA device"):
        Engine(checkpoint, "cuda")


def test_half_precision_runs_with_a_float32_softmax(checkpoint):
    forest = pack(sequences(seed=7))
    exact = Engine(checkpoint).score(forest)[0]
    rough = Engine(checkpoint, dtype=torch.bfloat16).score(forest)[0]
    assert rough.dtype == np.float32
    assert 0 < np.abs(rough - exact).max() < 2.0
