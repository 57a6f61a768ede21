"""What one run asks for: the configuration, checked and resolved against its suite.

A configuration is refused before any job starts, with one line and the nearest right name. Everything the graph needs
(models, steps, shots, tasks, paths) is decided here, so that the rules only look things up.
"""

import fnmatch
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass
from pathlib import Path

from workflow_scripts.errors import ConfigError, MissingInputError, UnknownNameError
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.suite import GPT_NEOX
from workflow_scripts.suite.models import Model, Suite, Task
from workflow_scripts.suite.registry import VARIANT, load_suite, override, suite_names, with_tasks, with_variants
from workflow_scripts.suite.revision_names import DEFAULT
from workflow_scripts.suite.safe_yaml import load_yaml, refuse_control_characters, refuse_what_no_run_may_hold
from workflow_scripts.suite.schema import check_schema, check_value, coerce, load_schema
from workflow_scripts.suite.task_facts import select_tasks

CURRENT, STOCK = "current", "stock"  # the protocol of lm-eval's present tasks; what stock lm-eval itself runs
CHANGES = ("overrides", "variants")  # what a run says of its models
PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Run:
    """A checked run. ``steps`` maps a model's name to its Hub steps in this run, ``settings`` is the whole config.

    ``left_out`` names the checkpoints that are not in ``steps`` because they are known to be defective, and why;
    ``renamed`` says what lm-eval calls today the tasks that were asked for by their names of 2023.
    """

    name: str
    suite: Suite
    models: tuple[Model, ...]
    steps: Mapping[str, tuple[int, ...]]
    shots: tuple[int, ...]
    tasks: tuple[Task, ...]
    settings: JsonMapping
    left_out: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()

    @property
    def datasets(self) -> tuple[str, ...]:
        """Keys of the data sets that the run's models were trained on, in the suite's order."""
        used = {model.dataset for model in self.models}
        return tuple(key for key in self.suite.datasets if key in used)

    @property
    def retrains(self) -> bool:
        """True when the models are trained in this run."""
        return bool(self.models) and self.settings["checkpoints"]["source"] == "retrain"

    @property
    def shows_published(self) -> bool:
        """True when results of the suite's authors are shown beside ours: the suite or the run names some."""
        chosen = self.section("published")
        return bool(self.suite.published or chosen.get("source") or chosen.get("repository"))

    @property
    def protocols(self) -> tuple[str, ...]:
        """Protocols under which the run's tasks are scored."""
        return tuple(self.section("evaluation").get("protocols", (CURRENT,)))

    @property
    def stock_tasks(self) -> Mapping[str, Sequence[int]]:
        """Further tasks that stock lm-eval runs, with their numbers of shots."""
        tasks: Mapping[str, Sequence[int]] = self.section("evaluation").get("stock_tasks") or {}
        return tasks

    @property
    def score_kinds(self) -> tuple[tuple[str, int], ...]:
        """Kind (a protocol, or stock) and shots of each results file of a checkpoint."""
        stock = sorted({shots for listed in self.stock_tasks.values() for shots in listed})
        return (*((kind, k) for kind in self.protocols for k in self.shots), *((STOCK, k) for k in stock))

    def as_json(self) -> JsonObject:
        """Plain values for programs that need the whole run: names resolved, steps listed, model facts included."""
        return {
            "run": self.name,
            "suite": self.suite.name,
            "models": [{**facts_of(model), "parameters": model.parameters} for model in self.models],
            "steps": {name: list(steps) for name, steps in self.steps.items()},
            "shots": list(self.shots),
            "score_kinds": [list(item) for item in self.score_kinds],
            "tasks": [asdict(task) for task in self.tasks],
            "settings": dict(self.settings),
        }

    def section(self, name: str) -> JsonMapping:
        """One section of the configuration."""
        section: JsonMapping = self.settings.get(name, {})
        return section


def facts_of(model: Model) -> JsonObject:
    """Facts of a model, without those that only suites other than Pythia have where they are as for Pythia."""
    usual = {"architecture": GPT_NEOX, "revision_pattern": DEFAULT, "revisions": (), "ledger": "", "tied": False}
    usual["given_parameters"] = None
    return {key: value for key, value in asdict(model).items() if value != usual.get(key, MISSING)}


def load_run(config: JsonMapping, files: Sequence[str | Path] = ()) -> Run:
    """The run that ``config`` describes.

    ``files`` are the YAML files it was read from; they are read once more, strictly, because Snakemake's own reader
    silently keeps the last of two equal keys. Raises ConfigError or MissingInputError with one line.
    """
    for file in files:
        load_yaml(Path(file))
    plain = {
        key: value for key, value in config.items() if value is not None or key in load_schema("run")["properties"]
    }
    refuse_what_no_run_may_hold(plain, "config")
    refuse_control_characters(plain, "config")
    settings = coerce(plain, load_schema("run"))
    check_schema(settings, "run", "config")
    return resolve(settings)


def resolve(settings: JsonMapping) -> Run:
    """Look up every name of checked ``settings``."""
    suite = extended(load_suite(settings["suite"]), settings)
    models = select_models(suite, settings["models"])
    refuse_untrainable(suite, settings, models)
    tasks, renamed = select_tasks(suite, settings["tasks"])
    return Run(
        name=settings["run"],
        suite=suite,
        models=models,
        steps={model.name: select_steps(model, settings["steps"]) for model in models},
        shots=tuple(settings["shots"]),
        tasks=tasks,
        settings=settings,
        renamed=renamed,
    )


