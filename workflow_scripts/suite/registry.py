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
from workflow_scripts.suite import GPT_NEOX
from workflow_scripts.suite.models import CHECKPOINT_FILES, Dataset, Model, Suite, Task
from workflow_scripts.suite.revision_names import DEFAULT, ledger_grid, revision_name
from workflow_scripts.suite.schema import load_named
from workflow_scripts.suite.steps import expand_part, split_parts
from workflow_scripts.suite.task_facts import name_today, tasks_below

SUITES = ROOT / "config" / "suites"
VOCABULARY_MULTIPLE = 128  # GPT-NeoX pads the vocabulary to a multiple of 128 x tensor-parallel size
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]|\.(?!\.)){0,95}")
# Numbers that some part of a suite file must give to each model. Without the others it cannot be trained here.
NEEDED = ("layers", "hidden_size", "heads", "sequence_length", "batch_rows", "published_dtype")
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
    facts = load_named(SUITES, name, "suite", "suite")
    if facts["suite"] != name:
        raise ConfigError(f"config/suites/{name}.yaml: suite: '{facts['suite']}' is not the name of its file")
    return build_suite(facts)


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
        datasets={key: Dataset(key=key, **values) for key, values in facts.get("datasets", {}).items()},
        models=models,
        tasks={key: build_task(key, values) for key, values in facts.get("tasks", {}).items()},
        published=facts.get("published"),
        ledgers=tuple(dict.fromkeys(family["ledger"] for family in facts["families"] if "ledger" in family)),
    )


def build_task(name: str, values: JsonMapping) -> Task:
    """One task of a suite file."""
    return Task(**{**values, "name": name, "splits": tuple(values.get("splits", ()))})


def family_models(facts: JsonMapping, family: JsonMapping) -> Iterator[Model]:
    """Models of one family: sizes x data sets x seeds. Data that a suite does not know it calls standard."""
    known = facts.get("datasets", {"standard": None})
    for size in family["sizes"]:
        if size not in facts["sizes"]:
            raise UnknownNameError("size", size, facts["sizes"], f"suite {facts['suite']}")
        for dataset in family.get("datasets", ["standard"]):
            if dataset not in known:
                raise UnknownNameError("data set", dataset, known, f"suite {facts['suite']}")
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
    architecture = str(numbers.get("architecture") or facts.get("architecture") or GPT_NEOX)
    if architecture != GPT_NEOX and "parameters" not in numbers:
        raise ConfigError(
            f"suite {facts['suite']}: model {name} has no parameters; only those of a GPT-NeoX follow from its shape, "
            f"so write how many it has in the size {size}"
        )
    peak, ratio = float_in(numbers, "learning_rate"), float_in(numbers, "min_learning_rate_ratio")
    readme = float_in(numbers, "readme_learning_rate")
    weight_seed, data_seed = seeds_of(family["name"], numbers.get("seed"), seed)
    grid = grid_of(facts, family, numbers, name)
    steps = tuple(grid)
    per_iteration = numbers.get("hub_steps_per_iteration", 1)
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
        train_iterations=numbers.get("train_iterations", max(steps, default=0) // per_iteration),
        hub_steps_per_iteration=per_iteration,
        learning_rate=peak,
        readme_learning_rate=peak if readme is None else readme,
        min_learning_rate=None if peak is None or ratio is None else peak * ratio,
        warmup_fraction=float_in(numbers, "warmup_fraction"),
        lr_schedule=numbers.get("lr_schedule"),
        initialisation=numbers.get("initialisation"),
        training_dtype=numbers.get("training_dtype"),
        published_dtype=numbers["published_dtype"],
        weight_seed=weight_seed,
        data_seed=data_seed,
        tensor_parallel=numbers.get("tensor_parallel", 1),
        steps=steps,
        files=tuple(sorted(numbers.get("files", CHECKPOINT_FILES))),
        architecture=architecture,
        revision_pattern=family.get("revision", DEFAULT),
        revisions=tuple(grid.values()) if any(grid.values()) else (),
        ledger=family.get("ledger", ""),
        given_parameters=numbers.get("parameters"),
        tied=numbers.get("tied_embeddings", False),
    )


def float_in(numbers: JsonMapping, key: str) -> float | None:
    """A number that a suite may not know; null is the same as saying nothing."""
    return None if numbers.get(key) is None else float(numbers[key])


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


def seeds_of(pattern: str, default: int | None, seed: int | None) -> tuple[int | None, int | None]:
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


def grid_of(facts: JsonMapping, family: JsonMapping, numbers: JsonMapping, model: str) -> dict[int, str]:
    """Hub steps of a model and their revisions, steps rising: from the family's steps, or from its ledger."""
    pattern, named = family.get("revision", DEFAULT), family.get("named", {})
    if ("ledger" in family) == ("steps" in family):
        raise ConfigError(f"suite {facts['suite']}: family {family['name']} needs steps or a ledger, and not both")
    if "ledger" in family:
        if "{step" not in pattern:
            raise ConfigError(
                f"suite {facts['suite']}: {pattern} names no {{step}}, so a ledger does not say its steps"
            )
        return ledger_grid(ROOT / family["ledger"], model, pattern)
    expression = facts.get("grids", {}).get(family["steps"], family["steps"])
    steps = sorted({step for part in split_parts(expression) for step in expand_part(part, ())})
    if "revision" not in family and not named:
        return dict.fromkeys(steps, "")
    tokens = numbers["batch_rows"] * numbers["sequence_length"]
    per_iteration = numbers.get("hub_steps_per_iteration", 1)
    found = {
        step: named.get(str(step)) or revision_name(pattern, step, index, step // per_iteration * tokens)
        for index, step in enumerate(steps)
    }
    steps_of: dict[str, int] = {}
    for step, revision in found.items():
        if (other := steps_of.setdefault(revision, step)) != step:
            raise ConfigError(
                f"suite {facts['suite']}: steps {other} and {step} of {model} are both the revision {revision}; "
                "write {step} or {index} in `revision`, or other names in `named`"
            )
    return found


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
        facts = model.training_facts
        peak = numbers.get("learning_rate", facts.learning_rate)
        floor = facts.min_learning_rate / facts.learning_rate * peak
        models[model.name] = replace(model, **{"min_learning_rate": floor, **numbers})
    return replace(suite, models=models)
