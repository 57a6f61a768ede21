"""What rules/experiments.smk looks up: jobs, files and targets of the experiments of a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.suite import layout
from workflow_scripts.suite.arms import (
    Arm,
    Declaration,
    function_path,
    load_declaration,
    saved_iterations,
    start_iteration,
)
from workflow_scripts.suite.arms import chosen_arms as arms_named
from workflow_scripts.suite.experiment_files import (
    TABLES,
    RowRange,
    arm_folder,
    experiments_of,
    exposures_file,
    one_per_size,
    row_ranges,
    term_answers_file,
    term_count_files,
    term_steps,
    trace_exposures_file,
    trace_losses_file,
    trace_scan_files,
    trace_steps,
    traced_models,
    traces_name,
)
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import Run
from workflow_scripts.suite.traces import TraceDeclaration, load_traces
from workflow_scripts.workflow import evaluation
from workflow_scripts.workflow.dynamics import dynamics_files
from workflow_scripts.workflow.snakemake_types import Wildcards
from workflow_scripts.workflow.training import PUBLISHED_FILES, SAVED_FILES

# Items of bias and of the guard, by suite.
BENCHMARKS = {
    "pocket": ("pocket_pronouns", "pocket_last_word"),
    "pythia": ("crows_pairs_english_gender", "winobias", "lambada_openai"),
}
WINOBIAS = "winobias"
WINOBIAS_FILES = tuple(f"{side}_stereotyped_{kind}.txt.test" for kind in ("type1", "type2") for side in ("pro", "anti"))
WINOBIAS_REPOSITORY = "uclanlp/corefBias"
WINOBIAS_FOLDER = f"{layout.FETCHED_DATA}/{WINOBIAS_REPOSITORY}/WinoBias/wino/data"
InputFunction = Callable[[Wildcards], list[str]]


def tables_of(name: str) -> list[str]:
    """Tables of an experiment, each with the same rows as CSV beside it, as patterns with ``{run}`` left open."""
    folder = f"{layout.run_folder('{run}')}/tables"
    return [f"{folder}/{table}.{kind}" for table in TABLES[name] for kind in ("parquet", "csv")]


def verdicts(run: Run) -> list[str]:
    """What ``snakemake experiments`` makes: a verdict for each, and with it the tables."""
    return [f"{layout.run_folder(run.name)}/tables/verdict_{name}.json" for name in experiments_of(run)]


def all_tables(run: Run) -> list[str]:
    """Every table of the run's experiments."""
    return [path.format(run=run.name) for name in experiments_of(run) for path in tables_of(name)]


# Memorization


def row_jobs(run: Run) -> list[RowRange]:
    """All memorization jobs of the run; none when it does not ask for them."""
    if "memorization" not in experiments_of(run):
        return []
    settings = run.section("memorization")
    return [job for model in one_per_size(run.models) for job in row_ranges(model, settings)]


def exposures(run: Run) -> list[str]:
    """Which rows repeat a document, for each data set of the run."""
    return [exposures_file(run.suite.name, key) for key in run.datasets]


def certificates(run: Run) -> list[str]:
    """Certificates that generation agrees with the scores of the last measured step of each model."""
    jobs = row_jobs(run)
    last: dict[str, int] = {}
    for job in jobs:
        last[job.model] = max(job.step, last.get(job.model, 0))
    return [job.certificate for job in jobs if job.step == last[job.model]]


def model_on(run: Run) -> Callable[[str], Callable[[Wildcards], str]]:
    """A function that fills ``{model}`` of a pattern with a model that is trained on the job's data set.

    All of a run share their order of training.
    """
    first = {key: next(model.name for model in run.models if model.dataset == key) for key in run.datasets}
    return lambda pattern: lambda wildcards: pattern.format(model=first[wildcards.dataset])


# Interventions


@dataclass(frozen=True)
class ArmJobs:
    """Arms and models of one rule: their jobs start at iteration ``start`` and save the same ``iterations``.

    ``revisions`` are the names under which these are published.
    """

    ending: str
    models: tuple[str, ...]
    arms: tuple[str, ...]
    start: int
    iterations: tuple[int, ...]
    revisions: tuple[str, ...]


def declaration_of(run: Run) -> Declaration:
    """The run's declaration of interventions; its arms exist whether the run chooses them or not."""
    return load_declaration(str(run.section("interventions").get("declaration", "pronouns")))


def chosen_arms(run: Run) -> tuple[Arm, ...]:
    """Arms of the run's interventions."""
    settings = run.section("interventions")
    return arms_named(load_declaration(settings["declaration"]), settings["arms"]) if settings else ()


def intervened(run: Run) -> list[Model]:
    """Models of the run whose late training is repeated."""
    wanted = run.section("interventions").get("models", [])
    return [model for model in run.models if model.name in wanted]


