"""What is missing is said before the first job: places that do not answer, sets that are gated, targets of no run.

``snakemake`` asks when the graph is planned and before the first job, about exactly what its jobs will fetch; ``check``
and ``plan`` ask about everything the run would fetch that is not there yet. Each repository of evaluation data is asked
for once, of checkpoints one; a place that is busy is left to the patience of the jobs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts import ROOT
from workflow_scripts.errors import ConfigError, MissingInputError, PipelineError, TransferError, UnknownNameError
from workflow_scripts.storage.http.retry import NoNetworkError, RetryableError, RetryPolicy
from workflow_scripts.storage.sources.catalog import open_source
from workflow_scripts.storage.sources.source import Repository
from workflow_scripts.suite import layout
from workflow_scripts.suite.experiment_files import experiments_of
from workflow_scripts.suite.run import Run
from workflow_scripts.workflow import checkpoints, evaluation, experiments

# Longest silence of a place that is only asked whether it is there, in seconds.
SILENCE = 5.0
TERM_FOLDER = ROOT / "config" / "terms"
ONCE = RetryPolicy(attempts=1)
# Results whose checkpoint must be one of the run.
OF_CHECKPOINTS = re.compile(
    r"results/(?:scores|checkpoints|probes|quickstart)/(?P<model>[^/]+)/(?:released/)?step(?P<step>\d+)\b"
)
MORE_RULES = re.compile(r"^(?:rule|checkpoint|use rule|module|include)\b", re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """A repository at a source, as jobs will ask for it."""

    source: str
    location: str
    kind: str
    repository: str


def places_of_jobs(run: Run, jobs: Iterable[tuple[str, Mapping[str, str]]]) -> list[Place]:
    """What ``jobs`` (names of rules, and wildcards) will ask for; one repository stands for all checkpoints.

    The mirror that the run itself publishes to is filled by other jobs and is no such place.
    """
    places: dict[Place, None] = {}
    for rule, wildcards in jobs:
        if rule.startswith("fetch_data"):
            places[data_place(run, wildcards["repository"])] = None
        elif rule.startswith(("fetch_checkpoint", "observe_model")):
            places[model_place(run, f"{run.suite.organisation}/{wildcards['model']}")] = None
        elif rule == "fetch_tokenizer":
            places[model_place(run, str(run.suite.tokenizer["repository"]))] = None
    models = [place for place in places if place.kind == "model" and place.location != layout.MIRROR]
    return [*models[:1], *(place for place in places if place.kind == "dataset")]


def data_place(run: Run, repository: str) -> Place:
    """Where a repository of evaluation data is asked for."""
    return Place(evaluation.data_source(run), evaluation.data_location(run), "dataset", repository)


def model_place(run: Run, repository: str) -> Place:
    """Where a repository of checkpoints is asked for."""
    return Place(checkpoints.source_of(run), checkpoints.location_of(run), "model", repository)


def places_of_run(run: Run) -> list[Place]:
    """What the whole run would still ask for."""
    jobs: list[tuple[str, Mapping[str, str]]] = []
    if checkpoints.source_of(run) == "hub":
        scored = (Path(path).is_file() for path in layout.score_files(run))
        jobs += [("fetch_checkpoint", {"model": model.name}) for model in run.models[:1] if not all(scored)]
    absent = {path for path in evaluation.fetched_data(run, [*run.tasks, *run.stock_tasks]) if not Path(path).is_file()}
    jobs += [
        ("fetch_data", {"repository": data.repository}) for data in evaluation.data_sets() if absent & set(data.files)
    ]
    return places_of_jobs(run, jobs)


def require_places(places: Iterable[Place]) -> None:
    """Raise MissingInputError or TransferError, in one line, for the first of ``places`` that cannot serve."""
    for place in places:
        try:
            with open_source(
                place.source, place.location, Repository(place.kind, place.repository, "main"), ONCE, SILENCE
            ) as source:
                if place.source != "mirror":
                    source.commit()
        except UnknownNameError:
            continue  # a model without a branch main: the repository is there
        except TransferError as error:
            refuse_silence(error)


def refuse_silence(error: TransferError) -> None:
    """Raise ``error`` unless it may pass; a place that cannot be reached at all will most likely not answer jobs."""
    cause = error.__cause__
    if not isinstance(cause, RetryableError):
        raise error
    if isinstance(cause, NoNetworkError):
        raise TransferError(str(cause)) from error


def require_folders(run: Run) -> None:
    """Raise MissingInputError for a folder of evaluation data that is not there."""
    for folder in evaluation.own_folders(run):
        if not Path(folder).is_dir():
            raise MissingInputError(
                f"evaluation.data: {folder}: no such folder; name one that is there, or leave it out and the data are "
                "fetched"
            )


def require_experiment_names(run: Run) -> None:
    """Refuse a declaration, an arm, a list of terms or models of an experiment that do not exist.

    Raises UnknownNameError for names, ConfigError for interventions in none of the run's models.
    """
    experiments.declaration_of(run)
    experiments.chosen_arms(run)
    known = sorted(path.stem for path in TERM_FOLDER.glob("*.yaml"))
    if experiments.terms_of(run) not in known:
        raise UnknownNameError("list of terms", experiments.terms_of(run), known, "term_frequency.terms")
    wanted = run.section("interventions").get("models", [])
    if "interventions" in experiments_of(run) and wanted and not experiments.intervened(run):
        present = ", ".join(model.name for model in run.models)
        raise ConfigError(f"interventions.models: the run has none of {', '.join(wanted)}; it has {present}")


def report_of(run: Run) -> list[str]:
    """A line about what would keep the run from starting now; none when all is ready."""
    try:
        require_places(places_of_run(run))
    except PipelineError as error:
        return [f"not ready: {error}"]
    return []


def check_targets(run: Run, targets: Iterable[str], rules: Sequence[Any], files: Sequence[str]) -> None:
    """Refuse targets that the run does not have, with the nearest that it has.

    ``rules`` are Snakemake's, ``files`` what the run makes. Raises UnknownNameError.
    """
    names = {rule.name for rule in rules}
    for target in targets:
        if target in names:
            continue
        check_checkpoint(run, target)
        if not Path(target).exists() and not any(rule.is_producer(target) for rule in rules):
            raise UnknownNameError("target", target, [*sorted(names), *files])


def rules_follow(snakefile: Path) -> bool:
    """Whether ``snakefile`` defines more rules below its check of targets, which Snakemake does not know yet.

    >>> rules_follow(ROOT / "Snakefile")
    False
    """
    below = snakefile.read_text(encoding="utf-8").rpartition("check_targets(")[2]
    return MORE_RULES.search(below) is not None


def check_checkpoint(run: Run, target: str) -> None:
    """Refuse a target of a model, or of a step of it, that is not in the run."""
    match = OF_CHECKPOINTS.match(target)
    if match is None:
        return
    model, step = match["model"], int(match["step"])
    if model not in run.steps:
        raise UnknownNameError(f"model of run {run.name}", model, run.steps, f"target {target}")
    if step not in run.steps[model]:
        nearest = min(run.steps[model], key=lambda number: abs(number - step))
        raise ConfigError(f"target {target}: run {run.name} has no step{step} of {model}; the nearest is step{nearest}")
