"""Reads ``config/suites/<suite>.yaml`` into a :class:`Suite`.

A suite file states each fact once: shapes per size, what all models share, and families that combine sizes with data
sets (and seeds) under a name pattern. Precedence for a model's numbers, weakest first: ``recipe``, the size, the
family's ``recipe``, its ``by_size`` and ``by_model``, and last the run's overrides.
"""

import functools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from workflow_scripts import ROOT
from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.suite.architectures import GPT_NEOX
from workflow_scripts.suite.models import CHECKPOINT_FILES, Dataset, Model, Suite, Task
from workflow_scripts.suite.schema import load_named
from workflow_scripts.suite.steps import expand_part, split_parts
from workflow_scripts.suite.task_facts import name_today, tasks_below

SUITES = ROOT / "config" / "suites"
VOCABULARY_MULTIPLE = 128  # GPT-NeoX pads the vocabulary to a multiple of 128 x tensor-parallel size
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,95}")
# Numbers that some part of a suite file must give to each model; the others have defaults.
NEEDED = (
    *("layers", "hidden_size", "heads", "sequence_length", "batch_rows", "train_iterations", "learning_rate"),
    *("min_learning_rate_ratio", "warmup_fraction", "lr_schedule", "initialisation"),
    *("training_dtype", "published_dtype", "seed"),
)
SUFFIXES = {"standard": "", "deduped": "-deduped"}
# Numbers of a model that a run may change from its configuration.
OVERRIDABLE = frozenset(
    {
        *("learning_rate", "min_learning_rate", "warmup_fraction", "lr_schedule", "weight_seed", "data_seed"),
        "training_dtype",
    }
)

VARIANT = "variant"  # version of the models that a run adds
ALL = "all"  # in a run's lists of models and tasks


def suite_names() -> list[str]:
    """Names of the suites in ``config/suites``."""
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


@functools.cache
def load_suite(name: str) -> Suite:
    """The suite called ``name``; raises UnknownNameError or ConfigError."""
    return build_suite(load_named(SUITES, name, "suite", "suite"))


def build_suite(facts: JsonMapping) -> Suite:
    """Suite described by the checked contents of a suite file."""
    models: dict[str, Model] = {}
    for family in facts["families"]:
        for model in family_models(facts, family):
            if model.name in models:
                raise ConfigError(f"suite {facts['suite']}: two families define a model called {model.name}")
            models[model.name] = model
    return Suite(
        name=facts["suite"],
        organisation=facts["organisation"],
        tokenizer=facts["tokenizer"],
        corpus=facts.get("corpus"),
        datasets={key: Dataset(key=key, **values) for key, values in facts["datasets"].items()},
        models=models,
        tasks={key: build_task(key, values) for key, values in facts.get("tasks", {}).items()},
    )


def build_task(name: str, values: JsonMapping) -> Task:
    """One task of a suite file."""
    return Task(**{**values, "name": name, "splits": tuple(values.get("splits", ()))})


def family_models(facts: JsonMapping, family: JsonMapping) -> Iterator[Model]:
    """Models of one family: sizes x data sets x seeds."""
    for size in family["sizes"]:
        if size not in facts["sizes"]:
            raise UnknownNameError("size", size, facts["sizes"], f"suite {facts['suite']}")
        for dataset in family["datasets"]:
            if dataset not in facts["datasets"]:
                raise UnknownNameError("data set", dataset, facts["datasets"], f"suite {facts['suite']}")
            for seed in family.get("seeds", [None]):
                yield build_model(facts, family, size, dataset, seed)


def build_model(facts: JsonMapping, family: JsonMapping, size: str, dataset: str, seed: int | None) -> Model:
    """One model, its numbers merged in the order the module docstring gives."""
    name = checked_name(model_name(family, size, dataset, seed))
    numbers: JsonObject = {**facts["recipe"], **facts["sizes"][size], **family.get("recipe", {})}
    numbers |= family.get("by_size", {}).get(size, {}) | family.get("by_model", {}).get(name, {})
    if missing := [key for key in NEEDED if key not in numbers]:
        raise ConfigError(
            f"suite {facts['suite']}: model {name} has no {missing[0]}; set it in 'recipe', in the size {size} or in "
            "the family"
        )
    old_sizes = numbers.get("aliases", [])
    peak = float(numbers["learning_rate"])
    weight_seed, data_seed = seeds_of(family["name"], int(numbers["seed"]), seed)
    return Model(
        name=name,
        suite=facts["suite"],
        version=family["version"],
        size=size,
        dataset=dataset,
        arm=family.get("arm", "baseline"),
        repository=f"{facts['organisation']}/{name}",
        aliases=tuple(checked_name(model_name(family, old, dataset, seed)) for old in old_sizes),
        layers=numbers["layers"],
        hidden_size=numbers["hidden_size"],
        heads=numbers["heads"],
        vocab_size=padded_vocabulary(facts, numbers),
        sequence_length=numbers["sequence_length"],
        batch_rows=numbers["batch_rows"],
        train_iterations=numbers["train_iterations"],
        hub_steps_per_iteration=numbers.get("hub_steps_per_iteration", 1),
        learning_rate=peak,
        readme_learning_rate=float(numbers.get("readme_learning_rate", peak)),
        min_learning_rate=peak * float(numbers["min_learning_rate_ratio"]),
        warmup_fraction=float(numbers["warmup_fraction"]),
        lr_schedule=numbers["lr_schedule"],
        initialisation=numbers["initialisation"],
        training_dtype=numbers["training_dtype"],
        published_dtype=numbers["published_dtype"],
        weight_seed=weight_seed,
        data_seed=data_seed,
        tensor_parallel=numbers.get("tensor_parallel", 1),
        steps=grid_steps(facts, family["steps"]),
        files=tuple(sorted(numbers.get("files", CHECKPOINT_FILES))),
        architecture=str(numbers.get("architecture") or facts.get("architecture") or GPT_NEOX),
    )