def arm_jobs(run: Run) -> list[ArmJobs]:
    """Jobs that train and publish arms, by what they save: a rule's outputs are the same for all of its jobs."""
    groups: dict[tuple[int, tuple[int, ...], tuple[str, ...]], dict[str, list[str]]] = {}
    for model in intervened(run) if run.retrains else []:
        for arm in declaration_of(run).arms.values():
            saved = saved_iterations(model, arm)
            names = tuple(model.step(it * model.hub_steps_per_iteration).revision for it in saved)
            last = ("main",) if saved[-1] == model.train_iterations else ()
            groups.setdefault((start_iteration(model, arm), saved, (*names, *last)), {}).setdefault(
                model.name, []
            ).append(arm.name)
    rules = [(key, (model,), tuple(arms)) for key, models in groups.items() for model, arms in models.items()]
    return [
        ArmJobs("" if number == 0 else f"_{number + 1}", models, arms, *key)
        for number, (key, models, arms) in enumerate(rules)
    ]


def arm_function(run: Run) -> InputFunction:
    """Input function: the file of the user's function that rewrites an arm's data, where it has one."""
    functions = {arm.name: arm.function for arm in declaration_of(run).arms.values()}

    def look_up(wildcards: Wildcards) -> list[str]:
        function = functions[wildcards.arm]
        return [] if function is None else [f"config/interventions/{function_path(function).name}"]

    return look_up


def arm_change(run: Run) -> InputFunction:
    """Parameter function: what is changed in an arm, as arguments of the program that makes its patch."""
    arms = declaration_of(run).arms

    def look_up(wildcards: Wildcards) -> list[str]:
        arm = arms[wildcards.arm]
        return ["--direction", arm.direction] if arm.function is None else ["--function", arm.function]

    return look_up


def arm_start(run: Run) -> Callable[[Wildcards], int]:
    """Parameter function: the iteration from which an arm continues."""
    models, arms = {model.name: model for model in run.models}, declaration_of(run).arms
    return lambda wildcards: start_iteration(models[wildcards.model], arms[wildcards.arm])


def benchmarks(run: Run) -> list[str]:
    """Items that show bias and items that guard the rest, for the run's suite."""
    return list(BENCHMARKS.get(run.suite.name, BENCHMARKS["pythia"]))


def bias_files(run: Run) -> list[str]:
    """Documents of the items of bias and of the guard: made here, lying in a folder of the run, or fetched."""
    files = evaluation.task_files(run, [*run.suite.made_tasks, *benchmarks(run)])
    return [*files, *(winobias_files(run) if WINOBIAS in benchmarks(run) else [])]


def winobias_files(run: Run) -> list[str]:
    """The sentences of WinoBias in the first folder of the run that has them, else where they are fetched to."""
    places = [place for folder in evaluation.own_folders(run) for place in (f"{folder}/{WINOBIAS}", folder)]
    own = next((place for place in places if Path(place, WINOBIAS_FILES[0]).is_file()), WINOBIAS_FOLDER)
    return [f"{own}/{name}" for name in WINOBIAS_FILES]


def winobias_place(run: Run) -> list[str]:
    """Arguments that say where WinoBias is fetched from: its git repository, or the run's mirror."""
    if evaluation.data_source(run) == "mirror":
        return ["--source", "mirror", "--location", evaluation.data_location(run)]
    return ["--source", "git-lfs", "--location", f"https://github.com/{WINOBIAS_REPOSITORY}"]


def bias_folders(run: Run) -> list[str]:
    """Folders in which the documents of :func:`bias_files` lie."""
    return [*evaluation.data_folders(run), *([WINOBIAS_FOLDER] if WINOBIAS in benchmarks(run) else [])]


# Term frequency


def terms_of(run: Run) -> str:
    """Name of the run's list of terms."""
    return str(run.section("term_frequency").get("terms", "pocket"))


def count_steps(run: Run) -> Callable[[Wildcards], list[int]]:
    """Parameter function: iterations at which counts are kept, those of all models on the job's data set."""
    settings = run.section("term_frequency")

    def look_up(wildcards: Wildcards) -> list[int]:
        models = [model for model in one_per_size(run.models) if model.dataset == wildcards.dataset]
        return sorted({model.step(hub).iteration for model in models for hub in term_steps(model, settings)})

    return look_up


def asked(run: Run) -> Callable[[str], InputFunction]:
    """A function that turns a pattern into an input function: each checkpoint (and file) that is asked about terms."""
    models, settings = {model.name: model for model in run.models}, run.section("term_frequency")

    def of_asked(pattern: str) -> InputFunction:
        def look_up(wildcards: Wildcards) -> list[str]:
            model = models[wildcards.model]
            found = [
                pattern.format(model=model.name, step=step, file=file)
                for step in term_steps(model, settings)
                for file in model.files
            ]
            return list(dict.fromkeys(found))

        return look_up

    return of_asked


