"""Conversions between GPT-NeoX's folders and Hugging Face's: exact both ways, and the same model on the other side."""

import json
import os
import pickle
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from workflow_scripts import cli
from workflow_scripts.errors import MissingInputError, ModelError
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training import convert
from workflow_scripts.training.neox import neox_files
from workflow_scripts.training.neox.conversions import ROTARY, merge, parts, split
from workflow_scripts.training.neox.neox_files import layer_file, load, open_neox, rank_file
from workflow_scripts.training.publish import model_config
from workflow_scripts.training.recipe import recipe_of
from workflow_scripts.training.tensor_shapes import layer_prefix, tensor_shapes
from workflow_scripts.training.weight_files import HuggingFaceWeights

MODEL = load_suite("pocket").model("pocket-90k")
SHAPES = tensor_shapes(MODEL.layers, MODEL.hidden_size, MODEL.vocab_size)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def reference():
    """Transformers' own model with random weights, every tensor away from its initial value."""
    torch.manual_seed(3)
    model = GPTNeoXForCausalLM(GPTNeoXConfig(**model_config(recipe_of(MODEL), "float32"))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(params=[torch.float32, torch.float16, torch.bfloat16], ids=["float32", "float16", "bfloat16"])
def folder(request, reference, tmp_path):
    """A Hugging Face folder that transformers itself has written."""
    made = GPTNeoXForCausalLM(reference.config)
    made.load_state_dict(reference.state_dict())
    made.to(request.param).save_pretrained(tmp_path / "hf")
    return tmp_path / "hf"


def run(*arguments):
    return cli.run(convert.main, ["--suite", "pocket", "--model", MODEL.name, *map(str, arguments)])


def to_neox(folder, target, ranks):
    return run("--to", "neox", "--input", folder, "--output", target, "--tensor-parallel", ranks, "--step", 64)


def same(first, second):
    return first.keys() == second.keys() and all(
        torch.equal(first[name].view(torch.uint8), second[name].view(torch.uint8)) for name in first
    )


def test_names_and_shapes_are_those_of_transformers(folder):
    written = load_file(folder / "model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in written.items()} == SHAPES


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_there_and_back_is_exact(folder, tmp_path, ranks):
    assert to_neox(folder, tmp_path / "neox", ranks) == 0
    assert run("--to", "hf", "--input", tmp_path / "neox", "--output", tmp_path / "back") == 0
    assert same(load_file(folder / "model.safetensors"), load_file(tmp_path / "back/model.safetensors"))


def test_the_other_layout_of_the_trainer_is_read(folder, tmp_path):
    assert to_neox(folder, tmp_path / "neox", 2) == 0
    (tmp_path / "one").mkdir()
    for rank in range(2):
        shares = {part.index: open_neox(tmp_path / "neox").share(part.index, rank) for part in parts(MODEL.layers)}
        module = {f"sequential.{i}.{n}": t.clone() for i, share in shares.items() for n, t in share.items()}
        # As the trainer does, with the random state of numpy beside the weights.
        content = {"module": module, "np_rng_state": np.random.RandomState(0).get_state(), "iteration": 64}
        torch.save(content, tmp_path / "one" / rank_file(rank))
    assert run("--to", "hf", "--input", tmp_path / "one", "--output", tmp_path / "back") == 0
    assert same(load_file(folder / "model.safetensors"), load_file(tmp_path / "back/model.safetensors"))


def test_transformers_loads_the_result_whole_with_the_same_logits(reference, tmp_path):
    reference.save_pretrained(tmp_path / "hf")
    tokenizer = tmp_path / "t.json"
    tokenizer.write_text('{"model": {"vocab": {}}}')
    assert to_neox(tmp_path / "hf", tmp_path / "neox", 4) == 0
    more = ("--tokenizer", tokenizer)
    assert run("--to", "hf", "--input", tmp_path / "neox", "--output", tmp_path / "back", *more) == 0
    loaded, info = GPTNeoXForCausalLM.from_pretrained(
        tmp_path / "back", output_loading_info=True, local_files_only=True, dtype=torch.float32
    )
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    tokens = torch.arange(40).reshape(2, 20)
    with torch.inference_mode():
        assert torch.equal(loaded(tokens).logits, reference(tokens).logits)
    assert json.loads((tmp_path / "back/config.json").read_text())["torch_dtype"] == "float32"
    assert (tmp_path / "back/tokenizer.json").read_bytes() == tokenizer.read_bytes()


def rank_attention(share, hidden, heads, rotary):
    """Attention of one rank as GPT-NeoX computes it: its own heads, its own columns, its own summand of the bias."""
    rows, length, _ = hidden.shape
    packed = functional.linear(
        hidden, share["attention.query_key_value.weight"], share["attention.query_key_value.bias"]
    ).view(rows, length, heads, 3, -1)
    query, key, value = (packed[:, :, :, kind].transpose(1, 2) for kind in range(3))
    cosines, sines = rotary
    half = cosines.shape[-1]

    def turn(states):
        first, second, rest = states[..., :half], states[..., half : 2 * half], states[..., 2 * half :]
        return torch.cat([first * cosines - second * sines, second * cosines + first * sines, rest], dim=-1)

    mixed = functional.scaled_dot_product_attention(turn(query), turn(key), value, is_causal=True)
    return functional.linear(
        mixed.transpose(1, 2).reshape(rows, length, -1), share["attention.dense.weight"], share["attention.dense.bias"]
    )


@pytest.mark.parametrize("ranks", [2, 4])
def test_the_ranks_together_compute_what_the_model_computes(reference, ranks):
    state = {name.replace("lm_head", "embed_out"): tensor for name, tensor in reference.state_dict().items()}
    part = next(part for part in parts(MODEL.layers) if part.is_layer)
    shares = split(part, {name: state[name] for name in part.names.values()}, ranks)
    hidden = torch.randn(2, 12, MODEL.hidden_size)
    layer = reference.gpt_neox.layers[0]
    half = MODEL.head_size // 4 // 2
    angles = torch.arange(12)[:, None] * (10000.0 ** -(torch.arange(half) * 2 / (2 * half)))[None, :]
    with torch.inference_mode():
        normed = layer.input_layernorm(hidden)
        rotary = (angles.cos(), angles.sin())
        attended = sum(rank_attention(share, normed, MODEL.heads // ranks, rotary) for share in shares)
        again = layer.post_attention_layernorm(hidden)
        fed = sum(
            functional.linear(
                functional.gelu(functional.linear(again, s["mlp.dense_h_to_4h.weight"], s["mlp.dense_h_to_4h.bias"])),
                s["mlp.dense_4h_to_h.weight"],
                s["mlp.dense_4h_to_h.bias"],
            )
            for s in shares
        )
        places = torch.arange(12)[None]
        expected = layer(hidden, position_embeddings=reference.gpt_neox.rotary_emb(hidden, places), attention_mask=None)
    expected = expected[0] if isinstance(expected, tuple) else expected
    # transformers without a mask and with more than one position attends causally.
    torch.testing.assert_close(hidden + attended + fed, expected, rtol=0, atol=2e-5)


def test_biases_of_the_ranks_are_added_and_norms_averaged():
    part = next(part for part in parts(1) if part.is_layer)
    shares = [
        {name: torch.full((4, 4) if name.endswith("weight") and "norm" not in name else (4,), float(rank + 1))
         for name in part.names}
        for rank in range(2)
    ]  # fmt: skip
    merged = merge(part, shares, "x")
    prefix = layer_prefix(0)
    assert merged[f"{prefix}attention.dense.bias"].tolist() == [3.0] * 4
    assert merged[f"{prefix}input_layernorm.weight"].tolist() == [1.5] * 4
    assert merged[f"{prefix}attention.dense.weight"].shape == (4, 8)
    assert merged[f"{prefix}attention.query_key_value.bias"].tolist() == [1.0] * 4 + [2.0] * 4


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([1, 2, 4]), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_any_float16_bits_survive_splitting_and_merging(ranks, layers, seed):
    """All bit patterns that are numbers: subnormals, infinities, both zeros."""
    random = np.random.RandomState(seed)
    for part in parts(layers):
        shapes = {name: tensor_shapes(layers, 8, 16)[name] for name in part.names.values()}
        bits = {name: random.randint(0, 1 << 16, shape).astype(np.uint16) for name, shape in shapes.items()}
        tensors = {name: torch.from_numpy(b.view(np.float16).copy()).nan_to_num(nan=1.0) for name, b in bits.items()}
        merged = merge(part, split(part, tensors, ranks), "x")
        assert all(torch.equal(merged[name], tensors[name]) for name in tensors)


def test_files_are_named_and_filled_as_the_trainer_does(reference, tmp_path):
    reference.save_pretrained(tmp_path / "hf")
    assert to_neox(tmp_path / "hf", tmp_path / "neox", 2) == 0
    inner = tmp_path / "neox/global_step64"
    indices = [0, 2, 3, 5, 6]
    wanted = {layer_file(index, rank) for index in indices for rank in range(2)} | {rank_file(0), rank_file(1)}
    assert {path.name for path in inner.iterdir()} == wanted
    assert (tmp_path / "neox/latest").read_text() == "global_step64"
    layer = load(inner / layer_file(2, 1))
    assert layer["attention.query_key_value.weight"].shape == (3 * 32 // 2, 32)
    assert layer[ROTARY].dtype == torch.float16
    assert not layer["attention.dense.bias"].any()
    # A share is saved with its own memory, not with that of the whole tensor.
    whole = SHAPES["gpt_neox.embed_in.weight"][0] * 32 * 4
    assert (inner / layer_file(0, 0)).stat().st_size < 0.6 * whole


def test_sharded_and_old_files_are_read(reference, tmp_path):
    state = {name.replace("lm_head", "embed_out"): t.contiguous() for name, t in reference.state_dict().items()}
    names = sorted(state)
    for folder in ("sharded", "old"):
        (tmp_path / folder).mkdir()
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, chosen in shards.items():
        save_file({name: state[name] for name in chosen}, tmp_path / "sharded" / file)
    index = {"weight_map": {name: file for file, chosen in shards.items() for name in chosen}}
    (tmp_path / "sharded/model.safetensors.index.json").write_text(json.dumps(index))
    torch.save(state, tmp_path / "old/pytorch_model.bin")
    for folder in ("sharded", "old"):
        weights = HuggingFaceWeights(tmp_path / folder)
        assert all(torch.equal(weights.tensor(name), state[name]) for name in SHAPES)
    (tmp_path / "sharded/b.safetensors").unlink()
    with pytest.raises(MissingInputError, match=r"shards b\.safetensors are missing"):
        HuggingFaceWeights(tmp_path / "sharded")


def test_no_more_than_one_part_is_in_memory(reference, tmp_path, monkeypatch):
    reference.save_pretrained(tmp_path / "hf")
    assert to_neox(tmp_path / "hf", tmp_path / "neox", 2) == 0
    alive, most = [], []

    def counted(self, index, rank, inner=neox_files.PipelineFiles.share):
        found = inner(self, index, rank)
        alive.extend((index, weakref.ref(tensor)) for tensor in found.values())
        most.append({part for part, reference in alive if reference() is not None})
        return found

    monkeypatch.setattr(neox_files.PipelineFiles, "share", counted)
    assert run("--to", "hf", "--input", tmp_path / "neox", "--output", tmp_path / "back") == 0
    assert len(most) == 1 + 2 * (MODEL.layers + 3)
    assert max(map(len, most)) <= 2, "one part and at most the one that is being replaced"


def test_a_failed_conversion_leaves_no_file(reference, tmp_path, capfd):
    reference.save_pretrained(tmp_path / "hf")
    assert to_neox(tmp_path / "hf", tmp_path / "neox", 2) == 0
    (tmp_path / "neox/global_step64" / layer_file(3, 1)).unlink()
    assert run("--to", "hf", "--input", tmp_path / "neox", "--output", tmp_path / "back") == 2
    assert "layer_03 of rank 1 is missing" in capfd.readouterr().err
    assert not list((tmp_path / "back").glob("*")) if (tmp_path / "back").exists() else True


def damaged(tmp_path, reference, change):
    """Convert after ``change`` has been made to one layer file."""
    reference.save_pretrained(tmp_path / "hf")
    assert to_neox(tmp_path / "hf", tmp_path / "neox", 1) == 0
    path = tmp_path / "neox/global_step64" / layer_file(3, 0)
    content = {name: tensor.clone() for name, tensor in load(path).items()}
    change(content)
    torch.save(content, path)
    return run("--to", "hf", "--input", tmp_path / "neox", "--output", tmp_path / "back")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("mlp.dense_h_to_4h.bias"), "part 3 lacks mlp.dense_h_to_4h.bias"),
        (lambda c: c.update(extra=torch.zeros(1)), "has unexpected extra"),
        (lambda c: c.update({"attention.dense.bias": torch.zeros(5)}), "got gpt_neox.layers.1.attention.dense.bias"),
        (lambda c: c.update({"attention.dense.bias": 7}), "does not map names to tensors"),
    ],
)
def test_what_is_not_the_model_is_refused(reference, tmp_path, capfd, change, message):
    assert damaged(tmp_path, reference, change) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "back/model.safetensors").exists()


@pytest.mark.parametrize("ranks", [1, 2])
def test_the_names_of_todays_gpt_neox_are_read(folder, tmp_path, ranks):
    """Since September 2024 the two matrices of the MLP are called linear1 and linear2."""
    assert to_neox(folder, tmp_path / "neox", ranks) == 0
    renamed = 0
    for path in (tmp_path / "neox/global_step64").glob("layer_*.pt"):
        content = {name: tensor.clone() for name, tensor in load(path).items()}
        names = {name: name.replace("dense_h_to_4h", "linear1").replace("dense_4h_to_h", "linear2") for name in content}
        renamed += sum(old != new for old, new in names.items())
        torch.save({names[name]: tensor for name, tensor in content.items()}, path)
    assert renamed == 4 * MODEL.layers * ranks
    assert run("--to", "hf", "--input", tmp_path / "neox", "--output", tmp_path / "back") == 0
    assert same(load_file(folder / "model.safetensors"), load_file(tmp_path / "back/model.safetensors"))


def rename(content, before, after):
    content[after] = content.pop(before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: (rename(c, "input_layernorm.weight", "input_layernorm.scale"), c.pop("input_layernorm.bias")),
         "RMSNorm, which has a scale and no bias"),
        (lambda c: rename(c, "mlp.dense_h_to_4h.weight", "mlp.w1.weight"), "the gated MLP of LLaMA"),
        (lambda c: c.update({"mlp.linear1.weight": torch.zeros(1)}), "has unexpected mlp.linear1.weight"),
    ],
)  # fmt: skip
def test_fault_41_weights_of_another_network(reference, tmp_path, capfd, change, message):
    """Weights with RMSNorm or a gated MLP: refused with that reason, not with a guess at the number of layers."""
    assert damaged(tmp_path, reference, change) == 2
    error = capfd.readouterr().err
    assert message in error
    assert "number of layers" not in error or "unexpected" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_attention_heads": 8}, "num_attention_heads is '8', the recipe of pocket-90k has 4"),
        ({"rotary_pct": 0.5, "rope_parameters": None}, "rotary_pct is '0.5'"),
        ({"use_parallel_residual": False}, "use_parallel_residual is 'False'"),
        ({"use_parallel_residual": "true"}, "use_parallel_residual is 'true'"),
        ({"attention_bias": False}, "attention_bias is 'False'"),
    ],
)
def test_a_config_that_says_another_network_is_refused(reference, tmp_path, capfd, change, message):
    """The shapes of the weights say nothing about heads, rotary share or the residual path."""
    reference.save_pretrained(tmp_path / "hf")
    path = tmp_path / "hf/config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert to_neox(tmp_path / "hf", tmp_path / "neox", 1) == 2
    assert message in capfd.readouterr().err
    assert not (tmp_path / "neox").exists()


