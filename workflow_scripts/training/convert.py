r"""Convert a checkpoint between GPT-NeoX's trainer and Hugging Face, exactly, with one layer in memory at a time.

The model must be one of a suite: its shape gives config.json and tells whether a folder holds what it should. Weights
keep their type. From the trainer both layouts are read (a file per layer and rank, or one per rank), with any number of
ranks; to the trainer the first is written, for --tensor-parallel ranks.

Examples:
  python -m workflow_scripts.training.convert --to hf --suite pythia --model pythia-70m \
    --input neox/global_step1000 --output hf/step1000 --tokenizer tokenizer.json
  python -m workflow_scripts.training.convert --to neox --suite pythia --model pythia-12b --tensor-parallel 4 \
    --step 1000 --input hf/step1000 --output neox
"""

from __future__ import annotations

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
from workflow_scripts.training.publish import model_config, tokenizer_files
from workflow_scripts.training.recipe import Recipe, recipe_of
from workflow_scripts.training.run.schedule import annealing_state
from workflow_scripts.training.tensor_shapes import tensor_shapes
from workflow_scripts.training.weight_files import HuggingFaceWeights, SafetensorsWriter

WEIGHTS = "model.safetensors"
RANKS = (1, 2, 4, 8)
log = logging.getLogger(__name__)


def neox_to_hugging_face(model: Model, source: Path, target: Path) -> torch.dtype:
    """Write the weights in ``source`` as ``target``/model.safetensors; returns their type.

    Raises MissingInputError or ModelError when the folder does not hold this model.
    """
    weights = open_neox(source)
    if weights.layers != model.layers:
        raise ModelError(f"{source}: holds {weights.layers} layers, {model.name} has {model.layers}")
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
        raise ConfigError(f"{recipe.name} has {recipe.heads} heads, which {ranks} ranks cannot share")
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


def write_companions(model: Model, folder: Path, dtype: torch.dtype, tokenizer: Path | None) -> None:
    """Write config.json and, where a tokenizer is given, its files."""
    config = model_config(recipe_of(model), str(dtype).removeprefix("torch."))
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    if tokenizer is None:
        return
    for name, value in tokenizer_files(model.sequence_length).items():
        write_text(folder / name, json.dumps(value, indent=2) + "\n")
    with atomic_path(folder / "tokenizer.json") as temporary:
        shutil.copyfile(tokenizer, temporary)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse and convert."""
    parser = cli.parser(__doc__)
    parser.add_argument("--to", choices=("hf", "neox"), required=True, help="layout to write")
    parser.add_argument("--suite", required=True, help="name of a file in config/suites")
    parser.add_argument("--model", required=True, help="model of the suite")
    parser.add_argument("--input", type=Path, required=True, help="folder to read")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--tokenizer", type=Path, help="with --to hf: tokenizer.json to put beside the weights")
    parser.add_argument("--tensor-parallel", type=int, choices=RANKS, default=1, help="with --to neox: ranks")
    parser.add_argument("--step", type=int, default=0, help="with --to neox: iteration of the checkpoint")
    options = parser.parse_args(arguments)
    model = load_suite(options.suite).model(options.model)
    if options.tokenizer is not None and not options.tokenizer.is_file():
        raise MissingInputError(f"{options.tokenizer}: no such tokenizer")
    if options.step < 0:
        raise ConfigError(f"--step is {options.step}; steps start at 0")
    if options.to == "hf":
        dtype = neox_to_hugging_face(model, options.input, options.output)
        write_companions(model, options.output, dtype, options.tokenizer)
    else:
        hugging_face_to_neox(recipe_of(model), options.input, options.output, options.tensor_parallel, options.step)
    write_record(
        options.output, {}, {"model": model.name, "to": options.to, "tensor_parallel": options.tensor_parallel}
    )
    log.info("%s: %s as %s", options.output, model.name, options.to)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
