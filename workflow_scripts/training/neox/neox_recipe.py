"""Recipe or network that GPT-NeoX configuration files describe, refused by the name of the key that says another."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.errors import ConfigError, ModelError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.suite.neox_keys import DATA, ERAS, NETWORK, TRAINING
from workflow_scripts.suite.neox_settings import (
    Settings,
    batch_rows,
    check_keys,
    hyphens,
    parallel_sizes,
    read_settings,
)
from workflow_scripts.training.neox.neox_precision import precision_of
from workflow_scripts.training.recipe import Network, Recipe

INIT_PAIRS = {("small_init", "wang_init"): "small_wang", ("normal", "scaled_normal"): "neox_default"}
NORMAL_STD = 0.02
REQUIRED = ("num_layers", "hidden_size", "num_attention_heads", "seq_length", "train_iters", "optimizer")
SHAPE = REQUIRED[:4]
OPTIMIZER_PARAMS = {"lr", "betas", "eps"}
ATTENTION = {"global", "flash"}
# What GPT-NeoX takes where a file is silent: always, or by era, None where it changed within the era.
SILENT: JsonObject = {
    "rotary_pct": 1.0,
    "rotary_emb_base": 10000,
    "layernorm_epsilon": 1e-5,
    "init_method": "normal",
    "output_layer_init_method": "scaled_normal",
    "seed": 1234,
    "warmup": 0.01,
    "min_lr": 0.0,
}
SILENT_BY_ERA: dict[str, tuple[float | None, ...]] = {
    "weight_decay": (0.01, None, 0.1),
    "gradient_clipping": (None, 1.0, 1.0),
}


def recipe_from_config(
    paths: Path | Sequence[Path], *, gpus: int | None, vocab_entries: int, compute_dtype: str | None, lr_schedule: str
) -> Recipe:
    """Recipe in the GPT-NeoX files ``paths``, which GPT-NeoX would merge.

    ``gpus`` is the number the run was launched on; ``vocab_entries`` the tokenizer's entries, padded here as gpt-neox
    pads them; ``compute_dtype`` the precision of the run, None for what the files say. Raises ConfigError or
    ModelError.
    """
    settings = read_settings(paths)
    try:
        return recipe_of_settings(settings, name_of(paths), gpus, vocab_entries, compute_dtype, lr_schedule)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError) as error:
        raise wrong_kind(settings, error) from error


def network_from_config(paths: Path | Sequence[Path], vocab_entries: int) -> Network:
    """Shape of the model in the GPT-NeoX files ``paths``; how it was trained does not matter.

    Raises ConfigError, or ModelError for a network that this project does not have.
    """
    settings = read_settings(paths)
    try:
        check_keys(settings, frozenset({NETWORK}))
        return network_of(settings, name_of(paths), vocab_entries)
    except (TypeError, ValueError, KeyError, AttributeError, IndexError, ArithmeticError) as error:
        raise wrong_kind(settings, error) from error


def wrong_kind(settings: Settings, error: Exception) -> ConfigError:
    """The error for a value of a type that Python stumbled over."""
    kind = f"{type(error).__name__}: {str(error)[:100]}"
    return ConfigError(f"{settings.where}: a value is of another kind than gpt-neox knows ({kind}); correct it")


def name_of(paths: Path | Sequence[Path]) -> str:
    """Name of a recipe: that of the first file."""
    return (paths if isinstance(paths, Path) else paths[0]).stem


def network_of(settings: Settings, name: str, vocab_entries: int) -> Network:
    """The network that ``settings`` describe; raises ConfigError or ModelError."""
    layers, width, heads, length = (settings.whole(key) for key in SHAPE)
    check_shape(settings, layers, width, heads)
    if settings.whole("max_position_embeddings", length) < length:
        raise ModelError(f"{settings.where}: max-position-embeddings is below seq-length {length}")
    multiple = settings.whole("make_vocab_size_divisible_by", 128) * parallel_sizes(settings)[0]
    return Network(
        name=name,
        layers=layers,
        hidden_size=width,
        heads=heads,
        vocab_size=math.ceil(vocab_entries / multiple) * multiple,
        sequence_length=length,
        layer_norm_epsilon=number(settings, "layernorm_epsilon"),
        rotary_fraction=number(settings, "rotary_pct"),
        rotary_base=number(settings, "rotary_emb_base"),
    )


def check_shape(settings: Settings, layers: int, width: int, heads: int) -> None:
    """Refuse layers, heads and inner sizes of another network; raises ModelError."""
    where = settings.where
    if heads > 0 and layers > 0 and width % heads and width % layers == 0:
        raise ModelError(
            f"{where}: hidden-size {width} is no multiple of num-attention-heads {heads} but of num-layers {layers}: "
            "the two seem to be swapped, as in pythia-12b-deduped.yml (right is 36 layers, 40 heads)"
        )
    wanted = {"num_kv_heads": heads, "intermediate_size": 4 * width, "expansion_factor": 4}
    for key, only in wanted.items():
        if settings.get(key, only) != only:
            raise ModelError(f"{where}: {key} is {settings.get(key)!r}; only {only} is done here")
    check_attention(settings, layers)


def check_attention(settings: Settings, layers: int) -> None:
    """Refuse an attention-config with other kinds than full attention, or for another number of layers."""
    said = settings.get("attention_config", [[["global"], "all"]])
    kinds: list[str] = []
    for item in said:
        pattern, times = ([item], 1) if isinstance(item, str) else item
        kinds += pattern * (layers // max(1, len(pattern)) if times == "all" else times)
    wrong = [kind for kind in kinds if kind not in ATTENTION]
    if wrong or len(kinds) != layers:
        what = f"{wrong[0]!r}" if wrong else f"{len(kinds)} layers"
        raise ModelError(
            f"{settings.where}: attention_config has {what}; only 'global' or 'flash' for each of {layers} layers is "
            "done here"
        )


def number(settings: Settings, name: str, default: float | None = None) -> float:
    """A number of the files, or GPT-NeoX's default; raises ConfigError for texts and truth values."""
    value = settings.get(name, SILENT.get(name, default))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{settings.where}: '{hyphens(name)}' is {value!r}; it must be a number")
    return float(value)


