r"""Convert a checkpoint between GPT-NeoX's trainer and Hugging Face, exactly, with one layer in memory at a time.

The shape of the model gives config.json and tells whether a folder holds what it should. It is that of a model of a
suite, of a recipe, or (--to hf) of one's own GPT-NeoX configuration files. Weights keep their type. From the trainer
both layouts are read (a file per layer and rank, or one per rank), with any number of ranks and under the names of any
version; to the trainer the first is written, for --tensor-parallel ranks, under those of v1.0.

Examples:
  python -m workflow_scripts.training.convert --to hf --suite pythia --model pythia-70m \
    --input neox/global_step1000 --output hf/step1000 --tokenizer tokenizer.json
  python -m workflow_scripts.training.convert --to hf --config mine.yml local_setup.yml --vocab-entries 50277 \
    --input neox/global_step1000 --output hf/step1000
  python -m workflow_scripts.training.convert --to neox --suite pythia --model pythia-12b --tensor-parallel 4 \
    --step 1000 --input hf/step1000 --output neox
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, MissingInputError, ModelError
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import atomic_path, write_text
from workflow_scripts.storage.records import write_record
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.registry import load_suite
from workflow_scripts.training.neox.conversions import ROTARY, merge, parts, rotary_frequencies, split
from workflow_scripts.training.neox.neox_files import NeoxWriter, open_neox
from workflow_scripts.training.neox.neox_recipe import network_from_config
from workflow_scripts.training.publish import model_config, tokenizer_files
from workflow_scripts.training.recipe import Network, Recipe, read_recipe, recipe_of
from workflow_scripts.training.run.schedule import annealing_state
from workflow_scripts.training.tensor_shapes import tensor_shapes
from workflow_scripts.training.weight_files import HuggingFaceWeights, SafetensorsWriter, refuse_other_config

WEIGHTS = "model.safetensors"
RANKS = (1, 2, 4, 8)
log = logging.getLogger(__name__)


def neox_to_hugging_face(model: Model | Network | Recipe, source: Path, target: Path) -> torch.dtype:
    """Write the weights in ``source`` as ``target``/model.safetensors; returns their type.

    Raises MissingInputError or ModelError when the folder does not hold this model.
    """
    weights = open_neox(source)
    if weights.layers != model.layers:
        raise ModelError(f"{source}: has {weights.layers} layers, {model.name} has {model.layers}")
    dtype = weights.share(0, 0)["word_embeddings.weight"].dtype
    shapes = tensor_shapes(model.layers, model.hidden_size, model.vocab_size)
    with (
        SafetensorsWriter(target / WEIGHTS, shapes, dtype) as writer,
        Progress(f"convert {model.name}", model.layers + 3, "parts") as progress,
    ):
        for part in parts(model.layers):
            shares = [weights.share(part.index, rank) for rank in range(weights.ranks)]
            for name, tensor in merge(part, shares, str(source)).items():
                writer.write(name, tensor)
            progress.advance()
    return dtype


def hugging_face_to_neox(recipe: Recipe, source: Path, target: Path, ranks: int, step: int) -> None:
    """Write the weights in ``source`` as a GPT-NeoX folder for ``ranks`` ranks, as of iteration ``step``.

    The learning rate goes on from there; ``latest`` names the checkpoint.

    Raises MissingInputError or ModelError when the folder does not hold this model, ConfigError for a number of ranks
    that would cut a head.
    """
    if recipe.heads % ranks:
        raise ConfigError(f"{recipe.name} has {recipe.heads} heads, which cannot be divided among {ranks} ranks")
    refuse_other_config(source, recipe)
    weights, writer = HuggingFaceWeights(source), NeoxWriter(target, step, ranks)
    shapes = tensor_shapes(recipe.layers, recipe.hidden_size, recipe.vocab_size)
    rotary = {ROTARY: rotary_frequencies(recipe.rotary_dims, recipe.rotary_base)}
    with Progress(f"convert {recipe.name}", recipe.layers + 3, "parts") as progress:
        for part in parts(recipe.layers):
            tensors = {name: weights.tensor(name) for name in part.names.values()}
            for name, tensor in tensors.items():
                if tuple(tensor.shape) != shapes[name]:
                    raise ModelError(f"{source}: {name} is {tuple(tensor.shape)}, {recipe.name} has {shapes[name]}")
            shares = split(part, tensors, ranks)
            writer.write(part.index, [{**share, **rotary} if part.is_layer else share for share in shares])
            progress.advance()
    writer.finish(annealing_state(recipe, step))


def write_companions(model: Network | Recipe, folder: Path, dtype: torch.dtype, tokenizer: Path | None) -> None:
    """Write config.json and, where a tokenizer is given, its files."""
    config = model_config(model, str(dtype).removeprefix("torch."))
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    if tokenizer is None:
        return
    for name, value in tokenizer_files(model.sequence_length).items():
        write_text(folder / name, json.dumps(value, indent=2) + "\n")
    with atomic_path(folder / "tokenizer.json") as temporary:
        shutil.copyfile(tokenizer, temporary)


def named_model(options: argparse.Namespace) -> Network | Recipe:
    """The model that the options name in one of the three ways; raises ConfigError for none, or two."""
    ways = [name for name in ("suite", "recipe", "config") if getattr(options, name)]
    if len(ways) != 1:
        raise ConfigError(f"name the model by one of --suite with --model, --recipe, --config; seen: {ways or 'none'}")
    if options.config:
        if options.vocab_entries is None:
            raise ConfigError("--config needs --vocab-entries, the entries of the tokenizer (20B: 50277)")
        return network_from_config(options.config, options.vocab_entries)
    if options.recipe:
        return read_recipe(options.recipe)
    if not options.model:
        raise ConfigError("--suite needs --model")
    return recipe_of(load_suite(options.suite).model(options.model))


def argument_parser() -> argparse.ArgumentParser:
    """Options of the program."""
    parser = cli.parser(__doc__)
    parser.add_argument("--to", choices=("hf", "neox"), required=True, help="layout to write")
    parser.add_argument("--suite", help="name of a file in config/suites")
    parser.add_argument("--model", help="with --suite: model of the suite")
    parser.add_argument("--recipe", help="file with a recipe, e.g. of training.neox_config read")
    parser.add_argument("--config", type=Path, nargs="+", help="GPT-NeoX configuration files that belong together")
    parser.add_argument("--vocab-entries", type=int, help="with --config: entries of the tokenizer (20B: 50277)")
    parser.add_argument("--input", type=Path, required=True, help="folder to read")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--tokenizer", type=Path, help="with --to hf: tokenizer.json to put beside the weights")
    parser.add_argument("--tensor-parallel", type=int, choices=RANKS, default=1, help="with --to neox: ranks")
    parser.add_argument("--step", type=int, default=0, help="with --to neox: iteration of the checkpoint")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse and convert."""
    options = argument_parser().parse_args(arguments)
    model = named_model(options)
    if options.tokenizer is not None and not options.tokenizer.is_file():
        raise MissingInputError(f"{options.tokenizer}: no such tokenizer")
    if options.step < 0:
        raise ConfigError(f"--step is {options.step}; steps start at 0")
    if options.to == "hf":
        dtype = neox_to_hugging_face(model, options.input, options.output)
        write_companions(model, options.output, dtype, options.tokenizer)
    elif isinstance(model, Recipe):
        hugging_face_to_neox(model, options.input, options.output, options.tensor_parallel, options.step)
    else:
        raise ConfigError(
            "--to neox needs the learning rate too: read the files with training.neox_config and give --recipe"
        )
    write_record(
        options.output, {}, {"model": model.name, "to": options.to, "tensor_parallel": options.tensor_parallel}
    )
    log.info("%s: %s as %s", options.output, model.name, options.to)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
