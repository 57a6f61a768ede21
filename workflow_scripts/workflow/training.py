"""What ``rules/training.smk`` looks up: which job makes which checkpoints, recipes, and the original's launch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import ConfigError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.suite import layout
from workflow_scripts.suite.arms import load_declaration, start_iteration
from workflow_scripts.suite.figure_names import has_held_out_text
from workflow_scripts.suite.models import CHECKPOINT_FILES, Model
from workflow_scripts.suite.run import Run
from workflow_scripts.training.recipe import recipe_of
from workflow_scripts.training.write_recipe import TYPES, fields_of
from workflow_scripts.workflow.requests.cluster_site import Site, read_site
from workflow_scripts.workflow.snakemake_types import Wildcards
from workflow_scripts.workflow.training_segments import AUTO, WHOLE, devices_of, ends_of, expected_seconds

SAVED_FILES = ("model.safetensors", "state.json")
# What continuing from a checkpoint takes beside them.
RESUME_FILES = ("optimizer.safetensors", "metrics.csv")
# A checkpoint as it is published: the files of a repository of the suite, and the list of their hashes.
PUBLISHED_FILES = (*CHECKPOINT_FILES, layout.HASH_LIST)
RUN_RECEIPT = "run.json"
DAY = 86_400.0
# The program refuses this folder by name; a run without a checkout still has a graph.
NO_CHECKOUT = "training.neox.checkout-is-not-set"


@dataclass(frozen=True)
class TrainingJob:
    """One job for each of ``models``: training from iteration ``before`` (None for the start) to ``end``.

    It saves the checkpoints of ``steps`` (iterations), those of ``resumable`` with the optimizer's state; ``kept`` are
    all steps of these models that are resumable, in whichever job. ``part`` ends the name of its rule: ``model``, or
    ``segment_<end>``.
    """

    part: str
    models: tuple[str, ...]
    before: int | None
    end: int
    is_last: bool
    steps: tuple[int, ...]
    resumable: tuple[int, ...]
    kept: tuple[int, ...]


def kept_iterations(run: Run, model: Model) -> tuple[int, ...]:
    """Iterations of ``model`` from which an arm may continue, saved with the optimizer's state.

    Those of all arms of the run's declaration, for every model: which arms, models or experiments a run chooses must
    not change what its baseline is. Arms that leave a model nothing to train do not count.
    """
    declared = run.section("interventions").get("declaration")
    arms = load_declaration(declared).arms.values() if declared else ()
    found = set()
    for arm in arms:
        try:
            found.add(start_iteration(model, arm))
        except ConfigError:  # such an arm is refused where a run chooses it for this model
            continue
    return tuple(sorted(found))


def grid_of(model: Model) -> tuple[int, ...]:
    """Iterations of the checkpoints that a model is published with."""
    return tuple(model.step(hub).iteration for hub in model.steps)


def grouped(models: Sequence[Model], key: Callable[[Model], Any]) -> list[tuple[str, tuple[str, ...], Any]]:
    """Models with the same ``key``, the largest group first: an ending for the name of its rule, names, and the key.

    The ending of the first group is empty: mostly all models of a run are alike.
    """
    groups: dict[Any, list[str]] = {}
    for model in models:
        groups.setdefault(key(model), []).append(model.name)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [
        ("" if number == 1 else f"_{number}", tuple(names), found) for number, (found, names) in enumerate(ordered, 1)
    ]


def training_jobs(run: Run) -> list[TrainingJob]:
    """The trainings of a run: one job where ``training.segments`` is whole, else one for each segment.

    Models that train on several nodes are jobs of another kind to Slurm and to Snakemake, so they have their own rules.
    """
    site = read_site()

    def key(model: Model) -> tuple[Any, ...]:
        return grid_of(model), kept_iterations(run, model), ends_of(run, model, site), spans_nodes(run, model, site)

    groups = grouped(run.models, key) if run.retrains else []
    return [job for ending, names, found in groups for job in segments_of(ending, names, *found[:3])]


def spans_nodes(run: Run, model: Model, site: Site) -> bool:
    """Whether ``model`` trains on several nodes."""
    devices = devices_of(run, model, site)
    return devices is not None and devices.nodes > 1


def require_same_segments(run: Run) -> None:
    """Refuse to train again for days what was trained in other segments than ``auto`` makes now; raises ConfigError.

    A changed time limit or rate in the site's file moves the ends; what is there could not be continued from them.
    """
    site = read_site()
    if not run.retrains or run.section("training").get("segments", AUTO) != AUTO:
        return
    for model in run.models:
        if expected_seconds(run, model, site) < DAY:
            continue
        folder = Path(layout.training_folder(model.name))
        saved = {int(path.parent.name.removeprefix("step")) for path in folder.glob("step*/optimizer.safetensors")}
        old, new = sorted(saved - set(kept_iterations(run, model))), ends_of(run, model, site)
        trained_whole = (folder / RUN_RECEIPT).is_file() and not old and len(new) > 1
        if trained_whole or set(old) - set(new):
            steps = [end * model.hub_steps_per_iteration for end in old]
            raise ConfigError(
                f"{folder}: was trained in other segments than training.segments: auto makes now and would be trained "
                f"again; keep it with training.segments: {steps or WHOLE}, or delete that folder"
            )


def segments_of(
    ending: str, names: tuple[str, ...], grid: tuple[int, ...], arms: tuple[int, ...], ends: tuple[int, ...]
) -> list[TrainingJob]:
    """The jobs of models with one grid."""
    kept = tuple(sorted({*arms, *ends[:-1]}))
    jobs = []
    for before, end in zip((None, *ends), ends, strict=False):
        mine = [step for step in sorted({*grid, *kept}) if (-1 if before is None else before) < step <= end]
        is_last = end == ends[-1]
        jobs.append(
            TrainingJob(
                part=f"model{ending}" if is_last else f"segment{ending}_{end}",
                models=names,
                before=before,
                end=end,
                is_last=is_last,
                steps=tuple(mine),
                resumable=tuple(step for step in mine if step in kept),
                kept=kept,
            )
        )
    return jobs


def revisions_of(model: Model) -> tuple[str, ...]:
    """Revisions under which a trained model is published: every step, and the last one as ``main`` too."""
    names = [model.step(hub).revision for hub in model.steps]
    ends = [model.step(hub).iteration for hub in model.steps]
    return (*names, "main") if ends[-1] == model.train_iterations else tuple(names)


def trainable(run: Run) -> list[Model]:
    """Models of the run of which the suite knows how they were trained."""
    return [model for model in run.models if not model.unknown_of_training]


def in_grid(run: Run) -> Callable[[str], Callable[[Wildcards], list[str]]]:
    """A function that turns a pattern into an input function: ``{step}`` is every iteration of the job's model.

    The model's whole grid and not the steps of the run, so that one step more or less changes no file.
    """
    models = {model.name: model for model in run.models}

    def of_grid(pattern: str) -> Callable[[Wildcards], list[str]]:
        return lambda wildcards: [
            pattern.format(model=wildcards.model, step=step) for step in grid_of(models[wildcards.model])
        ]

    return of_grid


def each_revision(run: Run, pattern: str, model: str | None = None) -> list[str]:
    """``pattern`` for every ``{revision}`` that is published here, of one or all models; nothing where none is trained.

    ``{file}`` is each file of a revision.
    """
    chosen = [each for each in run.models if model in (None, each.name)] if run.retrains else []
    found = [
        pattern.format(organisation=run.suite.organisation, model=each.name, revision=revision, file=file)
        for each in chosen
        for revision in revisions_of(each)
        for file in PUBLISHED_FILES
    ]
    return list(dict.fromkeys(found))


def in_mirror(run: Run) -> Callable[[str], Callable[[Wildcards], list[str]]]:
    """A function that turns a pattern into an input function: :func:`each_revision` of the job's model."""
    return lambda pattern: lambda wildcards: each_revision(run, pattern, wildcards.model)


