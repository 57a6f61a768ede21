"""Which experiments a run asks for, and the grid of their jobs: as static as everything else in the graph.

The settings live in the run's sections of the same names; what is not said there has the value of
``config/config.yaml``. Paths are relative to the working directory.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from workflow_scripts.errors import ConfigError, UnknownNameError
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.suite.models import Model, Suite
from workflow_scripts.suite.run import Run
from workflow_scripts.suite.traces import traces_names

ROOT = "results/experiments"
# Tables that each experiment writes beside its verdict, in the folder of the run's tables.
TABLES = {
    "memorization": ("memorization", "memorization_deciles", "memorization_quantiles"),
    "predictability": ("predictability", "predictability_published"),
    "term_frequency": ("term_frequency", "term_frequency_terms"),
    "interventions": ("interventions", "interventions_patches", "interventions_published"),
    "seeds": ("seeds", "seeds_models", "seeds_training_map"),
    "scaling": ("scaling", "scaling_fits"),
    "traces": (
        "traces",
        "traces_forgetting",
        "traces_events",
        "traces_texts",
        "traces_losses",
        "traces_exposures",
    ),
    "dynamics": ("dynamics", "dynamics_cka"),
}
EXPERIMENTS = tuple(TABLES)
# Experiments whose tables are made from another experiment's scores.
NEEDS = {"predictability": "memorization"}


def experiments_of(run: Run) -> tuple[str, ...]:
    """Experiments of ``run`` in the order of this module; raises UnknownNameError or ConfigError."""
    wanted = run.settings.get("experiments", [])
    for name in wanted:
        if name not in EXPERIMENTS:
            raise UnknownNameError("experiment", name, EXPERIMENTS)
        if NEEDS.get(name, name) not in wanted:
            raise ConfigError(f"experiments: {name} uses the scores of {NEEDS[name]}; request both")
    if "interventions" in wanted and not run.retrains:
        raise ConfigError(
            "experiments: interventions continue from our own checkpoints; set checkpoints.source to retrain"
        )
    return tuple(name for name in EXPERIMENTS if name in wanted and (name != "traces" or traces_name(run) is not None))


@dataclass(frozen=True)
class RowRange:
    """One memorization job: rows [first, stop) of a model's training order, scored by its checkpoint ``step``."""

    model: str
    step: int
    first: int
    stop: int

    @property
    def path(self) -> str:
        """Table of scores of this job."""
        return f"{ROOT}/memorization/{self.model}/step{self.step}/rows-{self.first}-{self.stop}.parquet"

    @property
    def certificate(self) -> str:
        """Certificate that generation agrees with this job's scores."""
        return f"{ROOT}/memorization/{self.model}/step{self.step}/generation-{self.first}-{self.stop}.json"


def memorization_steps(model: Model, settings: JsonMapping) -> tuple[int, ...]:
    """Steps at which memorization is measured."""
    return model.select_steps(settings["steps"])


def row_ranges(model: Model, settings: JsonMapping) -> list[RowRange]:
    """Jobs of one model: at each step the rows that the checkpoint has seen, in portions of ``rows_per_job``."""
    portion = int(settings["rows_per_job"])
    seen = {step: model.step(step).rows for step in memorization_steps(model, settings)}
    return [
        RowRange(model.name, step, first, min(first + portion, rows))
        for step, rows in seen.items()
        for first in range(0, rows, portion)
    ]


def exposures_file(suite: str, dataset: str) -> str:
    """Which rows of a data set's training order repeat a document that was seen before."""
    return f"{ROOT}/exposures/{suite}/{dataset}.npz"


def term_counts_file(suite: str, dataset: str, first: int, stop: int) -> str:
    """Counts of the terms in rows [first, stop) of the training order of a data set."""
    return f"{ROOT}/terms/{suite}/{dataset}/rows-{first}-{stop}.parquet"


def term_count_files(models: Iterable[Model], dataset: str, settings: JsonMapping) -> list[str]:
    """Tables of all counting jobs of a data set: its rows up to the last asked step, ``rows_per_job`` at a time."""
    same = [model for model in models if model.dataset == dataset]
    rows = max(model.step(step).rows for model in same for step in term_steps(model, settings))
    portion = int(settings["rows_per_job"])
    return [
        term_counts_file(same[0].suite, dataset, first, min(first + portion, rows)) for first in range(0, rows, portion)
    ]


def term_answers_file(model: str) -> str:
    """Answers of all asked checkpoints of a model to the questions about terms."""
    return f"{ROOT}/answers/{model}.parquet"


def term_steps(model: Model, settings: JsonMapping) -> tuple[int, ...]:
    """Hub steps at which the questions are asked; step 0 has seen nothing and is left out."""
    return tuple(step for step in model.select_steps(settings["steps"]) if step > 0)


def traces_name(run: Run) -> str | None:
    """Name of the declaration of traced texts: the run's, or the suite's own; None without texts or models.

    Under a disk budget only what the run names is traced, since its checkpoints have to be kept for it.
    """
    named = run.section("traces").get("declaration")
    if not run.models or (named is None and run.section("checkpoints").get("disk_budget_gb") is not None):
        return None
    return str(named) if named is not None else (run.suite.name if run.suite.name in traces_names() else None)


def traces_folder(traces: str) -> str:
    """Everything that is found of the texts of a declaration."""
    return f"{ROOT}/traces/{traces}"


def trace_scan_files(traces: str, suite: str, dataset: str, parts: int) -> list[str]:
    """Scans of a data set, one per job."""
    folder = f"{traces_folder(traces)}/{suite}-{dataset}"
    return [f"{folder}/part-{part}-of-{parts}.npz" for part in range(parts)]


def trace_exposures_file(traces: str, suite: str, dataset: str) -> str:
    """Exposures in the training order of a data set."""
    return f"{traces_folder(traces)}/{suite}-{dataset}/exposures.parquet"


def trace_losses_file(traces: str, model: str, kind: str = "losses") -> str:
    """Losses of a model's checkpoints: of texts (``losses``) or of their tokens (``tokens``)."""
    return f"{traces_folder(traces)}/{model}/{kind}.parquet"


def traced_models(models: Iterable[Model], settings: JsonMapping) -> list[Model]:
    """Models whose losses are traced: those named, all, or by default the first of each size."""
    listed, wanted = list(models), settings.get("models")
    if wanted is None:
        return list({model.size: model for model in reversed(listed)}.values())[::-1]
    return listed if wanted == "all" else [model for model in listed if model.name in wanted]


def trace_steps(model: Model, settings: JsonMapping, run_steps: Iterable[int]) -> tuple[int, ...]:
    """Hub steps at which the loss on traced texts is measured; by default those of the run, ``run_steps``."""
    wanted = settings.get("steps")
    return tuple(run_steps) if wanted is None else model.select_steps(wanted)


def arm_folder(model: str, arm: str) -> str:
    """Everything about one arm of a model: its patch, training, published checkpoints and items."""
    return f"{ROOT}/interventions/{model}/{arm}"


def one_per_size(models: Iterable[Model]) -> list[Model]:
    """The first model of each size and data set: what experiments other than that on seeds look at."""
    first: dict[tuple[str, str], Model] = {}
    for model in models:
        first.setdefault((model.size, model.dataset), model)
    return list(first.values())


def models_of(suite: Suite, resolved: JsonMapping) -> list[Model]:
    """Models of a resolved run (``run.json``)."""
    return [suite.model(entry["name"]) for entry in resolved["models"]]
