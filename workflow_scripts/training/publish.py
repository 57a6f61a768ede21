r"""Publish checkpoints of a run as Hugging Face folders that an unmodified transformers loads as GPTNeoXForCausalLM.

    python -m workflow_scripts.training.publish --checkpoint results/training/pocket-1m/step512 \
        --tokenizer results/corpus/pocket/tokenizer.json --output-dir results/mirror/models/pocket/pocket-1m/step512
    python -m workflow_scripts.training.publish --training-dir results/training/pocket-1m --steps 0 1 2 4 \
        --tokenizer results/corpus/pocket/tokenizer.json --output-root results/mirror/models/pocket/pocket-1m

The second form publishes several steps in one process, the whole grid where --steps is left out, each under its Hub
revision; the last step of the recipe is also published as revision ``main``. Each folder holds config.json,
model.safetensors, the tokenizer and, written last, sha256.txt. As on the Hub, config.json says hidden_act "gelu"
(exact) although training used the tanh approximation: logits differ by about 4e-3.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, DataError, MissingInputError, ModelError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.lockfile import HEADER
from workflow_scripts.storage.records import write_record
from workflow_scripts.suite.steps import Step
from workflow_scripts.training.recipe import Network, Recipe
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.checkpoint import RunState
from workflow_scripts.training.run.model import DTYPES, MLP_FACTOR
from workflow_scripts.training.run.whole_folders import whole_folder

LOG = logging.getLogger(__name__)
PUBLISHED_DTYPES = ("float16", "float32")
MAIN = "main"
EOD = "<|endoftext|>"
HASHES = "sha256.txt"


def model_config(recipe: Recipe | Network, dtype: str) -> JsonObject:
    """``config.json`` with the keys that the Hub's Pythia folders have; old and new transformers read them."""
    return {
        "architectures": ["GPTNeoXForCausalLM"],
        "model_type": "gpt_neox",
        "vocab_size": recipe.vocab_size,
        "hidden_size": recipe.hidden_size,
        "num_hidden_layers": recipe.layers,
        "num_attention_heads": recipe.heads,
        "intermediate_size": MLP_FACTOR * recipe.hidden_size,
        "max_position_embeddings": recipe.sequence_length,
        "hidden_act": "gelu",
        "layer_norm_eps": recipe.layer_norm_epsilon,
        "rotary_pct": recipe.rotary_fraction,
        "rotary_emb_base": int(recipe.rotary_base) if recipe.rotary_base.is_integer() else recipe.rotary_base,
        "use_parallel_residual": True,
        "tie_word_embeddings": False,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "torch_dtype": dtype,
    }


def tokenizer_files(sequence_length: int) -> dict[str, JsonObject]:
    """The two small files beside ``tokenizer.json``."""
    special = {"bos_token": EOD, "eos_token": EOD, "unk_token": EOD}
    config = {"tokenizer_class": "GPTNeoXTokenizer", "add_prefix_space": False, "model_max_length": sequence_length}
    return {"tokenizer_config.json": {**config, **special}, "special_tokens_map.json": special}


def read_tokenizer(path: Path, recipe: Recipe) -> bytes:
    """Content of ``tokenizer.json``, checked to fit the model; raises MissingInputError, DataError, ModelError."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such tokenizer")
    content = path.read_bytes()
    try:
        parsed = json.loads(content)
        entries = {**parsed["model"]["vocab"], **{token["content"]: token["id"] for token in parsed["added_tokens"]}}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DataError(f"{path}: not a tokenizer.json ({type(error).__name__}: {error})") from None
    if EOD not in entries or entries[EOD] != 0:
        raise DataError(f"{path}: {EOD} must be token 0, as in the Pythia tokenizer")
    if max(entries.values()) >= recipe.vocab_size:
        raise ModelError(
            f"{path}: largest token id is {max(entries.values())}, the model has a vocabulary of {recipe.vocab_size}"
        )
    return content


def cast_weights(weights: dict[str, Tensor], dtype: str, where: Path) -> dict[str, Tensor]:
    """Weights in ``dtype``; raises ModelError where a value is not finite in it."""
    cast = {name: tensor.to(DTYPES[dtype]) for name, tensor in weights.items()}
    for name, tensor in cast.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{where}: {name} has values that are not finite in {dtype}; publish as float32")
    return cast


def publish(source: Path, tokenizer: Path, targets: Iterable[Path], dtype: str) -> None:
    """Write the checkpoint in ``source`` as a Hugging Face folder to each of ``targets``."""
    state_path = source / checkpoint.STATE
    if not state_path.is_file():
        raise MissingInputError(f"{source}: no checkpoint of a run ({checkpoint.STATE} is not there)")
    recipe = Recipe.from_json(RunState.read(state_path).recipe, str(state_path))
    vocabulary = read_tokenizer(tokenizer, recipe)
    weights = cast_weights(checkpoint.read_tensors(source / checkpoint.WEIGHTS), dtype, source)
    inputs = {"weights": source / checkpoint.WEIGHTS, "tokenizer": tokenizer}
    for target in targets:
        with whole_folder(target) as folder:
            write_folder(folder, recipe, weights, vocabulary, dtype)
        write_record(target, inputs, {"dtype": dtype, "recipe_identity": recipe.identity})
        LOG.info("%s: published from %s", target, source)


def write_folder(folder: Path, recipe: Recipe, weights: dict[str, Tensor], vocabulary: bytes, dtype: str) -> None:
    """Fill ``folder``; the list of sizes and hashes comes last."""
    write_plain_json(folder / "config.json", model_config(recipe, dtype))
    for name, value in tokenizer_files(recipe.sequence_length).items():
        write_plain_json(folder / name, value)
    (folder / "tokenizer.json").write_bytes(vocabulary)
    checkpoint.save_tensors(folder / checkpoint.WEIGHTS, weights)
    lines = [f"{path.name}\t{path.stat().st_size}\t{sha256_file(path)}" for path in sorted(folder.iterdir())]
    (folder / HASHES).write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")


def write_plain_json(path: Path, value: JsonObject) -> None:
    """Write ``value`` as the Hub's files look: two spaces, keys in the given order."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def run_state(run: Path) -> RunState:
    """State of the earliest checkpoint of the run in folder ``run``."""
    saved = checkpoint.saved_steps(run)
    if not saved:
        raise MissingInputError(f"{run}: no checkpoints; train first with python -m workflow_scripts.training.retrain")
    return RunState.read(checkpoint.step_folder(run, saved[0]) / checkpoint.STATE)


