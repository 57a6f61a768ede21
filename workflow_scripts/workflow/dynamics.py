"""What rules/dynamics.smk looks up: the declaration of a run, as short arguments, and the files that it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from workflow_scripts.json_values import JsonMapping
from workflow_scripts.suite.dynamics_settings import DEFAULT, EVERY_LAYER, Dynamics, dynamics_steps, load_dynamics
from workflow_scripts.suite.experiment_files import experiments_of, one_per_size
from workflow_scripts.suite.run import Run
from workflow_scripts.workflow.snakemake_types import Wildcards

# Files of one checkpoint, by the part of the declaration that asks for them.
FILES = {"weights": ("weights.parquet", "sketches.safetensors"), "probe": ("probe.parquet", "fingerprints.safetensors")}


def declaration_of(run: Run) -> Dynamics:
    """The run's declaration; it is there whether the run asks for the experiment or not."""
    return load_dynamics(str(run.section("dynamics").get("declaration", DEFAULT)))


def layer_arguments(declaration: Dynamics) -> list[str]:
    """Layers as arguments; none where all are measured."""
    return [] if declaration.layers == EVERY_LAYER else ["--layers", *map(str, declaration.layers)]


def weight_arguments(declaration: Dynamics) -> list[str]:
    """What is measured of weights, as arguments."""
    keys = ("metrics", "exact_below", "rank", "sketch", "near_zero")
    return [*options(declaration.weights, keys), *layer_arguments(declaration)]


def probe_arguments(declaration: Dynamics) -> list[str]:
    """What is asked of a checkpoint, as arguments."""
    return [*options(declaration.probe, ("metrics", "cka_tokens", "memory_mb")), *layer_arguments(declaration)]


def row_arguments(declaration: Dynamics) -> list[str]:
    """Which rows the probe holds, as arguments; the files that they come from are inputs of the rule."""
    probe = declaration.probe
    keys = [
        "length",
        *(["iterations", "rows"] if probe["iterations"] else []),
        *(["text_rows"] if probe["text"] else []),
    ]
    pairs = {name: list(probe[name].values()) for name in ("repeated", "gradient") if name in probe}
    return [*options(probe, keys), *options(pairs, pairs)]


def options(values: JsonMapping, keys: Iterable[str]) -> list[str]:
    """``--key value ...`` for each of ``keys``."""
    found: list[str] = []
    for key in keys:
        value = values[key]
        words = [str(word) for word in value] if isinstance(value, list) else [str(value)]
        found += [f"--{key.replace('_', '-')}", *words]
    return found


def measured(run: Run, kind: str) -> list[str]:
    """Files of the kind ``weights`` or ``probe`` of every measured checkpoint; none that is not asked for."""
    if "dynamics" not in experiments_of(run):
        return []
    declaration, settings = declaration_of(run), run.section("dynamics")
    if not getattr(declaration, kind):
        return []
    return [
        f"{declaration.folder(model.name, step)}/{file}"
        for model in one_per_size(run.models)
        for step in dynamics_steps(model, settings)
        for file in FILES[kind]
    ]


def of_checkpoint(run: Run) -> Callable[[Wildcards], list[str]]:
    """Input function: what is measured of a job's checkpoint, so that it is not deleted before."""
    folders: dict[tuple[str, str], list[str]] = {}
    for path in (*measured(run, "weights"), *measured(run, "probe")):
        model, step = path.split("/")[-3:-1]
        folders.setdefault((model, step), []).append(path)
    return lambda wildcards: folders.get((wildcards.model, f"step{wildcards.step}"), [])


def dynamics_files(run: Run) -> list[str]:
    """Everything that the measurements make: probes, and the files of each checkpoint."""
    declaration, probe = declaration_of(run), measured(run, "probe")
    probes = [declaration.probe_file(run.suite.name, key) for key in run.datasets] if probe else []
    return [*probes, *measured(run, "weights"), *probe]
