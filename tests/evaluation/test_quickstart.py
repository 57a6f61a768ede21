"""The quickstart: transformers loads a checkpoint and goes on from a prompt; one that is not whole is refused."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from workflow_scripts import cli
from workflow_scripts.evaluation.quickstart import main
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.publish import EOD, model_config, tokenizer_files
from workflow_scripts.training.recipe import recipe_of

WORDS = [EOD, "hello", "i", "am", "a", "model"]


@pytest.fixture
def checkpoint(tmp_path):
    """A random model of six words that always answers with the word after the last one."""
    torch.set_num_threads(1)
    recipe = dataclasses.replace(
        recipe_of(load_suite("pocket").model("pocket-90k")), vocab_size=len(WORDS), sequence_length=16
    )
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**model_config(recipe, "float32")))
    with torch.no_grad():
        for layer in model.gpt_neox.layers:
            layer.attention.dense.weight.zero_()
            layer.mlp.dense_4h_to_h.weight.zero_()
        model.get_output_embeddings().weight.copy_(model.gpt_neox.embed_in.weight.roll(1, 0))
    model.save_pretrained(tmp_path / "step8")
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=EOD))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "step8/tokenizer.json"))
    for name, value in tokenizer_files(16).items():
        changed = {"tokenizer_class": "PreTrainedTokenizerFast"} if "tokenizer_class" in value else {}
        (tmp_path / "step8" / name).write_text(json.dumps({**value, **changed}))
    return tmp_path / "step8"


def run(checkpoint, output, *more):
    return cli.run(main, ["--checkpoint", str(checkpoint), "--output", str(output), *more])


def test_it_goes_on_from_the_prompt_prints_and_writes(checkpoint, tmp_path, capfd):
    assert run(checkpoint, tmp_path / "q.txt", "--prompt", "hello i", "--tokens", "3") == 0
    text = (tmp_path / "q.txt").read_text()
    assert text == "hello i am a model\n"
    assert text in capfd.readouterr().out
    assert json.loads((tmp_path / "q.txt.record.json").read_text())["parameters"]["prompt"] == "hello i"


def test_fault_41_a_missing_tensor_is_refused_where_transformers_would_make_one_up(checkpoint, tmp_path, capfd):
    """A tensor is missing: refused by its name; transformers would fill it with random numbers and go on."""
    weights = load_file(checkpoint / "model.safetensors")
    del weights["gpt_neox.layers.1.mlp.dense_4h_to_h.bias"]
    save_file(weights, checkpoint / "model.safetensors", metadata={"format": "pt"})
    assert run(checkpoint, tmp_path / "q.txt", "--prompt", "hello") == 2
    assert "missing keys: gpt_neox.layers.1.mlp.dense_4h_to_h.bias" in capfd.readouterr().err
    assert not (tmp_path / "q.txt").exists()


@pytest.mark.parametrize(
    "hostile",
    [
        {"attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel"},
        {"dtype": "load", "torch_dtype": "load"},
        {"auto_map": {"AutoModelForCausalLM": "x.Y"}},
    ],
)
def test_a_checkpoint_does_not_choose_how_it_is_computed(hostile, checkpoint, tmp_path):
    """transformers would fetch the kernel of that name from the Hub and run it."""
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps({**config, **hostile}))
    assert run(checkpoint, tmp_path / "q.txt", "--prompt", "hello i", "--tokens", "3") == 0
    assert (tmp_path / "q.txt").read_text() == "hello i am a model\n"


def test_what_cannot_be_used_is_one_line(checkpoint, tmp_path, capfd):
    assert run(tmp_path / "none", tmp_path / "q.txt") == 2
    assert run(checkpoint, tmp_path / "q.txt", "--tokens", "0") == 2
    assert run(checkpoint, tmp_path / "q.txt", "--prompt", "hello " * 16) == 2
    (checkpoint / "model.safetensors").write_bytes(b"\x00" * 100)
    assert run(checkpoint, tmp_path / "q.txt") == 2
    error = capfd.readouterr().err
    assert "holds no checkpoint" in error
    assert "leaves no room" in error
    assert "transformers cannot load it" in error
    assert "Traceback" not in error