def user_files(folder):
    """The shape of the model in two files, with a training that is not done here."""
    shape = {
        "num-layers": MODEL.layers,
        "hidden-size": MODEL.hidden_size,
        "num-attention-heads": MODEL.heads,
        "seq-length": MODEL.sequence_length,
        "pos-emb": "rotary",
        "rotary-pct": 0.25,
        "no-weight-tying": True,
        "gpt-j-residual": True,
        "make_vocab_size_divisible_by": MODEL.vocab_size,
    }
    (folder / "mine.yml").write_text(json.dumps(shape))
    (folder / "local.yml").write_text(json.dumps({"optimizer": {"type": "Lion"}, "hidden-dropout": 0.1, "save": "c"}))
    return folder / "mine.yml", folder / "local.yml"


def test_the_files_of_a_user_name_the_model(folder, tmp_path, capfd):
    assert to_neox(folder, tmp_path / "neox", 1) == 0
    files = user_files(tmp_path)
    words = ["--to", "hf", "--input", tmp_path / "neox", "--output", tmp_path / "back", "--config", *files]
    assert cli.run(convert.main, list(map(str, words))) == 2
    assert "--config needs --vocab-entries" in capfd.readouterr().err
    assert cli.run(convert.main, list(map(str, [*words, "--vocab-entries", MODEL.vocab_size]))) == 0
    assert same(load_file(folder / "model.safetensors"), load_file(tmp_path / "back/model.safetensors"))
    config = json.loads((tmp_path / "back/config.json").read_text())
    dtype = config.pop("torch_dtype")
    assert config == {k: v for k, v in model_config(recipe_of(MODEL), dtype).items() if k != "torch_dtype"}
    (tmp_path / "local.yml").write_text('{"norm": "rmsnorm"}')
    assert cli.run(convert.main, list(map(str, [*words, "--vocab-entries", MODEL.vocab_size]))) == 2
    assert "norm is 'rmsnorm'; only 'layernorm' is supported" in capfd.readouterr().err