def number_of_era(settings: Settings, name: str, era: str) -> float:
    """A number whose default changed; raises ConfigError where the files and the era leave it open."""
    silent = SILENT_BY_ERA[name][ERAS.index(era)]
    if settings.get(name) is None and silent is None:
        raise ConfigError(
            f"{settings.where}: '{hyphens(name)}' is missing, and its default changed within the versions of {era}; "
            "add it"
        )
    return number(settings, name, silent)


def recipe_of_settings(  # noqa: PLR0917 - called once, with the names at hand
    settings: Settings, name: str, gpus: int | None, vocab_entries: int, compute_dtype: str | None, era: str
) -> Recipe:
    """Recipe that ``settings`` describe; values of a wrong kind raise whatever Python makes of them."""
    for key in REQUIRED:
        if settings.get(key) is None:
            raise ConfigError(f"{settings.where}: '{hyphens(key)}' is missing")
    check_keys(settings, frozenset({NETWORK, TRAINING, DATA}), era)
    network = network_of(settings, name, vocab_entries)
    rows, dtype, optimizer = batch_rows(settings, gpus), precision_of(settings, compute_dtype, era), adam(settings)
    if rows is None:
        raise ConfigError(
            f"{settings.where}: no train_batch_size; say with --gpus on how many GPUs the run was launched"
        )
    last = settings.whole("train_iters")
    seed = settings.whole("seed", SILENT["seed"])
    values = {
        **dataclasses.asdict(network),
        "batch_rows": rows,
        "train_iterations": last,
        "lr_decay_iterations": decay_iterations(settings, last),
        "learning_rate": optimizer["lr"],
        "min_learning_rate": number(settings, "min_lr"),
        "warmup_fraction": number(settings, "warmup"),
        "lr_schedule": era,
        "weight_decay": number_of_era(settings, "weight_decay", era),
        "beta1": optimizer["betas"][0],
        "beta2": optimizer["betas"][1],
        "epsilon": optimizer["eps"],
        "gradient_clip": number_of_era(settings, "gradient_clipping", era),
        "initialisation": initialisation(settings),
        "rotary_precision": dtype,
        "weight_seed": seed,
        "data_seed": seed,
        "compute_dtype": dtype,
        "checkpoint_steps": grid(settings, last, era),
        "hub_steps_per_iteration": 1,
    }
    return Recipe.from_json(values, settings.where)


