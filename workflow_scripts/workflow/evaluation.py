"""What rules/evaluation.smk looks up: tasks, their data, and which of them a results file holds.

Functions of a run; a function that answers for one job is made from the run once and takes that job's wildcards.
"""

from __future__ import annotations

import functools
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.evaluation.planning.task_lock import read_task_lock
from workflow_scripts.suite import layout
from workflow_scripts.suite.models import GPT_NEOX, Model, Task
from workflow_scripts.suite.run import CURRENT, STOCK, Run
from workflow_scripts.suite.task_facts import TaskFacts, all_facts, tasks_below
from workflow_scripts.workflow.planning_process import last_and_gone
from workflow_scripts.workflow.snakemake_types import Wildcards
from workflow_scripts.workflow.sweep import bisection_order

# The probe before a long sweep: enough items to tell a late checkpoint from an early one, seconds of computing.
PROBE_TASK, PROBE_ITEMS = "lambada_openai", 200
FEWSHOT_SEED = 1234


def task_names(run: Run) -> list[str]:
    """Names of the run's tasks."""
    return [task.name for task in run.tasks]


@dataclass(frozen=True)
class DataSet:
    """One configuration of a data set that is fetched: ``splits`` are all that the tasks of the run read of it."""

    repository: str
    config: str
    splits: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Folder of its files."""
        return f"{layout.FETCHED_DATA}/{self.repository}/{self.config}"

    @property
    def files(self) -> list[str]:
        """Its files and the receipt."""
        return [*(f"{self.folder}/{split}.parquet" for split in self.splits), f"{self.folder}/{layout.FETCHED}"]


@dataclass(frozen=True)
class SplitList:
    """Fetched data sets with the same ``splits``, and the ``name`` of the rule that fetches them."""

    name: str
    splits: tuple[str, ...]
    data_sets: tuple[DataSet, ...]


def own_folders(run: Run) -> list[str]:
    """Folders of evaluation data that the run names; they are looked into first."""
    return list(run.section("evaluation").get("data") or [])


def data_folders(run: Run) -> list[str]:
    """All folders of evaluation data; the first that has what a task evaluates serves all of its documents."""
    made = [layout.TASK_DATA] if run.suite.is_made_here else []
    return [*own_folders(run), *made, layout.FETCHED_DATA]


def task_files(run: Run, tasks: Iterable[Task | str]) -> list[str]:
    """Evaluation data of ``tasks``, or of lm-eval's tasks by name: made here, lying in a folder of the run, fetched.

    Of a task that only the run knows, all files of its data set that lie in the run's folders.
    """
    files: dict[str, None] = {}
    for task in tasks:
        files.update(dict.fromkeys(files_of_task(run, task)))
    return list(files)


def files_of_task(run: Run, task: Task | str) -> Iterator[str]:
    """Files of one task."""
    if isinstance(task, Task) and task.splits:
        yield from (f"{layout.TASK_DATA}/{task.repository}/default/{split}.parquet" for split in task.splits)
        return
    found = tasks_below(task if isinstance(task, str) else task.name)
    if not found and isinstance(task, Task):  # a task of the user's own
        folders = (Path(folder, task.repository) for folder in own_folders(run))
        yield from (str(path) for folder in folders for path in sorted(folder.rglob("*.parquet")))
    for facts in found:
        places = [f"{folder}/{facts.dataset}/{facts.config}" for folder in own_folders(run)]
        own = next((place for place in places if Path(place, f"{facts.splits[0]}.parquet").is_file()), None)
        files = [f"{own or fetched_folder(facts)}/{split}.parquet" for split in facts.splits]
        yield from (path for path in files if own is None or Path(path).is_file())


def fetched_folder(facts: TaskFacts) -> str:
    """Folder of the fetched data set of a task."""
    return DataSet(facts.dataset, facts.config, ()).folder


@functools.cache
def data_sets() -> tuple[DataSet, ...]:
    """What the rules can fetch: all configurations that lm-eval's tasks read, with the splits that any of them reads.

    Not only those of the run, so that a job fetches the same whatever else a run asks for.
    """
    splits: dict[tuple[str, str], dict[str, None]] = {}
    for facts in all_facts().values():
        splits.setdefault((facts.dataset, facts.config), {}).update(dict.fromkeys(facts.splits))
    return tuple(DataSet(*key, tuple(found)) for key, found in splits.items())


def split_lists() -> list[SplitList]:
    """The few distinct lists of splits: outputs must be the same for all jobs of a rule."""
    lists: dict[tuple[str, ...], list[DataSet]] = {}
    for data in data_sets():
        lists.setdefault(data.splits, []).append(data)
    return [SplitList(f"fetch_data_{'_'.join(splits)}", splits, tuple(found)) for splits, found in lists.items()]


def fetched_data(run: Run, tasks: Iterable[Task | str]) -> list[str]:
    """Files of the data sets that must be fetched for ``tasks``, receipts included."""
    wanted = set(task_files(run, tasks))
    return [path for data in data_sets() if wanted & set(data.files) for path in data.files]


def fetched_files(run: Run) -> list[str]:
    """All that the evaluation of a run takes from elsewhere: the released tokenizer, evaluation data."""
    released = [layout.tokenizer_file(run.suite.name)] if run.suite.tokenizer["source"] == "released" else []
    return [*released, *fetched_data(run, [*run.tasks, *run.stock_tasks])]


def data_source(run: Run) -> str:
    """Kind of place that evaluation data is fetched from."""
    return str(run.section("evaluation").get("source") or "hub")


def data_location(run: Run) -> str:
    """Folder of the mirror or endpoint of the Hub; empty for the public one."""
    return str(run.section("evaluation").get("location") or "")


def locked_commits() -> Callable[[Wildcards], str]:
    """Commit of a job's data set in the lock, so that a new commit fetches it anew; empty without an entry."""
    pins = {(file.dataset, file.config): file.commit for file in read_task_lock(Path(layout.TASK_LOCK))}
    return lambda wildcards: pins.get((wildcards.repository, wildcards.configuration), "")


