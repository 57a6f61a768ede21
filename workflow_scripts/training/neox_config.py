"""GPT-NeoX configuration files: read into a recipe, written from one, and recipes compared.

    python -m workflow_scripts.training.neox_config read pythia-410m.yml --gpus 32 --vocab-entries 50277 \
        --compute-dtype float16 --output recipe.json
    python -m workflow_scripts.training.neox_config write recipe.json --gpus 32 --micro-batch 32 \
        --data-path /data/pile_text_document --save /data/checkpoints --output pythia-410m.yml
    python -m workflow_scripts.training.neox_config diff mine.json theirs.json

Keys may be written with hyphens or underscores. A file that gpt-neox itself would misread, or whose network this
project does not have, is refused with the reason; keys that decide no weight (logging, kernels, partitions) are passed
over. The schedule is not in such files: it is the version of gpt-neox's code, see --lr-schedule.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, ModelError
from workflow_scripts.storage.atomic import write_json, write_text
from workflow_scripts.suite.safe_yaml import load_yaml
from workflow_scripts.training.recipe import LR_SCHEDULES, PRECISIONS, Recipe, read_recipe

# What gpt-neox v1.0 assumes where a file is silent.
DEFAULTS: dict[str, Any] = {
    "rotary_pct": 1.0,
    "rotary_emb_base": 10000,
    "layernorm_epsilon": 1e-5,
    "init_method": "normal",
    "output_layer_init_method": "scaled_normal",
    "seed": 1234,
    "weight_decay": 0.01,
    "gradient_clipping": 1.0,
    "warmup": 0.01,
    "min_lr": 0.0,
    "model_parallel_size": 1,
    "gradient_accumulation_steps": 1,
    "make_vocab_size_divisible_by": 128,
    "extra_save_iters": [],
}
# The one network that this project trains; a file that says otherwise is refused.
NETWORK: dict[str, tuple[Any, Any]] = {  # key: (gpt-neox's default, what it must be)
    "pos_emb": ("learned", "rotary"),
    "no_weight_tying": (False, True),
    "gpt_j_residual": (False, True),
    "gpt_j_tied": (False, False),
    "norm": ("layernorm", "layernorm"),
    "activation": ("gelu", "gelu"),
    "bias_gelu_fusion": (False, True),
    "hidden_dropout": (0, 0),
    "attention_dropout": (0, 0),
    "lr_decay_style": ("linear", "cosine"),
}
INIT_PAIRS = {("small_init", "wang_init"): "small_wang", ("normal", "scaled_normal"): "neox_default"}
REQUIRED = ("num_layers", "hidden_size", "num_attention_heads", "seq_length", "train_iters", "optimizer")
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


def read_config(path: Path) -> dict[str, Any]:
    """Settings of a GPT-NeoX file under names with underscores; raises ConfigError with a likely cause."""
    try:
        raw = load_yaml(path)
    except ConfigError as error:
        raise ConfigError(f"{error}{comma_hint(path)}") from None
    settings: dict[str, Any] = {}
    for key, value in raw.items():
        name = str(key).replace("-", "_")
        if name in settings:
            raise ConfigError(f"{path}: '{key}' stands twice, once with hyphens and once with underscores")
        settings[name] = value
    missing = [name for name in REQUIRED if name not in settings]
    if missing:
        raise ConfigError(f"{path}: '{missing[0].replace('_', '-')}' is missing")
    return settings


def comma_hint(path: Path) -> str:
    """Name the first entry that lacks the comma after it, as pythia-12b.yml does (pythia#162); empty if none does."""
    lines = [line.split("#")[0].rstrip() for line in path.read_text(encoding="utf-8").splitlines()]
    filled = [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    for (number, line), (_, following) in itertools.pairwise(filled):
        if following.startswith(('"', "'")) and not line.endswith((",", "{", "[")):
            return f"; a comma seems to be missing at the end of line {number}: {line}"
    return ""


def check_network(settings: Mapping[str, Any], where: Path) -> None:
    """Refuse another network than this project's; raises ModelError."""
    for key, (default, wanted) in NETWORK.items():
        seen = settings.get(key, default)
        if seen != wanted:
            raise ModelError(f"{where}: {key} is {seen!r}; only {wanted!r} is trained here")
    layers, heads, width = (settings[key] for key in ("num_layers", "num_attention_heads", "hidden_size"))
    if width % heads and width % layers == 0:
        raise ModelError(
            f"{where}: hidden-size {width} is no multiple of num-attention-heads {heads} but of num-layers {layers}: "
            "the two seem to be swapped, as in pythia-12b-deduped.yml (right is 36 layers, 40 heads)"
        )


def recipe_from_config(
    path: Path, *, gpus: int | None, vocab_entries: int, compute_dtype: str, lr_schedule: str
) -> Recipe:
    """Recipe in the GPT-NeoX file ``path``.

    ``gpus`` is the number the run was launched on (batch = micro-batch x gpus / tensor-parallel size x accumulation);
    ``vocab_entries`` the tokenizer's entries, padded here as gpt-neox pads them. Raises ConfigError or ModelError.
    """
    try:
        return recipe_of_settings(read_config(path), path, gpus, vocab_entries, compute_dtype, lr_schedule)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError) as error:
        kind = f"{type(error).__name__}: {str(error)[:100]}"
        raise ConfigError(f"{path}: a value is of another kind than gpt-neox knows ({kind}); correct it") from error


def recipe_of_settings(  # noqa: PLR0917 - called once, with the names at hand
    settings: Mapping[str, Any],
    path: Path,
    gpus: int | None,
    vocab_entries: int,
    compute_dtype: str,
    lr_schedule: str,
) -> Recipe:
    """Recipe that ``settings`` describe; values of a wrong kind raise whatever Python makes of them."""
    check_network(settings, path)
    known = {**DEFAULTS, **settings}
    pair = (known["init_method"], known["output_layer_init_method"])
    if pair not in INIT_PAIRS:
        raise ModelError(f"{path}: init methods {pair} are not known here; known are {sorted(INIT_PAIRS)}")
    multiple = known["make_vocab_size_divisible_by"] * known["model_parallel_size"]
    optimizer = {"betas": (0.9, 0.999), "eps": 1e-8, **known["optimizer"].get("params", {})}
    numbers = {ours: known[theirs.replace("-", "_")] for ours, theirs in NAMES.items() if ours != "lr_decay_iterations"}
    values = {
        **numbers,
        "name": path.stem,
        "lr_decay_iterations": known.get("lr_decay_iters", known["train_iters"]),
        "vocab_size": math.ceil(vocab_entries / multiple) * multiple,
        "batch_rows": batch_rows(known, gpus, path),
        "learning_rate": optimizer["lr"],
        "beta1": optimizer["betas"][0],
        "beta2": optimizer["betas"][1],
        "epsilon": optimizer["eps"],
        "initialisation": INIT_PAIRS[pair],
        "lr_schedule": lr_schedule,
        "rotary_precision": compute_dtype,
        "compute_dtype": compute_dtype,
        "data_seed": known["seed"],
        "checkpoint_steps": grid(known),
        "hub_steps_per_iteration": 1,
    }
    return Recipe.from_json(values, str(path))


def batch_rows(known: Mapping[str, Any], gpus: int | None, where: Path) -> int:
    """Rows of the global batch; raises ConfigError where the file and ``gpus`` do not decide it."""
    if "train_batch_size" in known:
        return int(known["train_batch_size"])
    if gpus is None or "train_micro_batch_size_per_gpu" not in known:
        raise ConfigError(f"{where}: no train_batch_size; say with --gpus on how many GPUs the run was launched")
    ranks, rest = divmod(gpus, known["model_parallel_size"])
    if rest:
        raise ConfigError(f"{where}: {gpus} GPUs do not divide by model-parallel-size {known['model_parallel_size']}")
    return int(known["train_micro_batch_size_per_gpu"] * ranks * known["gradient_accumulation_steps"])


def grid(known: Mapping[str, Any]) -> list[int]:
    """Steps that gpt-neox saves: 0 and the extra ones where listed, multiples of the interval, and the last."""
    last = known["train_iters"]
    interval = known.get("checkpoint_factor", known.get("save_interval"))
    regular = range(interval, last, interval) if interval else range(0)
    return sorted({*known["extra_save_iters"], *regular, last})


def config_text(
    recipe: Recipe,
    *,
    gpus: int,
    micro_batch: int,
    data_path: str,
    save: str,
    more: Mapping[str, Any] | None = None,
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
        **{key.replace("_", "-"): wanted for key, (_, wanted) in NETWORK.items()},
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


def precision(recipe: Recipe) -> dict[str, Any]:
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
    read.add_argument("config", type=Path)
    read.add_argument("--gpus", type=int, help="GPUs of the launch, where the file has no train_batch_size")
    read.add_argument("--vocab-entries", type=int, required=True, help="entries of the tokenizer (20B: 50277)")
    read.add_argument("--compute-dtype", choices=PRECISIONS, default="float16", help="precision of the run")
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