def extended(suite: Suite, settings: JsonMapping) -> Suite:
    """Suite with what a run changes and adds: ``overrides``, ``variants``, ``own_tasks``."""
    changed = override(suite, settings.get("overrides") or {})
    return with_tasks(with_variants(changed, settings.get("variants") or {}), settings.get("own_tasks") or {})


def suite_of(resolved: JsonMapping) -> Suite:
    """Suite of a run that is written down (``run.json``), with what the run changes and adds."""
    return extended(load_suite(str(resolved["suite"])), resolved.get("settings") or {})


def changed_suite(name: str, changes: JsonMapping) -> Suite:
    """Suite ``name`` with a run's ``overrides`` and ``variants``; raises ConfigError for what no run may hold."""
    properties = load_schema("run")["properties"]
    allowed = {"additionalProperties": False, "properties": {key: properties[key] for key in CHANGES}}
    check_value(changes, {"type": "object", **allowed}, "changes")
    return extended(load_suite(name), changes)


def read_changes(text: str) -> JsonObject:
    """Argument ``--changes``: JSON of a run's overrides and variants, or nothing; raises ConfigError."""
    try:
        changes = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"--changes: not JSON ({error})") from None
    if not isinstance(changes, dict):
        raise ConfigError("--changes: not a JSON object")
    return changes


def select_models(suite: Suite, wanted: str | Sequence[str]) -> tuple[Model, ...]:
    """Models by name, old name or pattern; ``all`` are the suite's models without seeds, arms and old versions."""
    names = [part.strip() for part in wanted.split(",")] if isinstance(wanted, str) else list(wanted)
    chosen: dict[str, Model] = {}
    for name in names:
        for model in models_named(suite, name):
            chosen[model.name] = model
    return tuple(chosen.values())


def models_named(suite: Suite, name: str) -> list[Model]:
    """Models that one entry of ``models`` names."""
    if name == "all":
        first = next(iter(suite.models.values())).version
        return [model for model in suite.models.values() if model.version == first]
    if not PATTERN.search(name):
        return [suite.model(name)] if suite.knows(name) else refuse_model(suite, name)
    found = [model for key, model in suite.models.items() if fnmatch.fnmatchcase(key, name)]
    if not found:
        raise UnknownNameError("model pattern", name, suite.models)
    return found


def refuse_model(suite: Suite, name: str) -> list[Model]:
    """Refuse a name that the suite does not know: name the suite that has it, or the nearest of its own."""
    for other in suite_names():
        if other != suite.name and load_suite(other).knows(name):
            raise ConfigError(
                f"model '{name}' belongs to suite {other}, but the run uses suite {suite.name}; start from a "
                f"configuration of that suite, such as config/runs/{other_run(other)}"
            )
    return [suite.model(name)]


def other_run(suite: str) -> str:
    """A shipped configuration of another suite, to start from."""
    shipped = {"pythia": "one-pythia-model.yaml", "books": "books.yaml", "books-long": "books-full.yaml"}
    shipped |= {"olmo2": "olmo2.yaml", "amber": "amber.yaml"}
    return shipped.get(suite, "one-model.yaml")


def select_steps(model: Model, expression: str | int | Sequence[str | int]) -> tuple[int, ...]:
    """Steps of one model, with the model named in errors."""
    try:
        return model.select_steps(expression)
    except ConfigError as error:
        raise ConfigError(f"{model.name}: {error}") from None


def refuse_untrainable(suite: Suite, settings: JsonMapping, models: Sequence[Model]) -> None:
    """Refuse a run whose inputs cannot exist: retraining without data, text to train on that is not there."""
    source = settings["checkpoints"].get("source")
    if source == "retrain" and models and suite.corpus and suite.corpus["source"] == "jsonl":
        path = given_corpus(suite, settings)
        if path is not None and not path.is_file():
            raise MissingInputError(
                f"corpus {path}: no such file; put the text there or set it with --config corpus='{{path: FILE.jsonl}}'"
            )
    if source == "mirror" and not settings["checkpoints"].get("location"):
        raise ConfigError("config: checkpoints.location must be the mirror's folder if checkpoints.source is mirror")
    for model in models:
        unknown = ("datasets",) if model.dataset not in suite.datasets else model.unknown_of_training
        if source == "retrain" and unknown:
            raise ConfigError(
                f"config: checkpoints.source: retrain is not possible for {model.name}: suite {suite.name} does not "
                f"say its {', '.join(unknown)}; fetch its checkpoints with source: hub or mirror"
            )
        if model.version == VARIANT and source == "hub":
            raise ConfigError(
                f"config: checkpoints.source: hub is not possible for {model.name}, a variant of this run only"
            )


def given_corpus(suite: Suite, settings: JsonMapping) -> Path | None:
    """The file of text that the run brings, else the suite; None where the suite's texts are fetched by rules.

    Raises ConfigError for a suite that has neither.
    """
    corpus = suite.corpus or {}
    path = settings.get("corpus", {}).get("path") or corpus.get("path")
    if path is None and "texts" not in corpus:
        raise ConfigError(
            f"suite {suite.name}: its corpus has neither a path nor texts; name a file with --config "
            "corpus='{path: FILE.jsonl}'"
        )
    return None if path is None else Path(path)
