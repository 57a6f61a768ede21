"""What is missing is said before the first job: places that do not answer, sets that are gated, targets of no run.

``snakemake`` asks before the first job, about exactly what its jobs will fetch; ``check`` and ``plan`` ask about
everything the run would fetch that is not there yet. Each repository of data is asked for once, of checkpoints one; a
place that answers and is busy is left to the patience of the jobs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from workflow_scripts import ROOT
from workflow_scripts.errors import ConfigError, MissingInputError, PipelineError, TransferError, UnknownNameError
from workflow_scripts.storage.http.retry import WITHOUT_NETWORK, NoConnectionError, RetryableError, RetryPolicy
from workflow_scripts.storage.sources.catalog import open_source
from workflow_scripts.storage.sources.source import Repository, Source
from workflow_scripts.suite.experiment_files import experiments_of
from workflow_scripts.suite.run import Run
from workflow_scripts.workflow import dynamics, evaluation, experiments
from workflow_scripts.workflow.places import GIT, RAW, Place, places_of_run

# Longest silence of a place that is only asked whether it is there, in seconds.
SILENCE = 5.0
TERM_FOLDER = ROOT / "config" / "terms"
ONCE = RetryPolicy(attempts=1)
# Results whose checkpoint must be one of the run.
OF_CHECKPOINTS = re.compile(
    r"results/(?:scores|checkpoints|probes|quickstart)/(?P<model>[^/]+)/(?:released/)?step(?P<step>\d+)\b"
)
MORE_RULES = re.compile(r"^(?:rule|checkpoint|use rule|module|include)\b", re.MULTILINE)


def require_places(places: Iterable[Place]) -> None:
    """Raise MissingInputError or TransferError, in one line, for the first of ``places`` that cannot serve."""
    busy = set()
    for place in places:
        if (place.source, place.location) in busy:
            continue
        try:
            require_place(place)
        except UnknownNameError:
            continue  # a model without a branch main: the repository is there
        except TransferError as error:
            refuse_silence(error)
            busy.add((place.source, place.location))


def require_place(place: Place) -> None:
    """Ask ``place`` once; of a host of git or of texts only whether it answers. Raises as :func:`require_places`."""
    if place.source in (GIT, RAW):
        if place.location.startswith(("http://", "https://")):
            require_answer(place)
        return
    with open_source(
        place.source, place.location, Repository(place.kind, place.repository, "main"), ONCE, SILENCE
    ) as source:
        if place.source == "hub":
            require_access(source)


def require_answer(place: Place) -> None:
    """Raise RetryableError when nobody answers at the address of ``place``, whatever the answer."""
    from workflow_scripts.storage.http.http_reader import Address, HttpReader

    with HttpReader(SILENCE, "") as reader:
        reader.head(Address(place.location), f"{place.source} {place.repository}")


def require_access(source: Source) -> None:
    """Raise TransferError for a repository of a Hub that is not there, or gated for this user."""
    from workflow_scripts.storage.sources.hub import HubSource

    if isinstance(source, HubSource):
        source.require_access()


def refuse_silence(error: TransferError) -> None:
    """Raise ``error`` unless it may pass; a place that cannot be reached at all will most likely not answer jobs."""
    cause = error if isinstance(error, RetryableError) else error.__cause__
    if not isinstance(cause, RetryableError):
        raise error
    if isinstance(cause, NoConnectionError):
        ways_out = "" if WITHOUT_NETWORK in str(cause) else f"; {WITHOUT_NETWORK}"
        raise TransferError(f"{cause}{ways_out}") from error


def require_folders(run: Run) -> None:
    """Raise MissingInputError for a folder of evaluation data that is not there."""
    for folder in evaluation.own_folders(run):
        if not Path(folder).is_dir():
            raise MissingInputError(
                f"evaluation.data: {folder}: no such folder; name one that is there, or leave it out and the data are "
                "fetched"
            )


def require_experiment_names(run: Run) -> None:
    """Refuse declarations, an arm, a list of terms or models of an experiment that do not exist.

    Raises UnknownNameError for names, ConfigError for interventions in none of the run's models.
    """
    experiments.declaration_of(run)
    dynamics.declaration_of(run)
    experiments.chosen_arms(run)
    experiments.traces_of(run)
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
