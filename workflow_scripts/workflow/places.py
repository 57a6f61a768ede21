"""Which places the jobs of a run fetch from: repositories of a Hub or a mirror, hosts of git and of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.suite import layout
from workflow_scripts.suite.experiment_files import experiments_of
from workflow_scripts.suite.run import Run
from workflow_scripts.workflow import checkpoints, dataset, evaluation, experiments

RAW, GIT = "raw", "git-lfs"
Jobs = Iterable[tuple[str, Mapping[str, str]]]


@dataclass(frozen=True)
class Place:
    """A repository at a source, as jobs will ask for it; of texts (source raw) only the host counts."""

    source: str
    location: str
    kind: str
    repository: str


def places_of_jobs(run: Run, jobs: Jobs) -> list[Place]:
    """What ``jobs`` (names of rules, and wildcards) will ask for; one repository stands for all checkpoints.

    The mirror that the run itself publishes to is filled by other jobs and is no such place.
    """
    found = dict.fromkeys(place for rule, wildcards in jobs if (place := place_of_job(run, rule, wildcards)))
    places = [place for place in found if place.location != layout.MIRROR]
    models = [place for place in places if place.kind == "model"]
    return [*models[:1], *(place for place in places if place.kind == "dataset")]


def place_of_job(run: Run, rule: str, wildcards: Mapping[str, str]) -> Place | None:
    """What one job will ask for; None for the jobs that fetch nothing."""
    find = next((find for name, find in FETCHING.items() if rule.startswith(name)), None)
    return find(run, wildcards) if find is not None else None


def data_place(run: Run, wildcards: Mapping[str, str]) -> Place:
    """Where a repository of evaluation data is asked for."""
    return Place(evaluation.data_source(run), evaluation.data_location(run), "dataset", wildcards["repository"])


def model_place(run: Run, wildcards: Mapping[str, str]) -> Place:
    """Where a model's checkpoints are asked for, or the tokenizer for a job of no model."""
    released = run.suite.tokenizer.get("repository")
    name = f"{run.suite.organisation}/{wildcards['model']}" if "model" in wildcards else str(released)
    return Place(checkpoints.source_of(run), checkpoints.location_of(run), "model", name)


def dataset_place(run: Run, wildcards: Mapping[str, str]) -> Place:
    """Where a pretokenised data set is asked for."""
    chosen, name = run.section("dataset"), run.suite.dataset(wildcards["dataset"]).repository
    return Place(str(chosen.get("source")), str(chosen.get("location") or ""), "dataset", name)


def winobias_place(run: Run, wildcards: Mapping[str, str]) -> Place:
    """Where WinoBias is asked for."""
    del wildcards
    _, source, _, location = experiments.winobias_place(run)
    return Place(source, location, "dataset", experiments.WINOBIAS_REPOSITORY)


def book_place(run: Run, wildcards: Mapping[str, str]) -> Place:
    """The host of the texts."""
    del wildcards
    return Place(RAW, dataset.book_location(run), "dataset", "texts")


def published_place(run: Run, wildcards: Mapping[str, str]) -> Place:
    """The repository of the authors' results."""
    del wildcards
    return Place(GIT, str(run.section("published").get("repository")), "dataset", "EleutherAI/pythia")


# By the start of a rule's name.
FETCHING: dict[str, Callable[[Run, Mapping[str, str]], Place]] = {
    "fetch_data": data_place,
    "fetch_checkpoint": model_place,
    "observe_model": model_place,
    "fetch_tokenizer": model_place,
    "list_dataset_files": dataset_place,
    "download_dataset_file": dataset_place,
    "fetch_winobias": winobias_place,
    "fetch_book": book_place,
    "download_published": published_place,
}


def places_of_run(run: Run) -> list[Place]:
    """What the whole run would still ask for."""
    return places_of_jobs(run, jobs_of_run(run))


def jobs_of_run(run: Run) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The fetching jobs of the run whose files are not there; one for each place is enough."""
    if not run.retrains and absent(layout.score_files(run)):
        yield from (("fetch_checkpoint", {"model": model.name}) for model in run.models[:1])
    wanted = set(absent(evaluation.fetched_data(run, [*run.tasks, *run.stock_tasks])))
    for data in evaluation.data_sets():
        if wanted & set(data.files):
            yield "fetch_data", {"repository": data.repository}
    if run.retrains and absent(f"results/corpus/{run.suite.name}/texts/{name}" for name in dataset.books_of(run)):
        yield "fetch_book", {}
    if run.retrains and not run.suite.is_made_here:
        for key in run.datasets:
            folder = f"{layout.dataset_folder(run.suite.name, key)}/raw"
            if absent(f"{folder}/{name}" for name in run.suite.dataset(key).file_names):
                yield "download_dataset_file", {"dataset": key}
    biased = "interventions" in experiments_of(run) and experiments.WINOBIAS in experiments.benchmarks(run)
    wanted = set(absent(experiments.winobias_files(run))) if biased else set()
    if any(path.startswith(experiments.WINOBIAS_FOLDER) for path in wanted):
        yield "fetch_winobias", {}


def absent(paths: Iterable[str]) -> list[str]:
    """Those of ``paths`` that are not there."""
    return [path for path in paths if not Path(path).is_file()]