def recipe_parameters(run: Run) -> dict[str, Callable[[Wildcards], str]]:
    """Parameters of the rule that writes a recipe: every field as a function of the wildcards, ``name=value``."""
    fields = {model.name: fields_of(recipe_of(model)) for model in trainable(run)}

    def look_up(name: str) -> Callable[[Wildcards], str]:
        return lambda wildcards: fields[wildcards.model][name]

    return {name: look_up(name) for name in TYPES}


def trained_files(run: Run) -> list[str]:
    """Every file of the trainings themselves: recipes, checkpoints, logs."""
    found = []
    for job in training_jobs(run):
        for name in job.models:
            folder = f"{layout.RESULTS}/training/{name}"
            found += [f"{folder}/step{step}/{file}" for step in job.steps for file in SAVED_FILES]
            found += [f"{folder}/step{step}/{file}" for step in job.resumable for file in RESUME_FILES]
    for model in run.models if run.retrains else ():
        logs = ["recipe.json", "metrics.csv", "run.json", *(["validation.csv"] if has_held_out_text(run) else [])]
        found += [f"{layout.RESULTS}/training/{model.name}/{name}" for name in logs]
    return found


def published_files(run: Run) -> list[str]:
    """Every file of the trained models in the local mirror."""
    found = []
    for model in run.models if run.retrains else ():
        mirror = f"{layout.MIRROR}/models/{model.repository}"
        found += [f"{mirror}/{revision}/{file}" for revision in revisions_of(model) for file in PUBLISHED_FILES]
        found.append(f"{mirror}/published.json")
    return found


def mirrored_files(run: Run) -> list[str]:
    """Every file of the models that are trained here, as they are published in the local mirror."""
    folder = f"{layout.MIRROR}/models"
    receipts = [f"{folder}/{model.repository}/published.json" for model in run.models] if run.retrains else []
    return [*receipts, *each_revision(run, f"{folder}/{{organisation}}/{{model}}/{{revision}}/{{file}}")]


# The original GPT-NeoX, from the section ``training.neox`` of a run.


def neox_settings(run: Run) -> JsonMapping:
    """The section; its values are checked by the schema and by the programs."""
    return run.section("training").get("neox") or {}


def neox_options(run: Run) -> Callable[[Wildcards], list[str]]:
    """Parameter function: hosts and the weights to start from, as far as the run names them."""
    settings = neox_settings(run)

    def look_up(wildcards: Wildcards) -> list[str]:
        start = settings.get("start_from")
        values = {
            "--hostfile": settings.get("hostfile"),
            "--start-step": settings.get("start_step"),
            "--start-from": start and str(start).replace("{model}", wildcards.model),
        }
        return [text for name, value in values.items() if value is not None for text in (name, str(value))]

    return look_up


def neox_python(run: Run) -> list[str]:
    """The interpreter that GPT-NeoX's requirements are in, as an argument; nothing where the run does not name one."""
    python = neox_settings(run).get("python")
    return ["--python", str(python)] if python else []


def neox_gpus_per_node(run: Run) -> int:
    """GPUs that the job asks for on its own node."""
    return min(int(neox_settings(run).get("gpus", 1)), read_site().cluster.per_node)
