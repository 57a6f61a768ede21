r"""GPT-NeoX configuration files: read into a recipe, written from one, and recipes compared.

    python -m workflow_scripts.training.neox_config read pythia-410m.yml --gpus 32 --vocab-entries 50277 \
        --output recipe.json
    python -m workflow_scripts.training.neox_config write recipe.json --gpus 32 --micro-batch 32 \
        --data-path /data/pile_text_document --save /data/checkpoints --output pythia-410m.yml
    python -m workflow_scripts.training.neox_config diff mine.json theirs.json

Settings may be spread over several files, and keys written with hyphens or underscores. A file that gpt-neox itself
would misread, whose network or training step this project does not have, or with a key that nobody here knows, is
refused by the name of the key; keys that decide no weight (logging, kernels, partitions) are passed over. Two things
are not in such files: the tokenizer's entries, and the version of gpt-neox's code, see --lr-schedule; where a file is
silent, that version's defaults count.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.storage.atomic import write_json, write_text
from workflow_scripts.suite.neox_keys import FIXED
from workflow_scripts.suite.neox_settings import hyphens
from workflow_scripts.training.neox.neox_recipe import INIT_PAIRS, recipe_from_config
from workflow_scripts.training.recipe import LR_SCHEDULES, PRECISIONS, Recipe, read_recipe

NAMES = {
    "layers": "num-layers",
    "hidden_size": "hidden-size",
    "heads": "num-attention-heads",
    "sequence_length": "seq-length",
    "rotary_fraction": "rotary-pct",
    "rotary_base": "rotary-emb-base",
    "layer_norm_epsilon": "layernorm-epsilon",
    "weight_decay": "weight-decay",
    "gradient_clip": "gradient_clipping",
    "train_iterations": "train-iters",
    "lr_decay_iterations": "lr-decay-iters",
    "warmup_fraction": "warmup",
    "min_learning_rate": "min_lr",
    "weight_seed": "seed",
}
# Fixed keys that every written file says.
WRITTEN = (
    "pos_emb",
    "no_weight_tying",
    "gpt_j_residual",
    "gpt_j_tied",
    "norm",
    "activation",
    "bias_gelu_fusion",
    "hidden_dropout",
    "attention_dropout",
    "lr_decay_style",
)


def config_text(
    recipe: Recipe,
    *,
    gpus: int,
    micro_batch: int,
    data_path: str,
    save: str,
    more: JsonMapping | None = None,
) -> str:
    """GPT-NeoX v1.0 file for ``recipe``: JSON, which is YAML too; raises ConfigError where it cannot say the recipe.

    ``more`` are further settings of the launch, such as the tokenizer's file.
    """
    if recipe.weight_seed != recipe.data_seed:
        raise ConfigError("gpt-neox has one seed for weights and data; the recipe's two seeds differ")
    accumulation, rest = divmod(recipe.batch_rows, gpus * micro_batch)
    if rest or not accumulation:
        raise ConfigError(f"{gpus} GPUs x {micro_batch} rows do not divide the batch of {recipe.batch_rows} rows")
    init = next(pair for pair, name in INIT_PAIRS.items() if name == recipe.initialisation)
    extra, interval = split_grid(recipe)
    settings = {
        "pipe-parallel-size": 1,
        "model-parallel-size": 1,
        **{theirs: getattr(recipe, ours) for ours, theirs in NAMES.items()},
        "max-position-embeddings": recipe.sequence_length,
        **{hyphens(key): FIXED[key].allowed[0] for key in WRITTEN},
        "init_method": init[0],
        "output_layer_init_method": init[1],
        "optimizer": {
            "type": "Adam",
            "params": {
                "lr": recipe.learning_rate,
                "betas": [recipe.beta1, recipe.beta2],
                "eps": recipe.epsilon,
            },
        },
        "zero_optimization": {"stage": 1, "contiguous_gradients": True, "cpu_offload": False},
        **precision(recipe),
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "data-impl": "mmap",
        "train-data-paths": [data_path],
        "valid-data-paths": [data_path],
        "test-data-paths": [data_path],
        "tokenizer-type": "HFTokenizer",
        "make_vocab_size_divisible_by": recipe.vocab_size,
        "save": save,
        "load": save,
        "extra-save-iters": extra,
        "checkpoint-factor": interval,
        "distributed-backend": "nccl",
        **(more or {}),
    }
    return json.dumps(settings, indent=2) + "\n"


def precision(recipe: Recipe) -> JsonObject:
    """Section of the file that sets the precision."""
    if recipe.compute_dtype == "float16":
        scale = {"loss_scale": 0, "initial_scale_power": 12, "loss_scale_window": 1000, "hysteresis": 2}
        return {"fp16": {"enabled": True, **scale, "min_loss_scale": 1}}
    if recipe.compute_dtype == "bfloat16":
        return {"precision": "bfloat16", "fp32_allreduce": True}
    return {"precision": "fp32"}


def split_grid(recipe: Recipe) -> tuple[list[int], int]:
    """Extra steps and interval whose multiples, with them, are the recipe's grid."""
    steps, last = set(recipe.checkpoint_steps), recipe.train_iterations
    for interval in range(1, last + 1):
        if steps.issuperset(range(interval, last + 1, interval)):
            return sorted(steps - set(range(interval, last + 1, interval))), interval
    return sorted(steps), last


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, write or compare as the arguments say."""
    parser = cli.parser(__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    read = commands.add_parser("read", help="GPT-NeoX file to recipe")
    read.add_argument("config", type=Path, nargs="+", help="files that belong to one run")
    read.add_argument("--gpus", type=int, help="GPUs of the launch, where the file has no train_batch_size")
    read.add_argument("--vocab-entries", type=int, required=True, help="entries of the tokenizer (20B: 50277)")
    read.add_argument("--compute-dtype", choices=PRECISIONS, help="precision of the run; default: what the file says")
    read.add_argument("--lr-schedule", choices=LR_SCHEDULES, default="neox_v1", help="version of gpt-neox's code")
    read.add_argument("--output", type=Path, required=True)
    write = commands.add_parser("write", help="recipe to GPT-NeoX file")
    write.add_argument("recipe")
    write.add_argument("--gpus", type=int, required=True)
    write.add_argument("--micro-batch", type=int, required=True, help="rows per GPU at once")
    write.add_argument("--data-path", required=True, help="prefix of the .bin and .idx on the machine that trains")
    write.add_argument("--save", required=True, help="folder for gpt-neox's checkpoints there")
    write.add_argument("--output", type=Path, required=True)
    diff = commands.add_parser("diff", help="decisive numbers in which two recipes differ")
    diff.add_argument("recipes", nargs=2)
    options = parser.parse_args(arguments)
    if options.command == "read":
        recipe = recipe_from_config(
            options.config,
            gpus=options.gpus,
            vocab_entries=options.vocab_entries,
            compute_dtype=options.compute_dtype,
            lr_schedule=options.lr_schedule,
        )
        write_json(options.output, recipe.to_json())
    elif options.command == "write":
        text = config_text(
            read_recipe(options.recipe),
            gpus=options.gpus,
            micro_batch=options.micro_batch,
            data_path=options.data_path,
            save=options.save,
        )
        write_text(options.output, text)
    else:
        first, second = (read_recipe(path) for path in options.recipes)
        sys.stdout.write("\n".join(first.differences(second) or ["no decisive number differs"]) + "\n")


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
