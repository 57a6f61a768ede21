"""Published folders: unmodified transformers loads them, hashes are right, misfits are refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from training_runs import ArrayRows, train
from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoXForCausalLM

from workflow_scripts import cli
from workflow_scripts.errors import DataError, MissingInputError, ModelError
from workflow_scripts.training import publish as program
from workflow_scripts.training.publish import cast_weights, publish, read_tokenizer
from workflow_scripts.training.recipe import Recipe
from workflow_scripts.training.run.model import GPTNeoX
from workflow_scripts.training.run.starting_point import load_weights


@pytest.fixture
def run(recipe: Recipe, rows: ArrayRows, tmp_path: Path) -> Path:
    """A finished run of the tiny recipe, with a vocabulary wide enough for all bytes."""
    wide = dataclasses.replace(recipe, vocab_size=320)
    folder = tmp_path / "run"
    train(wide, rows, folder)
    return folder


@pytest.fixture
def tokenizer(tmp_path: Path) -> Path:
    """A byte-level tokenizer of about 300 entries."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<|endoftext|>", "<|padding|>"], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["the farmers walk near the old mill"] * 5, trainer)
    made.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"


def test_transformers_loads_the_folder_unmodified(run: Path, tokenizer: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hub" / "step20"
    publish(run / "step20", tokenizer, [folder], "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        net, report = GPTNeoXForCausalLM.from_pretrained(folder, output_loading_info=True)
        words = AutoTokenizer.from_pretrained(folder)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert net.config.hidden_act == "gelu"
    assert net.dtype == torch.float32
    assert words.decode(words("the old mill")["input_ids"]) == "the old mill"
    assert (words.eos_token, words.eos_token_id) == ("<|endoftext|>", 0)
    assert len(words) <= 300


def test_logits_equal_the_trained_model(run: Path, tokenizer: Path, tmp_path: Path) -> None:
    """Exactly under tanh GELU; within 4e-3 under the exact GELU of the published config."""
    recipe = Recipe.from_json(program.run_state(run).recipe)
    publish(run / "step20", tokenizer, [tmp_path / "p"], "float32")
    model = GPTNeoX(recipe)
    load_weights(model, program.checkpoint.read_tensors(tmp_path / "p" / "model.safetensors"), tmp_path)
    tokens = torch.arange(32).reshape(2, 16)
    exact = AutoModelForCausalLM.from_pretrained(tmp_path / "p").eval()
    tanh = AutoModelForCausalLM.from_pretrained(tmp_path / "p", hidden_act="gelu_pytorch_tanh").eval()
    with torch.no_grad():
        ours, published, same = model(tokens), exact(tokens).logits, tanh(tokens).logits
    assert (ours - same).abs().max() <= 1e-5
    assert 0 < (ours - published).abs().max() <= 4e-3


def test_half_precision_is_stored_as_such(run: Path, tokenizer: Path, tmp_path: Path) -> None:
    publish(run / "step20", tokenizer, [tmp_path / "half"], "float16")
    with safe_open(tmp_path / "half" / "model.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.float16}  # noqa: SIM118
    assert json.loads((tmp_path / "half" / "config.json").read_text())["torch_dtype"] == "float16"


def test_the_hash_list_is_complete_and_right(run: Path, tokenizer: Path, tmp_path: Path) -> None:
    publish(run / "step8", tokenizer, [tmp_path / "p"], "float32")
    header, *lines = (tmp_path / "p" / "sha256.txt").read_text().splitlines()
    assert header == "path\tsize\tsha256"
    listed = {line.split("\t")[0]: line.split("\t")[1:] for line in lines}
    assert set(listed) == {path.name for path in (tmp_path / "p").iterdir()} - {"sha256.txt"}
    for name, (size, digest) in listed.items():
        content = (tmp_path / "p" / name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (int(size), digest)
    record = json.loads((tmp_path / "p.record.json").read_text())
    assert set(record["inputs"]) == {"weights", "tokenizer"}


def test_the_whole_grid_and_main(run: Path, tokenizer: Path, tmp_path: Path) -> None:
    root = tmp_path / "hub" / "tiny"
    program.main(["--training-dir", str(run), "--tokenizer", str(tokenizer), "--output-root", str(root)])
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    assert folders == ["main", "step0", "step1", "step16", "step2", "step20", "step4", "step8"]
    assert (root / "main" / "sha256.txt").read_bytes() == (root / "step20" / "sha256.txt").read_bytes()


def test_some_steps_only(run: Path, tokenizer: Path, tmp_path: Path) -> None:
    root, receipt = tmp_path / "hub", tmp_path / "hub" / "published.json"
    options = ["--training-dir", str(run), "--steps", "0", "4", "--tokenizer", str(tokenizer)]
    program.main([*options, "--output-root", str(root), "--receipt", str(receipt)])
    lists = {name: hashlib.sha256((root / name / "sha256.txt").read_bytes()).hexdigest() for name in ("step0", "step4")}
    assert json.loads(receipt.read_text()) == {"revisions": lists}
    assert sorted(path.name for path in root.iterdir() if path.is_dir()) == ["step0", "step4"]


def test_publishing_again_gives_the_same_bytes(run: Path, tokenizer: Path, tmp_path: Path) -> None:
    publish(run / "step4", tokenizer, [tmp_path / "p"], "float16")
    first = (tmp_path / "p" / "sha256.txt").read_bytes()
    publish(run / "step4", tokenizer, [tmp_path / "p"], "float16")
    assert (tmp_path / "p" / "sha256.txt").read_bytes() == first


def test_doubled_hub_steps_are_named_after_the_hub(
    recipe: Recipe, rows: ArrayRows, tokenizer: Path, tmp_path: Path
) -> None:
    train(dataclasses.replace(recipe, hub_steps_per_iteration=2, vocab_size=320), rows, tmp_path / "run", stop_at=4)
    program.publish_run(tmp_path / "run", [8], tokenizer, tmp_path / "hub", "float16")
    assert (tmp_path / "hub" / "step8" / "config.json").is_file()


def test_misfits_are_refused(recipe: Recipe, run: Path, tokenizer: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the model has a vocabulary of 96"):
        read_tokenizer(tokenizer, recipe)
    with pytest.raises(MissingInputError, match="no checkpoint of step 5"):
        program.publish_run(run, [5], tokenizer, tmp_path / "hub", "float16")
    with pytest.raises(MissingInputError, match="no checkpoint of a run"):
        publish(tmp_path, tokenizer, [tmp_path / "x"], "float16")
    with pytest.raises(MissingInputError, match="train first"):
        program.run_state(tmp_path / "nowhere")
    broken = tmp_path / "broken.json"
    broken.write_text("{}")
    with pytest.raises(DataError, match=r"not a tokenizer.json \(KeyError: 'model'\)"):
        read_tokenizer(broken, recipe)
    with pytest.raises(ModelError, match="w has values that are not finite in float16"):
        cast_weights({"w": torch.tensor([1e6])}, "float16", run)
    assert not (tmp_path / "hub").exists()


def test_a_damaged_weight_file_is_one_line(
    run: Path, tokenizer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = run / "step4" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    options = ["--checkpoint", str(run / "step4"), "--tokenizer", str(tokenizer), "--output-dir", str(tmp_path / "p")]
    assert cli.run(program.main, options) == cli.USER_ERROR
    assert "not a whole safetensors file" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("extra", [["--output-root", "r"], ["--output-dir", "d", "--steps", "1"]])
def test_options_that_do_not_go_together(extra: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(program.main, ["--checkpoint", "c", "--tokenizer", "t", *extra]) == cli.USER_ERROR
    assert "--checkpoint goes with --output-dir" in capsys.readouterr().err
