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
from workflow_scripts.suite import GPT_NEOX
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
# In the YAML of a task: its metrics, and what says that they may be written elsewhere.
METRIC_LINE = re.compile(r"^\s*(?:- )?\s*metric:\s*['\"]?([\w.-]+)", re.MULTILINE)
ELSEWHERE = re.compile(r"^include:|!function", re.MULTILINE)
# What targets and experiments must know of a suite. Without it they are absent from its graph; who asks is told.
DATA, TRAINING, PUBLISHED, NETWORK = "data", "training", "published", "network"
NEEDED = {
    "data": (DATA,),
    "retrain": (DATA, TRAINING),
    "published": (PUBLISHED,),
    "gate": (PUBLISHED,),
    "notebook": (PUBLISHED,),
    "memorization": (DATA, TRAINING, NETWORK),
    "predictability": (DATA, TRAINING, NETWORK),
    "term_frequency": (DATA, TRAINING, NETWORK),
    "interventions": (DATA, TRAINING, NETWORK),
    "traces": (DATA, TRAINING, NETWORK),
    "dynamics": (DATA, TRAINING, NETWORK),
}
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
    """Raise MissingInputError for a folder of evaluation data or of definitions that is not there."""
    for folder in evaluation.own_folders(run):
        if not Path(folder).is_dir():
            raise MissingInputError(
                f"evaluation.data: {folder}: no such folder; name one that is there, or leave it out and the data are "
                "fetched"
            )
    for folder in evaluation.include_folders(run):
        if not Path(folder).is_dir():
            raise MissingInputError(f"evaluation.include_path: {folder}: no such folder")


def require_own_tasks(run: Run) -> None:
    """Raise MissingInputError or ConfigError for a task of the run's own without its YAML, its metric or its documents.

    A YAML that includes another, or names a function, is believed.
    """
    paths = [Path(path) for path in evaluation.definition_files(run) if path.endswith(".yaml")]
    for task in run.tasks:
        if task.name not in (run.settings.get("own_tasks") or {}):
            continue
        key, line = (
            f"own_tasks.{task.name}",
            re.compile(rf"^(?:task|group):\s*['\"]?{re.escape(task.name)}['\"]?\s*(?:#|$)", re.M),
        )
        texts = [text for path in paths if line.search(text := path.read_text(encoding="utf-8", errors="replace"))]
        if not texts:
            raise MissingInputError(f"{key}: no YAML with 'task: {task.name}' in a folder of evaluation.include_path")
        metrics = set(METRIC_LINE.findall(texts[0]))
        if metrics and task.metric not in metrics and not ELSEWHERE.search(texts[0]):
            raise ConfigError(f"{key}.metric: its YAML has {', '.join(sorted(metrics))}, not {task.metric}")
        folders = [Path(folder, task.repository) for folder in evaluation.data_folders(run)]
        if not any(found for folder in folders for found in folder.rglob("*.parquet")):
            raise MissingInputError(f"{key}.repository: no parquet files of {task.repository} in evaluation.data")


def require_experiment_names(run: Run) -> None:
    """Refuse declarations, an arm, a list of terms or models of an experiment that do not exist.

    Raises UnknownNameError for names, ConfigError for interventions in none of the run's models and for an experiment
    that needs to know of the suite what it does not say.
    """
    for name in experiments_of(run):
        refuse_without_facts(run, name)
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


def refuse_without_facts(run: Run, name: str) -> None:
    """Raise ConfigError when the suite of ``run`` lacks a fact that the target or experiment ``name`` depends on."""
    for fact in NEEDED.get(name, ()):
        if missing := missing_fact(run, fact):
            raise ConfigError(f"{name} is not possible for suite {run.suite.name}: {missing}")


def missing_fact(run: Run, fact: str) -> str:
    """What is not known of the suite; empty when it is."""
    others = [model for model in run.models if model.architecture != GPT_NEOX]
    unknown = next((model.unknown_of_training for model in run.models if model.unknown_of_training), ())
    if fact == DATA and run.models and not run.datasets:
        return "it does not say which pretokenised data its models were trained on (key `datasets` of its file)"
    if fact == TRAINING and unknown:
        return f"it does not say the {', '.join(unknown)} of the training (keys of `recipe` in its file)"
    if fact == NETWORK and others:
        return f"it reads the weights of a {GPT_NEOX}, and {others[0].name} is a {others[0].architecture}"
    if fact == PUBLISHED and not run.shows_published:
        return "it names no results that its authors published (key `published` of its file)"
    return ""


def report_of(run: Run) -> list[str]:
    """A line about what would keep the run from starting now; none when all is ready."""
    try:
        require_places(places_of_run(run))
    except PipelineError as error:
        return [f"not ready: {error}"]
    return []


def check_targets(run: Run, targets: Iterable[str], rules: Sequence[Any], files: Sequence[str]) -> None:
    """Refuse targets that the run does not have, with the nearest that it has.

    ``rules`` are Snakemake's, ``files`` what the run makes. Raises UnknownNameError, or ConfigError for a rule that
    needs to know of the suite what it does not say.
    """
    names = {rule.name: rule for rule in rules}
    for target in targets:
        if target in names:
            refuse_without_facts(run, target)
            refuse_rule_of_many(names[target], files)
            continue
        check_checkpoint(run, target)
        if not Path(target).exists() and not any(rule.is_producer(target) for rule in rules):
            raise UnknownNameError("target", target, [*sorted(names), *files])


def refuse_rule_of_many(rule: Any, files: Sequence[str]) -> None:
    """Refuse a rule as a target where its files have names to fill in, which Snakemake refuses in its own terms."""
    if rule.has_wildcards():
        example = next((file for file in files if rule.is_producer(file)), "")
        if not example:
            raise ConfigError(
                f"target {rule.name}: this run makes none of its files; experiments and figures choose what it makes"
            )
        each = ", ".join(sorted(rule.wildcard_names))
        raise ConfigError(
            f"target {rule.name}: a rule with files for each {each}; name one of its files, such as {example}"
        )


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