def term_tables(run: Run) -> list[str]:
    """Counts of each data set and answers of each model of the run."""
    if "term_frequency" not in experiments_of(run):
        return []
    models, settings = one_per_size(run.models), run.section("term_frequency")
    counts = [path for key in run.datasets for path in term_count_files(models, key, settings)]
    return [*counts, *(term_answers_file(model.name) for model in models)]


# Traces


def traces_of(run: Run) -> TraceDeclaration | None:
    """The run's declaration of traced texts; None where it traces none."""
    name = traces_name(run)
    return load_traces(name) if name is not None and "traces" in experiments_of(run) else None


def traced(run: Run) -> list[Model]:
    """Models of the run whose losses on the texts are traced; none where it traces none."""
    return traced_models(run.models, run.section("traces")) if traces_of(run) else []


def scan_parts(run: Run) -> Callable[[Wildcards], list[str]]:
    """Input function: the scans of all parts of the job's data set, in order."""
    declaration = traces_of(run)

    def look_up(wildcards: Wildcards) -> list[str]:
        assert declaration is not None
        return trace_scan_files(declaration.name, run.suite.name, wildcards.dataset, declaration.scan_jobs)

    return look_up


def traced_checkpoints(run: Run) -> Callable[[str], InputFunction]:
    """A function that turns a pattern into an input function: each checkpoint (and file) that is traced."""
    models, settings = {model.name: model for model in run.models}, run.section("traces")

    def of_traced(pattern: str) -> InputFunction:
        def look_up(wildcards: Wildcards) -> list[str]:
            model = models[wildcards.model]
            return list(
                dict.fromkeys(
                    pattern.format(model=model.name, step=step, file=file)
                    for step in trace_steps(model, settings, run.steps[model.name])
                    for file in model.files
                )
            )

        return look_up

    return of_traced


def exposure_tables(run: Run) -> list[str]:
    """Exposures in the training order of each data set that a traced model was trained on."""
    declaration, used = traces_of(run), {model.dataset for model in traced(run)}
    if declaration is None:
        return []
    return [trace_exposures_file(declaration.name, run.suite.name, key) for key in run.datasets if key in used]


def loss_tables(run: Run, kind: str = "losses") -> list[str]:
    """Losses on the traced texts of each traced model, of texts or of tokens (``kind``)."""
    declaration = traces_of(run)
    return [trace_losses_file(declaration.name, model.name, kind) for model in traced(run)] if declaration else []


def trace_files(run: Run) -> list[str]:
    """Every file that the traces of the run make but for its tables."""
    declaration = traces_of(run)
    if declaration is None:
        return []
    used = {model.dataset for model in traced(run)}
    scans = [
        path
        for key in run.datasets
        if key in used
        for path in trace_scan_files(declaration.name, run.suite.name, key, declaration.scan_jobs)
    ]
    tables = [*exposure_tables(run), *loss_tables(run)]
    texts = [path for path in declaration.files if path.startswith(f"{layout.RESULTS}/")]
    return [
        *texts,
        *scans,
        *tables,
        *(path.replace(".parquet", ".csv") for path in tables),
        *loss_tables(run, "tokens"),
    ]


def experiment_files(run: Run) -> list[str]:
    """Every file of the run's experiments: what their jobs make, tables and verdicts."""
    jobs = [*(job.path for job in row_jobs(run)), *(exposures(run) if row_jobs(run) else [])]
    tables = term_tables(run)
    jobs += [*tables, *(path.replace(".parquet", ".csv") for path in tables)]
    if "interventions" in experiments_of(run):
        jobs += [
            path for model in intervened(run) for arm in chosen_arms(run) for path in files_of_arm(run, model, arm)
        ]
    return [*jobs, *trace_files(run), *dynamics_files(run), *all_tables(run), *verdicts(run)]


def files_of_arm(run: Run, model: Model, arm: Arm) -> list[str]:
    """Every file of one arm: patch, training, published checkpoints, items."""
    mine = next(jobs for jobs in arm_jobs(run) if model.name in jobs.models and arm.name in jobs.arms)
    folder = arm_folder(model.name, arm.name)
    names = ["patch.safetensors", "patch.safetensors.samples.jsonl", "items.parquet", "items.csv"]
    names += [f"training/{name}" for name in ("metrics.csv", "run.json")]
    names += [f"training/step{step}/{file}" for step in mine.iterations for file in SAVED_FILES]
    names += [f"published/{revision}/{file}" for revision in mine.revisions for file in PUBLISHED_FILES]
    return [f"{folder}/{name}" for name in (*names, "published/published.json")]