def model_name(family: JsonMapping, size: str, dataset: str, seed: int | None) -> str:
    """Name of a model by its family's pattern, e.g. ``pythia-410m-deduped``."""
    return str(family["name"]).format(size=size, suffix=SUFFIXES[dataset], seed=seed)


def checked_name(name: str) -> str:
    """``name`` of a model when it can be a part of paths and commands; raises ConfigError.

    The schema holds each part of a name to this; a name is more than its parts.
    """
    if not NAME.fullmatch(name):
        allowed = "letters, digits, dot, dash and underscore, a letter or digit first"
        raise ConfigError(f"{name!r} is not a valid model name; allowed are {allowed}")
    return name


def seeds_of(pattern: str, default: int, seed: int | None) -> tuple[int, int]:
    """Seeds of weights and of data order: a ``-data-seed`` or ``-weight-seed`` family changes only one of them."""
    if seed is None:
        return default, default
    if "-data-seed" in pattern:
        return default, seed
    if "-weight-seed" in pattern:
        return seed, default
    return seed, seed


def padded_vocabulary(facts: JsonMapping, numbers: JsonMapping) -> int:
    """Rows of the embedding matrices: as stated, or padded as GPT-NeoX pads."""
    if "padded_vocab_size" in numbers:
        return int(numbers["padded_vocab_size"])
    multiple = VOCABULARY_MULTIPLE * int(numbers.get("tensor_parallel", 1))
    entries = int(facts["tokenizer"]["vocab_size"])
    return math.ceil(entries / multiple) * multiple


def grid_steps(facts: JsonMapping, steps: str) -> tuple[int, ...]:
    """Hub steps of a family: a named grid of the suite file or an expression of its own."""
    expression = facts.get("grids", {}).get(steps, steps)
    return tuple(sorted({step for part in split_parts(expression) for step in expand_part(part, ())}))


def with_variants(suite: Suite, variants: Mapping[str, JsonMapping]) -> Suite:
    """Suite and the models that a run adds: each ``of`` a model of the suite, with other numbers and its own name.

    A variant is of version ``variant``, so ``all`` does not mean it. Raises ConfigError for a name that is taken, in
    another suite too: results of all suites lie beside each other, on some file systems without regard to case.
    """
    models = dict(suite.models)
    taken = {name.lower() for known in map(load_suite, suite_names() if variants else []) for name in known.models}
    for name, numbers in variants.items():
        if suite.knows(checked_name(name)) or name.lower() in {*taken, ALL}:
            raise ConfigError(f"variants.{name}: a suite has a model of this name; choose another")
        taken.add(name.lower())
        changes = {key: value for key, value in numbers.items() if key != "of"}
        base = override(suite, {str(numbers["of"]): changes}).model(str(numbers["of"]))
        organisation = base.repository.rpartition("/")[0]
        models[name] = replace(base, name=name, version=VARIANT, repository=f"{organisation}/{name}", aliases=())
    return replace(suite, models=models)


def with_tasks(suite: Suite, tasks: Mapping[str, JsonMapping]) -> Suite:
    """Suite and the tasks that a run adds; raises ConfigError for a name that a suite or lm-eval has."""
    taken = {name for known in map(load_suite, suite_names() if tasks else []) for name in known.tasks} | {ALL}
    for name in tasks:
        if name in taken or tasks_below(name) or name_today(name) != name:
            owner = "a suite" if name in taken else "lm-eval"
            raise ConfigError(f"own_tasks.{name}: {owner} has a task of this name; choose another")
        others = [*suite.tasks.values(), *(build_task(key, facts) for key, facts in tasks.items() if key != name)]
        if any(other.title == tasks[name]["title"] for other in others):
            raise ConfigError(f"own_tasks.{name}.title: another task has this title; figures would mix them up")
    return replace(suite, tasks={**suite.tasks, **{name: build_task(name, facts) for name, facts in tasks.items()}})


def override(suite: Suite, changes: Mapping[str, JsonMapping]) -> Suite:
    """Suite with some numbers of some models changed, as a run's ``overrides`` asks.

    The floor of the learning rate keeps its ratio to the peak unless it is changed too.
    """
    models = dict(suite.models)
    for name, numbers in changes.items():
        model = suite.model(name)
        for key in numbers:
            if key not in OVERRIDABLE:
                raise UnknownNameError("number to override", key, sorted(OVERRIDABLE), f"overrides.{name}")
        peak = numbers.get("learning_rate", model.learning_rate)
        floor = model.min_learning_rate / model.learning_rate * peak
        models[model.name] = replace(model, **{"min_learning_rate": floor, **numbers})
    return replace(suite, models=models)
