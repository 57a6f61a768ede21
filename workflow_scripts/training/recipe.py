"""Every number that a training run depends on, as one frozen object.

A :class:`Recipe` is read from JSON or built from the suite's registry; nothing about the arithmetic of training is
decided anywhere else, and nothing in it says how fast or where to run (threads, micro-batch, devices). Its identity
excludes the checkpoint grid, which changes no weight. It must not hold a default: a recipe says everything.

    python -m workflow_scripts.training.recipe --suite pythia --model pythia-410m
    python -m workflow_scripts.training.recipe --suite pocket --model pocket-1m --output recipe.json

prints the recipe as JSON, and on standard error the source of each number and what is disputed about it; with
--output it only writes the file.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.errors import ConfigError, DataError, MissingInputError, UnknownNameError
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.hashing import sha256_text
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.registry import load_suite

LOG = logging.getLogger(__name__)
LR_SCHEDULES = ("neox_v1", "neox_2023_08", "neox_2026_05")
INITIALISATIONS = ("small_wang", "neox_default")
PRECISIONS = ("float32", "float16", "bfloat16")
CHOICES = {
    "lr_schedule": LR_SCHEDULES,
    "initialisation": INITIALISATIONS,
    "compute_dtype": PRECISIONS,
    "rotary_precision": PRECISIONS,
}
NOT_IDENTITY = ("name", "checkpoint_steps", "hub_steps_per_iteration")


@dataclass(frozen=True)
class Network:
    """Shape of a model without anything about its training; the fields are those of :class:`Recipe`."""

    name: str
    layers: int
    hidden_size: int
    heads: int
    vocab_size: int
    sequence_length: int
    layer_norm_epsilon: float
    rotary_fraction: float
    rotary_base: float


@dataclass(frozen=True)
class Recipe:
    """All numbers of one training run; steps are optimizer iterations, learning rates are peaks and floors.

    ``batch_rows`` rows of ``sequence_length`` predicted tokens make one iteration. ``vocab_size`` is padded.
    ``warmup_fraction`` is a share of ``lr_decay_iterations``. ``weight_seed`` draws the weights, ``data_seed`` the
    order of the rows. ``hub_steps_per_iteration`` is 2 for the v0 models that were published under doubled step names.
    Raises ConfigError when a number is impossible.
    """

    name: str
    layers: int
    hidden_size: int
    heads: int
    vocab_size: int
    sequence_length: int
    batch_rows: int
    train_iterations: int
    lr_decay_iterations: int
    learning_rate: float
    min_learning_rate: float
    warmup_fraction: float
    lr_schedule: str
    weight_decay: float
    beta1: float
    beta2: float
    epsilon: float
    gradient_clip: float
    initialisation: str
    layer_norm_epsilon: float
    rotary_fraction: float
    rotary_base: float
    rotary_precision: str
    weight_seed: int
    data_seed: int
    compute_dtype: str
    checkpoint_steps: tuple[int, ...]
    hub_steps_per_iteration: int

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        for field in dataclasses.fields(self):
            check_type(field.name, str(field.type), getattr(self, field.name))
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UnknownNameError(name, getattr(self, name), allowed, "recipe")
        check_shape(self)
        check_numbers(self)

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.heads

    @property
    def rotary_dims(self) -> int:
        """Dims of each head that are rotated."""
        return int(self.head_size * self.rotary_fraction)

    @property
    def batch_tokens(self) -> int:
        """Predicted tokens of one iteration."""
        return self.batch_rows * self.sequence_length

    @property
    def parameters(self) -> int:
        """All parameters: 12 L d^2 + 13 L d + 2 d + 2 V d."""
        layers, width = self.layers, self.hidden_size
        return 12 * layers * width**2 + 13 * layers * width + 2 * width + 2 * self.vocab_size * width

    @property
    def flops_per_token(self) -> int:
        """Multiply-adds of a training step per token, times two: 6 (N - V d) + 12 L d T, no causal discount (PaLM)."""
        matrices = self.parameters - self.vocab_size * self.hidden_size
        return 6 * matrices + 12 * self.layers * self.hidden_size * self.sequence_length

    @property
    def identity(self) -> str:
        """sha256 of everything that decides the weights; the name and the checkpoint grid are left out."""
        decisive = {key: value for key, value in self.to_json().items() if key not in NOT_IDENTITY}
        return sha256_text(json.dumps(decisive, sort_keys=True))

    def to_json(self) -> JsonObject:
        """JSON object with every field."""
        return {**dataclasses.asdict(self), "checkpoint_steps": list(self.checkpoint_steps)}

    @property
    def argument(self) -> str:
        """The same as one word of a command line, which :func:`read_recipe` takes; equal recipes give equal text."""
        return json.dumps(self.to_json(), sort_keys=True)

    @classmethod
    def from_json(cls, values: JsonMapping, where: str = "recipe") -> Recipe:
        """Recipe from a JSON object; raises ConfigError naming unknown, missing and impossible values."""
        known = [field.name for field in dataclasses.fields(cls)]
        for key in values:
            if key not in known:
                raise UnknownNameError("key", key, known, where)
        missing = [key for key in known if key not in values]
        if missing:
            raise ConfigError(f"{where}: '{missing[0]}' is missing; a recipe states every number ({len(known)} keys)")
        numbers = {**values, "checkpoint_steps": as_steps(values["checkpoint_steps"], where)}
        for field in dataclasses.fields(cls):  # 1 is a fine float in JSON
            if field.type == "float" and type(numbers[field.name]) is int:
                numbers[field.name] = float(numbers[field.name])
        return cls(**numbers)

    def saving(self, steps: Collection[int]) -> Recipe:
        """The same recipe with ``steps`` as its grid of checkpoints; its identity stays. Raises ConfigError."""
        return dataclasses.replace(self, checkpoint_steps=tuple(sorted(set(steps))))

    def differences(self, other: Recipe) -> list[str]:
        """Lines ``key: mine -> other's`` for every decisive number that differs."""
        mine, theirs = self.to_json(), other.to_json()
        return [
            f"{key}: {mine[key]} -> {theirs[key]}"
            for key in mine
            if key not in NOT_IDENTITY and mine[key] != theirs[key]
        ]