def test_a_recipe_names_the_model_in_both_directions(folder, tmp_path, capfd):
    recipe = tmp_path / "r.json"
    recipe.write_text(json.dumps(recipe_of(MODEL).to_json()))
    ways = {"neox": folder, "hf": tmp_path / "made-neox"}
    for layout, source in ways.items():
        words = ["--to", layout, "--input", source, "--output", tmp_path / f"made-{layout}", "--recipe", recipe]
        assert cli.run(convert.main, list(map(str, words))) == 0
    assert same(load_file(folder / "model.safetensors"), load_file(tmp_path / "made-hf/model.safetensors"))
    words = ["--to", "neox", "--input", folder, "--output", tmp_path / "x", "--config", *user_files(tmp_path)]
    assert cli.run(convert.main, list(map(str, [*words, "--vocab-entries", "512"]))) == 2
    assert "give --recipe" in capfd.readouterr().err
    assert cli.run(convert.main, list(map(str, words[:6]))) == 2
    assert "by one of --suite with --model, --recipe, --config" in capfd.readouterr().err


class Attack:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def test_fault_39_a_pickle_with_code_is_refused_and_not_run(tmp_path, monkeypatch):
    """A pickle that calls a program: refused in one line, the program does not run."""
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Attack()}, tmp_path / layer_file(0, 0))
    (tmp_path / "old.pt").write_bytes(pickle.dumps(Attack()))
    for name in (layer_file(0, 0), "old.pt"):
        with pytest.raises(ModelError, match="not readable as plain weights"):
            load(tmp_path / name)
    assert not (tmp_path / "pwned").exists()


def test_fault_40_a_truncated_file_is_refused(reference, tmp_path, capfd):
    """A safetensors file that was cut: one line that names it."""
    reference.save_pretrained(tmp_path / "hf")
    path = tmp_path / "hf/model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert to_neox(tmp_path / "hf", tmp_path / "neox", 1) == 2
    assert "damaged" in capfd.readouterr().err


def test_wrong_arguments_are_one_line(tmp_path, capfd):
    assert run("--to", "hf", "--input", tmp_path / "none", "--output", tmp_path / "x") == 2
    assert run("--to", "hf", "--input", tmp_path, "--output", tmp_path / "x") == 2
    assert run("--to", "neox", "--input", tmp_path, "--output", tmp_path / "x", "--tensor-parallel", 8) == 2
    assert run("--to", "hf", "--input", tmp_path, "--output", tmp_path / "x", "--tokenizer", tmp_path / "t") == 2
    error = capfd.readouterr().err
    assert "not a GPT-NeoX checkpoint" in error
    assert "4 heads, which cannot be divided among 8 ranks" in error
    assert "Traceback" not in error