def adam(settings: Settings) -> JsonObject:
    """Parameters of the optimizer, with Adam's own where they are silent; raises ModelError for another one."""
    said = settings.get("optimizer")
    kind, params = said.get("type"), said.get("params") or {}
    if not isinstance(kind, str) or kind.lower() != "adam":
        raise ModelError(f"{settings.where}: optimizer.type is {kind!r}; only 'Adam' is done here")
    for key in params:
        if key not in OPTIMIZER_PARAMS:
            raise ModelError(f"{settings.where}: optimizer.params.{key} is not known here; only lr, betas and eps are")
    if "lr" not in params:
        raise ConfigError(f"{settings.where}: 'optimizer.params.lr' is missing")
    return {"betas": (0.9, 0.999), "eps": 1e-8, **params}


def initialisation(settings: Settings) -> str:
    """Name of the pair of init methods; raises ModelError for another."""
    pair = tuple(settings.get(key, SILENT[key]) for key in ("init_method", "output_layer_init_method"))
    if pair not in INIT_PAIRS:
        raise ModelError(f"{settings.where}: init methods {pair} are not known here; known are {sorted(INIT_PAIRS)}")
    made = INIT_PAIRS[pair]
    if made == "neox_default" and number(settings, "init_method_std", NORMAL_STD) != NORMAL_STD:
        raise ModelError(
            f"{settings.where}: init_method_std is {settings.get('init_method_std')}; only {NORMAL_STD} is done here"
        )
    return made


def decay_iterations(settings: Settings, last: int) -> int:
    """Iterations over which the learning rate decays."""
    if settings.get("lr_decay_iters") is not None or settings.get("lr_decay_fraction") is None:
        return settings.whole("lr_decay_iters", last)
    return math.floor(last * number(settings, "lr_decay_fraction"))


def grid(settings: Settings, last: int, era: str) -> list[int]:
    """Steps that gpt-neox saves: the extra ones, those of the interval, and the last.

    With checkpoint-scale log these are the powers of the factor, since September 2024 with 1 among them; raises
    ConfigError where the era leaves that open.
    """
    extra = settings.get("extra_save_iters", [])
    name = "checkpoint_factor" if settings.get("checkpoint_factor") is not None else "save_interval"
    if settings.get("save_interval") not in {None, settings.get(name)}:
        raise ConfigError(f"{settings.where}: both checkpoint-factor and its old name save-interval; leave one")
    scale = settings.get("checkpoint_scale", "linear")
    if not isinstance(extra, list) or any(type(step) is not int for step in extra):
        raise ConfigError(f"{settings.where}: extra-save-iters is {extra!r}; it must be a list of whole numbers")
    if scale not in {"linear", "log"}:
        raise ConfigError(f"{settings.where}: checkpoint-scale is {scale!r}; known are linear, log")
    if scale == "linear":
        interval = settings.whole(name, 0)
        regular = set(range(interval, last, interval)) if interval > 0 else set()
    else:
        regular = powers(settings, settings.get(name), last, era, with_one=1 in extra)
    return sorted(step for step in {*extra, *regular, last} if 0 <= step <= last)


def powers(settings: Settings, factor: Any, last: int, era: str, *, with_one: bool) -> set[int]:
    """Powers of ``factor`` below ``last``; 1 is among them by the code of the last era only."""
    if isinstance(factor, bool) or not isinstance(factor, int | float) or factor <= 1:
        raise ConfigError(
            f"{settings.where}: checkpoint-factor is {factor!r}; with checkpoint-scale log it must exceed 1"
        )
    if era == ERAS[1] and not with_one:
        raise ConfigError(
            f"{settings.where}: whether checkpoint-scale log saves step 1 changed within the versions of {era}; add "
            "extra-save-iters [1], or leave the scale out"
        )
    if era != ERAS[2] and type(factor) is not int:
        raise ConfigError(f"{settings.where}: checkpoint-factor {factor} is no whole number, which {era} does not take")
    found, power = {1} if era == ERAS[2] else set(), factor
    while power < last:
        found.add(int(power))
        power *= factor
    return found