def as_steps(value: object, where: str) -> tuple[int, ...]:
    """Checkpoint steps of a JSON value."""
    if not isinstance(value, list | tuple):
        raise ConfigError(f"{where}: checkpoint_steps must be a list of steps, not {value!r}")
    return tuple(value)


def check_type(name: str, kind: str, value: object) -> None:
    """Refuse a value of another type; booleans are no numbers, and NaN and infinity are none either."""
    allowed = {"int": int, "float": float, "str": str, "tuple[int, ...]": tuple}[kind]
    items = value if isinstance(value, tuple) else (value,)
    wrong = not isinstance(value, allowed) or any(isinstance(item, bool) for item in items)
    if wrong or (isinstance(value, tuple) and not all(isinstance(item, int) for item in items)):
        raise ConfigError(f"recipe: {name} is {value!r}; it must be of type {kind}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"recipe: {name} is {value}; it must be a finite number")


def check_shape(recipe: Recipe) -> None:
    """Refuse shapes that make no network."""
    sizes = ("layers", "hidden_size", "heads", "vocab_size", "sequence_length", "batch_rows", "train_iterations")
    for name in (*sizes, "lr_decay_iterations", "hub_steps_per_iteration"):
        if getattr(recipe, name) < 1:
            raise ConfigError(f"recipe: {name} is {getattr(recipe, name)}; it must be at least 1")
    if recipe.hidden_size % recipe.heads:
        raise ConfigError(f"recipe: hidden_size {recipe.hidden_size} is not a multiple of heads {recipe.heads}")
    if not 0 < recipe.rotary_fraction <= 1 or recipe.rotary_dims < 2 or recipe.rotary_dims % 2:
        raise ConfigError(
            f"recipe: rotary_fraction {recipe.rotary_fraction} of head size {recipe.head_size} makes "
            f"{recipe.rotary_dims} rotated dims; it must be an even number, at least 2"
        )


def check_numbers(recipe: Recipe) -> None:
    """Refuse impossible rates, seeds and checkpoint grids."""
    ranges = {
        "learning_rate": recipe.learning_rate >= 0,
        "min_learning_rate": 0 <= recipe.min_learning_rate <= recipe.learning_rate,
        "warmup_fraction": 0 <= recipe.warmup_fraction < 1,
        "weight_decay": recipe.weight_decay >= 0,
        "beta1": 0 <= recipe.beta1 < 1,
        "beta2": 0 <= recipe.beta2 < 1,
        "epsilon": recipe.epsilon > 0,
        "gradient_clip": recipe.gradient_clip > 0,
        "layer_norm_epsilon": recipe.layer_norm_epsilon > 0,
        "rotary_base": recipe.rotary_base > 1,
        "weight_seed": 0 <= recipe.weight_seed < 2**32,
        "data_seed": 0 <= recipe.data_seed < 2**32,
    }
    for name, is_possible in ranges.items():
        if not is_possible:
            raise ConfigError(f"recipe: {name} cannot be {getattr(recipe, name)}")
    steps = recipe.checkpoint_steps
    if not steps or list(steps) != sorted(set(steps)) or steps[0] < 0 or steps[-1] > recipe.train_iterations:
        raise ConfigError(
            f"recipe: checkpoint_steps must increase from 0 or more to at most {recipe.train_iterations}, "
            f"seen {list(steps[:3])} ... {list(steps[-3:])}"
        )


def recipe_of(model: Model) -> Recipe:
    """Recipe of a model of the registry; what all GPT-NeoX models of the suite share is stated here.

    Rotary angles are computed in the training precision, as gpt-neox v1.0 did. Raises ConfigError for a model of which
    the suite does not know how it was trained.
    """
    facts = model.training_facts
    return Recipe(
        name=model.name,
        layers=model.layers,
        hidden_size=model.hidden_size,
        heads=model.heads,
        vocab_size=model.vocab_size,
        sequence_length=model.sequence_length,
        batch_rows=model.batch_rows,
        train_iterations=model.train_iterations,
        lr_decay_iterations=model.train_iterations,
        learning_rate=facts.learning_rate,
        min_learning_rate=float(f"{facts.min_learning_rate:.12g}"),  # 0.1 x 3e-4 is meant to be 3e-5
        warmup_fraction=facts.warmup_fraction,
        lr_schedule=facts.lr_schedule,
        weight_decay=0.1,
        beta1=0.9,
        beta2=0.95,
        epsilon=1e-8,
        gradient_clip=1.0,
        initialisation=facts.initialisation,
        layer_norm_epsilon=1e-5,
        rotary_fraction=0.25,
        rotary_base=10000.0,
        rotary_precision=facts.training_dtype,
        weight_seed=facts.weight_seed,
        data_seed=facts.data_seed,
        compute_dtype=facts.training_dtype,
        checkpoint_steps=tuple(model.step(hub).iteration for hub in model.steps),
        hub_steps_per_iteration=model.hub_steps_per_iteration,
    )


def read_recipe(argument: str) -> Recipe:
    """Recipe given on the command line: a JSON object, or the path of a file with one."""
    is_literal = argument.lstrip().startswith("{")
    where = "--recipe" if is_literal else argument
    if not is_literal and not Path(argument).is_file():
        raise MissingInputError(f"{argument}: no such recipe file; give a file or a JSON object that starts with '{{'")
    text = argument if is_literal else Path(argument).read_text(encoding="utf-8")
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: not JSON at line {error.lineno}, column {error.colno}: {error.msg}") from None
    if not isinstance(values, dict):
        raise DataError(f"{where}: expected a JSON object, not {type(values).__name__}")
    return Recipe.from_json(values, where)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print or write the recipe of one model of a suite."""
    from workflow_scripts.training.recipe_sources import disputes, sources

    parser = cli.parser(__doc__)
    parser.add_argument("--suite", required=True, help="name of a file in config/suites, e.g. pythia")
    parser.add_argument("--model", required=True, help="name or old name of a model, e.g. pythia-410m")
    parser.add_argument("--output", type=Path, help="write the JSON here instead of standard output")
    options = parser.parse_args(arguments)
    model = load_suite(options.suite).model(options.model)
    recipe = recipe_of(model)
    if options.output:
        write_json(options.output, recipe.to_json())
        return
    sys.stdout.write(json.dumps(recipe.to_json(), indent=1) + "\n")
    for name, source in sources(model).items():
        LOG.info("%-24s %s", name, source)
    for line in disputes(model):
        LOG.info("disputed: %s", line)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