def score_names(run: Run) -> list[str]:
    """File names, without .json, of the results of one checkpoint: every number of shots under every protocol."""
    return [f"{shots}-shot{layout.kind_suffix(kind)}" for kind, shots in run.score_kinds]


def protocol_of(wildcards: Wildcards) -> str:
    """Protocol that the wildcard ``kind`` of a file name stands for."""
    return str(wildcards.kind).lstrip(".") or CURRENT


def seed_arguments(run: Run) -> Callable[[Wildcards], list[str]]:
    """Seed of the few-shot draws; nothing where nothing is drawn, so that another seed changes no zero-shot job."""
    seed = str(run.section("evaluation").get("fewshot_seed", FEWSHOT_SEED))
    return lambda wildcards: ["--fewshot-seed", seed] if int(wildcards.shots) else []


def renewal_arguments(run: Run) -> list[str]:
    """Number that makes results anew, where the run has raised it."""
    renewal = int(run.section("evaluation").get("renewal") or 1)
    return ["--renewal", str(renewal)] if renewal > 1 else []


def limit_arguments(run: Run) -> list[str]:
    """Cut of the number of documents per task, where the run asks for one."""
    limit = run.section("evaluation").get("limit")
    return ["--limit", str(limit)] if limit else []


def include_folders(run: Run) -> list[str]:
    """Folders of the run's own task definitions."""
    return list(run.section("evaluation").get("include_path") or [])


def definition_arguments(run: Run) -> list[str]:
    """The same as arguments of a program."""
    folders = include_folders(run)
    return ["--include-path", *folders] if folders else []


def planning_arguments(run: Run) -> list[str]:
    """What a planner is told of a run's definitions and of its suite's tokenizer."""
    prefix = run.suite.tokenizer.get("prefix_token")
    return [*definition_arguments(run), *(["--prefix-token", prefix] if prefix else [])]


def engine_arguments(run: Run, device: list[str]) -> list[str] | Callable[[Wildcards], list[str]]:
    """Arguments for the ``device``, and the architecture that a job's checkpoint must have where it is not GPT-NeoX."""
    others = {model.name: ["--architecture", model.architecture] for model in run.models if not is_neox(model)}
    return (lambda wildcards: [*device, *others.get(wildcards.model, [])]) if others else device


def is_neox(model: Model) -> bool:
    """True for a model of the architecture that needs no mention."""
    return model.architecture == GPT_NEOX


def crosscheck_arguments(run: Run, model: str) -> list[str]:
    """What the cross-check of ``model`` is told beside tasks and data."""
    checked = run.suite.model(model)
    if is_neox(checked):
        return planning_arguments(run)
    length = str(longest_sequence(run))
    return [*planning_arguments(run), "--architecture", checked.architecture, "--max-length", length]