def hub_steps(recipe: Recipe, first_step: int) -> dict[int, Step]:
    """The grid of a run from ``first_step`` on, by Hub step."""
    per, shape = recipe.hub_steps_per_iteration, (recipe.batch_rows, recipe.sequence_length)
    return {it * per: Step(it * per, *shape, per) for it in recipe.checkpoint_steps if it >= first_step}


def publish_run(run: Path, steps: Sequence[int] | None, tokenizer: Path, root: Path, dtype: str) -> list[Path]:
    """Publish Hub steps ``steps`` of a run, or its whole grid, each to ``root``/<revision>; returns the folders.

    The last step of the recipe is also published as ``main``. Nothing is written when a checkpoint is missing.
    """
    state, saved = run_state(run), checkpoint.saved_steps(run)
    recipe = Recipe.from_json(state.recipe, str(run))
    grid = hub_steps(recipe, state.first_step)
    wanted = list(grid) if steps is None else list(steps)
    for hub in wanted:
        if hub not in grid or grid[hub].iteration not in saved:
            known = [step for step in grid if grid[step].iteration in saved]
            raise MissingInputError(f"{run}: no checkpoint of step {hub}; available are {known}")
    made: list[Path] = []
    for hub in wanted:
        step = grid[hub]
        names = [step.revision, MAIN] if step.iteration == recipe.train_iterations else [step.revision]
        targets = [root / name for name in names]
        publish(checkpoint.step_folder(run, step.iteration), tokenizer, targets, dtype)
        made += targets
    return made


def write_receipt(receipt: Path, folders: Sequence[Path]) -> None:
    """Write the list of published folders with the hash of each folder's own list."""
    hashes = {folder.name: sha256_file(folder / HASHES) for folder in folders}
    write_json(receipt, {"revisions": hashes})
    write_record(receipt, {folder.name: folder / HASHES for folder in folders}, {})


def main(arguments: Sequence[str] | None = None) -> None:
    """Publish as the arguments say."""
    parser = cli.parser(__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, help="one step<N> folder of a run")
    source.add_argument("--training-dir", type=Path, help="folder of a run, to publish several steps at once")
    parser.add_argument("--output-dir", type=Path, help="with --checkpoint: the folder to make")
    parser.add_argument(
        "--output-root", type=Path, help="with --training-dir: the parent folder for one folder per revision"
    )
    parser.add_argument("--steps", type=int, nargs="+", help="with --training-dir: Hub steps to publish")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the model")
    parser.add_argument("--dtype", choices=PUBLISHED_DTYPES, default="float16", help="of the published weights")
    parser.add_argument("--receipt", type=Path, help="JSON to write last, with the hash of each folder's list")
    options = parser.parse_args(arguments)
    if options.checkpoint is not None:
        if options.output_dir is None or options.output_root or options.steps:
            raise ConfigError("--checkpoint goes with --output-dir and with neither --output-root nor --steps")
        folders = [options.output_dir]
        publish(options.checkpoint, options.tokenizer, folders, options.dtype)
    else:
        if options.output_root is None or options.output_dir:
            raise ConfigError("--training-dir goes with --output-root (one folder per revision), not with --output-dir")
        folders = publish_run(
            options.training_dir, options.steps, options.tokenizer, options.output_root, options.dtype
        )
    if options.receipt is not None:
        write_receipt(options.receipt, folders)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