def definition_files(run: Run) -> list[str]:
    """Files of the run's own task definitions, which plans are made from."""
    folders = map(Path, include_folders(run))
    return [str(path) for folder in folders for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".yaml")]


def longest_sequence(run: Run) -> int:
    """Largest context of the run's models, in tokens."""
    return max((model.sequence_length for model in run.models), default=2048)


def stock_tasks(run: Run) -> Callable[[Wildcards], list[str]]:
    """Tasks that stock lm-eval runs with the number of shots of a job."""
    return lambda wildcards: [name for name, shots in run.stock_tasks.items() if int(wildcards.shots) in shots]


def tasks_of_scores(run: Run) -> Callable[[Wildcards], str]:
    """Tasks that the results of a job's checkpoint hold when the job is done: the run's, and those they hold now.

    A parameter whose change makes the job necessary. A task that the run no longer asks for changes nothing; one that
    the results lack does, even where its plan is older than they are, because another run needed it before.
    """
    asked = frozenset(task_names(run))

    def tasks(wildcards: Wildcards) -> str:
        files = (
            layout.score_file(wildcards.model, int(wildcards.step), shots, protocol_of(wildcards))
            for shots in run.shots
        )
        held = [names for path in files if (names := held_tasks(layout.loglikelihoods_file(path))) is not None]
        return " ".join(sorted(asked.union(frozenset.intersection(*held) if held else ())))

    return tasks


def held_tasks(archive: str) -> frozenset[str] | None:
    """Tasks in an archive of loglikelihoods, from its table of contents; ``None`` where there is none to be read."""
    if not Path(archive).is_file():
        return None
    import numpy as np  # a tenth of a second, which most plans of jobs need not spend

    try:
        with np.load(archive, allow_pickle=False) as file:
            return frozenset(name.partition("/")[0] for name in file.files)
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile):
        return None


def probes(run: Run) -> list[str]:
    """Results of the probe: the last, the first and a middle checkpoint of each model; none without its task."""
    if PROBE_TASK not in run.suite.tasks:
        return []
    return [
        f"{layout.RESULTS}/probes/{model.name}/step{step}/0-shot.json"
        for model in run.models
        for step in bisection_order(run.steps[model.name])[:3]
    ]


def gate(run: Run) -> list[str]:
    """Verdict on the probes; nothing for a suite without published results to compare with."""
    return [f"{layout.audit_folder(run.suite.name)}/behaviour.tsv"] if run.shows_published and probes(run) else []


def score_files(run: Run) -> list[str]:
    """All results of the run, and beside each the log-likelihoods of its requests (stock lm-eval leaves none)."""
    files = layout.score_files(run)
    return [*files, *(layout.loglikelihoods_file(path) for path in files if not path.endswith(f".{STOCK}.json"))]


def scored(run: Run) -> list[list[str]]:
    """Results of each scoring job of the run: one per protocol of a checkpoint, one per number of shots by stock."""
    jobs = []
    for model, step in layout.checkpoints_of(run):
        for protocol in run.protocols:
            results = [layout.score_file(model.name, step, shots, protocol) for shots in run.shots]
            jobs.append([*map(layout.loglikelihoods_file, results), *results])
        jobs += [[layout.score_file(model.name, step, k, kind)] for kind, k in run.score_kinds if kind == STOCK]
    return jobs


def plan_files(run: Run) -> list[str]:
    """Plans of all tasks of the run, under all protocols."""
    return [
        layout.plan_file(run.suite.name, shots, task.name, protocol)
        for protocol in run.protocols
        for shots in run.shots
        for task in run.tasks
    ]


def evaluation_files(run: Run) -> list[str]:
    """What a target names for the evaluation: plans, results, tables; nothing for a run without models."""
    if not run.models:
        return []
    tables = f"{layout.run_folder(run.name)}/tables"
    joined = [f"{tables}/{name}" for name in ("scores.parquet", "scores.csv", "score_defects.tsv", "crosscheck.json")]
    data = fetched_data(run, [*run.tasks, *run.stock_tasks])
    return [layout.tokenizer_file(run.suite.name), *data, *plan_files(run), *last_and_gone(scored(run)), *joined]


def compared_plans(run: Run) -> list[str]:
    """Plans of the run's scores where zero-shot stands beside other shots: their difference is paired by item."""
    return plan_files(run) if 0 in run.shots and len(run.shots) > 1 else []
